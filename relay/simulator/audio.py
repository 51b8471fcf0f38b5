"""Conversion between the API's audio formats and 24 kHz PCM; G.711 has 8 kHz.

The standard library's ``audioop`` did this until Python 3.13. The base install has no numpy.
All PCM is mono, signed 16-bit, little-endian.
"""

import sys
from array import array
from functools import cache

from relay.simulator.json_text import Json

SAMPLE_RATE = 24_000
BYTES_PER_SECOND = 2 * SAMPLE_RATE
_RATIO = 3  # 24 kHz to 8 kHz
_SIGN = 0x80


def milliseconds(pcm_bytes: int) -> int:
    """Return the duration of ``pcm_bytes`` bytes of PCM."""
    return pcm_bytes * 1000 // BYTES_PER_SECOND


def pcm_bytes(duration_ms: int) -> int:
    """Return the number of bytes of PCM that last ``duration_ms``; whole samples."""
    return duration_ms * SAMPLE_RATE // 1000 * 2


def decode(data: bytes, audio_format: Json) -> bytes:
    """Return 24 kHz PCM from audio in a format of the API."""
    kind = audio_format["type"]
    if kind == "audio/pcm":
        return data
    return _upsample([_decoding(kind)[byte] for byte in data])


def encode(pcm: bytes, audio_format: Json) -> bytes:
    """Return 24 kHz PCM in a format of the API."""
    kind = audio_format["type"]
    if kind == "audio/pcm":
        return pcm
    table = _encoding(kind)
    return bytes(table[(sample + 0x8000) >> 2] for sample in _downsample(pcm))


def samples(pcm: bytes) -> "array[int]":
    """Return the samples; an odd last byte is dropped."""
    values = array("h", pcm[: len(pcm) // 2 * 2])
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pcm(values: "array[int]") -> bytes:
    """Return the samples as bytes."""
    if sys.byteorder == "big":
        values = array("h", values)
        values.byteswap()
    return values.tobytes()


def _upsample(values: list[int]) -> bytes:
    """Triple the sample rate by linear interpolation."""
    out = array("h", bytes(2 * _RATIO * len(values)))
    following = [*values[1:], values[-1]] if values else []
    out[0::3] = array("h", values)
    out[1::3] = array("h", [(2 * a + b) // 3 for a, b in zip(values, following, strict=True)])
    out[2::3] = array("h", [(a + 2 * b) // 3 for a, b in zip(values, following, strict=True)])
    return pcm(out)


def _downsample(data: bytes) -> list[int]:
    """Return the mean of each three samples: a low-pass filter, good enough for a telephone."""
    values = samples(data)
    whole = len(values) // _RATIO * _RATIO
    return [
        (a + b + c) // 3
        for a, b, c in zip(values[0:whole:3], values[1:whole:3], values[2:whole:3], strict=True)
    ]


@cache
def _decoding(kind: str) -> tuple[int, ...]:
    decode_byte = _decode_ulaw if kind == "audio/pcmu" else _decode_alaw
    return tuple(decode_byte(byte) for byte in range(256))


@cache
def _encoding(kind: str) -> bytes:
    """Return the nearest code for each value of the upper 14 bits: G.711 keeps no more bits."""
    by_value = sorted((value, byte) for byte, value in enumerate(_decoding(kind)))
    codes = bytearray()
    position = 0
    for value in range(-0x8000, 0x8000, 4):
        while position + 1 < len(by_value) and _is_nearer(by_value, position, value):
            position += 1
        codes.append(by_value[position][1])
    return bytes(codes)


def _is_nearer(by_value: list[tuple[int, int]], position: int, value: int) -> bool:
    here, there = by_value[position][0], by_value[position + 1][0]
    return abs(there - value) <= abs(here - value)


def _decode_ulaw(byte: int) -> int:
    """ITU-T G.711, table 2: sign, three bits of exponent, four of mantissa, all inverted."""
    byte ^= 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << ((byte & 0x70) >> 4)) - 0x84
    return -magnitude if byte & _SIGN else magnitude


def _decode_alaw(byte: int) -> int:
    """ITU-T G.711, table 1: sign, three bits of exponent, four of mantissa, even bits inverted."""
    byte ^= 0x55
    exponent, mantissa = (byte & 0x70) >> 4, (byte & 0x0F) << 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if byte & _SIGN else -magnitude
