"""What the relay tells of itself in its metrics."""

from http.client import HTTPConnection

from machine import HOST

FIRST_AUDIO = "relay_first_audio_own_seconds"


def first_audio_own_ms(port: int) -> float:
    """Return the mean time that the first audio of an answer was with the relay; 0 if none was."""
    connection = HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    told = dict(line.rsplit(" ", 1) for line in lines if line.startswith(FIRST_AUDIO))
    count = float(told[f"{FIRST_AUDIO}_count"])
    return float(told[f"{FIRST_AUDIO}_sum"]) / count * 1000 if count else 0.0
