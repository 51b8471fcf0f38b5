"""Reads the relay's own metrics."""

from http.client import HTTPConnection

from machine import HOST

FIRST_AUDIO = "relay_first_audio_own_seconds"


def first_audio_own_ms(port: int) -> float:
    """Return the mean delay of an answer's first audio inside the relay; 0 without answers."""
    connection = HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith(FIRST_AUDIO))
    count = float(values[f"{FIRST_AUDIO}_count"])
    return float(values[f"{FIRST_AUDIO}_sum"]) / count * 1000 if count else 0.0
