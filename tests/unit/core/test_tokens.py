"""Tests of tokens and seconds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.tokens import TOKEN_KINDS, Tokens
from relay.core.usage import (
    MAX_COUNT,
    MAX_SECONDS,
    is_split_guessed,
    seconds_of_transcription,
    text_of_transcription,
    tokens_of_response,
    tokens_of_transcription,
)


def test_a_response_is_counted_by_modality_and_cached_tokens_only_once() -> None:
    """The example of https://platform.openai.com/docs/guides/realtime-costs, with an image."""
    usage = {
        "total_tokens": 283,
        "input_tokens": 162,
        "output_tokens": 121,
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 30,
            "cached_tokens": 89,
            "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 5, "image_tokens": 20},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }

    assert tokens_of_response(usage) == Tokens(
        input_text=55,
        input_audio=8,
        input_image=10,
        cached_text=64,
        cached_audio=5,
        cached_image=20,
        output_text=30,
        output_audio=91,
    )


@pytest.mark.parametrize(
    ("cached", "counted"),
    [
        (10, Tokens(input_text=10, input_audio=10, input_image=5, cached_text=10)),
        (25, Tokens(input_audio=5, input_image=5, cached_text=20, cached_audio=5)),
        (32, Tokens(input_image=3, cached_text=20, cached_audio=10, cached_image=2)),
        (99, Tokens(cached_text=20, cached_audio=10, cached_image=5)),
    ],
)
def test_a_total_of_cached_tokens_counts_as_text_first(cached: int, counted: Tokens) -> None:
    details = {"text_tokens": 20, "audio_tokens": 10, "image_tokens": 5, "cached_tokens": cached}

    assert tokens_of_response({"input_token_details": details}) == counted


TWO_KINDS = {"text_tokens": 20, "audio_tokens": 10}


@pytest.mark.parametrize(
    ("details", "guessed"),
    [
        (TWO_KINDS | {"cached_tokens": 10}, True),
        (TWO_KINDS | {"cached_tokens": 30}, False),
        (TWO_KINDS | {"cached_tokens": 0}, False),
        (TWO_KINDS | {"cached_tokens": 10, "cached_tokens_details": {"text_tokens": 10}}, False),
        ({"text_tokens": 20, "cached_tokens": 10}, False),
        ([], False),
    ],
)
def test_the_kinds_of_cached_tokens_are_a_guess_if_another_split_is_possible(
    details: Any, *, guessed: bool
) -> None:
    assert is_split_guessed({"input_token_details": details}) is guessed


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
        {"input_tokens": 5, "input_token_details": {"text_tokens": 0}},
        {"output_tokens": 7, "input_token_details": {"text_tokens": 5}},
    ],
)
def test_tokens_of_no_kind_are_not_zero_tokens(usage: Any) -> None:
    assert tokens_of_response(usage) is None


def test_a_failed_response_may_have_used_nothing() -> None:
    assert (
        tokens_of_response({"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}) == Tokens()
    )


@pytest.mark.parametrize("usage", [None, {}, [], "many", 3])
def test_no_usage_is_not_zero_usage(usage: Any) -> None:
    assert tokens_of_response(usage) is None


@pytest.mark.parametrize("count", [-1, 1.5, "3", None, [1], 10**400])
def test_an_invalid_count_is_zero(count: Any) -> None:
    usage = {"input_token_details": {"text_tokens": count}, "output_token_details": [count]}

    assert tokens_of_response(usage) == Tokens()


@given(st.lists(st.integers(0, 1000), min_size=7, max_size=7))
def test_cached_and_other_tokens_add_up_to_the_input(counts: list[int]) -> None:
    text, audio, image, total, *cached = counts
    modalities = ("text_tokens", "audio_tokens", "image_tokens")
    details: dict[str, Any] = dict(zip(modalities, (text, audio, image), strict=True))
    details["cached_tokens"] = total
    if any(cached):
        details["cached_tokens_details"] = dict(zip(modalities, cached, strict=True))

    counted = tokens_of_response({"input_token_details": details})

    assert counted is not None
    assert counted.input_text + counted.cached_text == text
    assert counted.input_audio + counted.cached_audio == audio
    assert counted.input_image + counted.cached_image == image
    assert all(getattr(counted, kind) >= 0 for kind in TOKEN_KINDS)


def test_tokens_add_up_by_kind() -> None:
    one = Tokens(input_text=1, output_audio=2)

    assert (one + Tokens(input_text=3)).by_kind() == {"input_text": 4, "output_audio": 2}
    assert one + Tokens() == one


def test_a_transcription_is_billed_by_tokens_or_by_duration() -> None:
    by_tokens = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "seconds": 9}
    by_duration = {"type": "duration", "seconds": 2.5, "input_tokens": 3}

    assert tokens_of_transcription(by_tokens) == Tokens(
        transcription_input=14, transcription_output=45
    )
    assert seconds_of_transcription(by_tokens) == 0.0
    assert tokens_of_transcription(by_duration) is None
    assert seconds_of_transcription(by_duration) == 2.5


@pytest.mark.parametrize("usage", [None, [], {}, {"type": "guess"}])
def test_a_transcription_without_usage_used_nothing(usage: Any) -> None:
    assert tokens_of_transcription(usage) is None
    assert seconds_of_transcription(usage) == 0.0


@pytest.mark.parametrize("seconds", [-1, "3", None, 10**400, float("inf"), float("nan")])
def test_invalid_seconds_are_zero(seconds: Any) -> None:
    assert seconds_of_transcription({"type": "duration", "seconds": seconds}) == 0.0


def test_the_text_in_a_transcription_is_reported_on_its_own() -> None:
    details = {"text_tokens": 30, "audio_tokens": 70}
    usage = {"type": "tokens", "input_token_details": details}

    assert text_of_transcription(usage) == 30
    assert tokens_of_transcription(usage) == Tokens(transcription_input=100)
    assert text_of_transcription({"type": "tokens", "input_tokens": 5}) == 0
    assert text_of_transcription("much") == 0


def test_a_transcription_with_a_total_only_is_of_unknown_usage() -> None:
    assert tokens_of_transcription({"type": "tokens", "total_tokens": 50}) is None
    assert tokens_of_transcription({"type": "tokens", "total_tokens": 0}) == Tokens()


@pytest.mark.parametrize(
    "usage",
    [
        {"total_tokens": 500},
        {"prompt_tokens": 5, "completion_tokens": 7},
        {"input_tokens": "100", "output_tokens": "100"},
        {"input_tokens": -1},
        {"output_tokens": MAX_COUNT + 1, "output_token_details": {"text_tokens": MAX_COUNT + 1}},
    ],
)
def test_usage_that_cannot_be_read_is_unknown_and_not_free(usage: dict[str, Any]) -> None:
    assert tokens_of_response(usage) is None
    assert tokens_of_transcription({"type": "tokens", "output_tokens": "9"}) is None
    assert seconds_of_transcription({"type": "duration", "seconds": MAX_SECONDS + 1}) == 0.0


def test_a_count_may_be_a_whole_number_with_a_fraction_of_zero() -> None:
    usage = {"output_tokens": 7.0, "output_token_details": {"text_tokens": 7.0}}

    assert tokens_of_response(usage) == Tokens(output_text=7)
    assert tokens_of_response({"total_tokens": 0}) == Tokens()
