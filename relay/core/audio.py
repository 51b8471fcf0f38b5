"""The length of audio: bytes of base64, and bytes per second of a format."""

from collections.abc import Mapping

from relay.core.events import Json
from relay.core.objects import object_or_empty

BYTES_PER_SECOND = {"audio/pcm": 48_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""Bytes of a second of audio: 24 kHz, 16 bits, mono; G.711 is 8 kHz, 8 bits."""

PCM_RATES = range(8_000, 48_001)
"""Rates of PCM in Hz that some servers accept; OpenAI's is always 24 kHz."""


def audio_bytes(base64_chars: int, padding: int = 0) -> int:
    """Return the number of bytes that ``base64_chars`` characters of base64 encode."""
    return max(0, base64_chars // 4 * 3 - padding)


def bytes_per_second(session: Mapping[str, Json], direction: str) -> int:
    """Return the bytes of a second of audio in the format of ``audio.input`` or ``.output``."""
    audio = object_or_empty(object_or_empty(session, "audio"), direction)
    audio_format = object_or_empty(audio, "format")
    kind, rate = audio_format.get("type"), audio_format.get("rate")
    if kind == "audio/pcm" and isinstance(rate, int) and rate in PCM_RATES:
        return 2 * rate
    known = BYTES_PER_SECOND.get(kind) if isinstance(kind, str) else None
    return known or BYTES_PER_SECOND["audio/pcm"]
