"""Audio is converted without a library, by the G.711 standard."""

import math
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator import audio

PCM = {"type": "audio/pcm", "rate": 24000}
LAWS = ("audio/pcmu", "audio/pcma")


def _decoded(byte: int, law: str) -> int:
    return audio.samples(audio.decode(bytes([byte]), {"type": law}))[0]


@pytest.mark.parametrize(
    ("law", "byte", "value"),
    [
        ("audio/pcmu", 0x00, -32124),
        ("audio/pcmu", 0x80, 32124),
        ("audio/pcmu", 0xFF, 0),
        ("audio/pcmu", 0x7F, 0),
        ("audio/pcmu", 0xEF, 132),
        ("audio/pcma", 0x2A, -32256),
        ("audio/pcma", 0xAA, 32256),
        ("audio/pcma", 0xD5, 8),
        ("audio/pcma", 0x55, -8),
        ("audio/pcma", 0xC5, 264),
    ],
)
def test_g711_is_decoded_by_the_standard(law: str, byte: int, value: int) -> None:
    assert _decoded(byte, law) == value


@pytest.mark.parametrize("law", LAWS)
def test_a_code_survives_being_decoded_and_encoded(law: str) -> None:
    for byte in range(256):
        value = _decoded(byte, law)
        pcm = array("h", [value] * 3).tobytes()
        (encoded,) = audio.encode(pcm, {"type": law})
        # u-law has two codes for zero
        assert _decoded(encoded, law) == value


@pytest.mark.parametrize("law", LAWS)
@given(value=st.integers(-32768, 32767))
def test_the_code_is_the_nearest_one(law: str, value: int) -> None:
    (encoded,) = audio.encode(array("h", [value] * 3).tobytes(), {"type": law})

    nearest = min(abs(_decoded(byte, law) - value) for byte in range(256))
    # the codes cannot represent the lower two of the sixteen bits
    assert abs(_decoded(encoded, law) - value) <= nearest + 4


@given(st.binary(max_size=999))
def test_pcm_is_not_changed(data: bytes) -> None:
    assert audio.decode(data, PCM) == audio.encode(data, PCM) == data


@pytest.mark.parametrize("law", LAWS)
def test_g711_has_a_third_of_the_samples(law: str) -> None:
    second = bytes(audio.BYTES_PER_SECOND)

    telephone = audio.encode(second, {"type": law})

    assert len(telephone) == 8_000
    assert len(audio.decode(telephone, {"type": law})) == len(second)
    assert audio.decode(b"", {"type": law}) == b""


@pytest.mark.parametrize("law", LAWS)
def test_a_tone_survives_g711(law: str) -> None:
    """A tone of 440 Hz comes back with little noise."""
    wave = [int(8000 * math.sin(2 * math.pi * 440 * n / 24_000)) for n in range(24_000)]
    there = audio.encode(array("h", wave).tobytes(), {"type": law})
    back = audio.samples(audio.decode(there, {"type": law}))

    shifted = zip(wave[1:], back, strict=False)  # one sample, in the middle, replaces three samples
    noise = sum((a - b) ** 2 for a, b in shifted) / len(back)
    assert 10 * math.log10(8000**2 / 2 / noise) > 25


def test_durations_are_computed_for_24_khz() -> None:
    assert audio.pcm_bytes(20) == 960
    assert audio.milliseconds(48_000) == 1000


def test_samples_are_little_endian_on_a_big_endian_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This machine reads little-endian, so the swap itself shows."""
    monkeypatch.setattr(sys, "byteorder", "big")

    assert list(audio.samples(b"\x01\x00\xff\x7f")) == [0x0100, -129]
    assert audio.pcm(array("h", [0x0100, -129])) == b"\x01\x00\xff\x7f"
