"""The wait for the first audio of an answer."""

import pytest

from relay.core.first_audio import FirstAudio, Wait
from relay.core.states import IllegalStep


def test_the_wait_starts_at_the_last_request_and_ends_at_the_audio() -> None:
    first_audio = FirstAudio()
    first_audio.requested(1.0, responding=False)
    first_audio.requested(2.0, responding=False)
    first_audio.began()

    assert first_audio.audio(2.5) == 0.5
    assert first_audio.state is Wait.IDLE


def test_the_audio_of_an_earlier_response_is_not_the_answer() -> None:
    first_audio = FirstAudio()
    first_audio.requested(1.0, responding=True)

    assert first_audio.state is Wait.QUEUED
    with pytest.raises(IllegalStep, match="first audio: AUDIO is not legal in state QUEUED"):
        first_audio.audio(1.5)
    first_audio.ended()
    assert first_audio.audio(3.0) == 2.0


def test_a_response_that_ends_without_audio_ends_the_wait() -> None:
    first_audio = FirstAudio()
    first_audio.requested(1.0, responding=False)
    first_audio.ended()

    with pytest.raises(IllegalStep):
        first_audio.audio(2.0)
