"""The length of audio."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.audio import audio_bytes, bytes_per_second


@given(st.binary(max_size=100))
def test_the_length_of_base64_is_the_length_of_its_data(data: bytes) -> None:
    text = base64.b64encode(data)

    assert audio_bytes(len(text), text.count(b"=")) == len(data)


@pytest.mark.parametrize("chars", [-2, 0, 3])
def test_no_audio_has_no_bytes(chars: int) -> None:
    assert audio_bytes(chars, 1) == 0


@pytest.mark.parametrize(
    ("format_", "rate"),
    [
        ({"type": "audio/pcm", "rate": 24000}, 48_000),
        ({"type": "audio/pcmu"}, 8_000),
        ({"type": "audio/pcma"}, 8_000),
        ({"type": "audio/flac"}, 48_000),
        ({"type": ["audio/pcmu"]}, 48_000),
        ({}, 48_000),
        (None, 48_000),
    ],
)
def test_the_format_gives_the_bytes_of_a_second(format_: Any, rate: int) -> None:
    session = {"audio": {"input": {"format": format_}, "output": {"format": {"type": "x"}}}}

    assert bytes_per_second(session, "input") == rate
    assert bytes_per_second({}, "input") == 48_000
