"""Estimates of responses and transcriptions without a report, from their audio."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.estimation import (
    Underway,
    Untranscribed,
    estimated_tokens,
    estimated_transcription,
)
from relay.core.tokens import Tokens


@pytest.mark.parametrize(
    ("input_seconds", "output_seconds", "tokens"),
    [
        (0.0, 0.0, Tokens()),
        (1.0, 1.0, Tokens(input_audio=10, output_audio=20)),
        (0.1, 0.05, Tokens(input_audio=1, output_audio=1)),
        (0.11, 0.06, Tokens(input_audio=2, output_audio=2)),
        (60.0, 60.0, Tokens(input_audio=600, output_audio=1200)),
    ],
)
def test_a_second_is_10_tokens_in_and_20_out(
    input_seconds: float, output_seconds: float, tokens: Tokens
) -> None:
    estimate = estimated_tokens(input_seconds=input_seconds, output_seconds=output_seconds)

    assert estimate == tokens


@given(st.integers(0, 10_000))
def test_a_sum_of_many_chunks_makes_no_token_of_its_own(chunks: int) -> None:
    received = sum(0.1 for _ in range(chunks))

    assert estimated_tokens(input_seconds=received, output_seconds=0).input_audio == chunks


def test_a_response_takes_the_audio_received_before_it() -> None:
    underway = Underway()
    underway.began("one", 2)
    underway.sent(1)

    assert list(underway.estimates()) == [("one", Tokens(input_audio=20, output_audio=20))]


def test_a_reported_response_is_not_estimated() -> None:
    underway = Underway()
    underway.began("one", 2)
    underway.sent(1)
    underway.reported("one")
    underway.began("two", 5)

    assert list(underway.estimates()) == [("two", Tokens(input_audio=30))]


def test_between_responses_there_is_nothing_to_estimate() -> None:
    underway = Underway()
    underway.sent(1)
    underway.reported("never begun")

    assert list(underway.estimates()) == []


@given(st.lists(st.sampled_from(["began", "reported", "sent"]), max_size=40))
def test_no_audio_of_unreported_responses_is_lost(steps: list[str]) -> None:
    """Also with several responses at once: only the split between them is a guess."""
    underway, sent, latest, made = Underway(), {"": 0}, "", 0
    for step in steps:
        match step:
            case "began":
                made += 1
                latest = str(made)
                sent[latest] = 0
                underway.began(latest, 0)
            case "sent" if latest:
                sent[latest] += 1
                underway.sent(1)
            case "reported" if latest:
                underway.reported(latest)
                del sent[latest]
                latest = next(reversed(sent))
    del sent[""]

    estimates = dict(underway.estimates())
    assert {key: tokens.output_audio for key, tokens in estimates.items()} == {
        key: seconds * 20 for key, seconds in sent.items()
    }


def turn(item_id: str = "item_1", **places_ms: Any) -> dict[str, Any]:
    return {"item_id": item_id, **places_ms}


def test_turn_detection_reports_the_length_of_a_turn() -> None:
    """The client sent the silence before the turn, and the upstream does not transcribe it."""
    turns = Untranscribed()
    turns.began(turn(audio_start_ms=60_000))
    turns.ended(turn(audio_end_ms=61_500))
    turns.committed(turn(), 62.0)

    assert turns.cut_off() == {"item_1": 1.5}


@pytest.mark.parametrize("places", [{}, {"audio_start_ms": "x", "audio_end_ms": None}])
def test_without_turn_detection_a_turn_is_the_audio_since_the_previous_turn(
    places: dict[str, Any],
) -> None:
    turns = Untranscribed()
    turns.committed(turn("item_1"), 2.0)
    turns.began(turn("item_2", **places))
    turns.ended(turn("item_2", **places))
    turns.committed(turn("item_2"), 5.0)
    turns.cleared(6.0)
    turns.committed(turn("item_3"), 7.0)

    assert turns.cut_off() == {"item_1": 2.0, "item_2": 3.0, "item_3": 1.0}


def test_no_turn_is_longer_than_the_received_audio() -> None:
    turns = Untranscribed()
    turns.began(turn(audio_start_ms=0))
    turns.ended(turn(audio_end_ms=2**53))
    turns.committed(turn(), 2.0)

    assert turns.cut_off() == {"item_1": 2.0}


def test_a_turn_that_was_reported_or_never_committed_is_not_cut_off() -> None:
    turns = Untranscribed()
    turns.began(turn("item_1", audio_start_ms=0))
    turns.ended(turn("item_1", audio_end_ms=1000))
    turns.committed(turn("item_2"), 2.0)
    turns.reported(turn("item_2"))
    turns.reported(turn("item_3"))

    assert turns.cut_off() == {}


def test_a_turn_is_cut_off_once() -> None:
    turns = Untranscribed()
    turns.committed(turn(), 2.0)

    assert turns.cut_off() == {"item_1": 2.0}
    assert turns.cut_off() == {}


def test_a_second_to_transcribe_is_10_tokens() -> None:
    assert estimated_transcription(1.5) == Tokens(transcription_input=15)
