"""Names of models in the metrics and in the ledger come from closed sets."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from playbook import PERSONA, Play, Refusal, start

from relay.config import schema
from relay.core.labels import TRANSCRIPTION_MODELS, model_label
from relay.core.policy import Policy
from relay.core.pricing import Price, Prices
from relay.core.terms import Billing

DAY = date(2020, 1, 1)
PRICES = Prices((Price("by-name", DAY, {}), Price("by-pattern-*", DAY, {})))
BILLING = Billing("the-persona", PRICES, datetime(2026, 11, 23, tzinfo=UTC), "its-transcriber")

TRANSCRIPTION = ("audio", "input", "transcription")
UNPRICED = Refusal("event_not_allowed")


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("the-persona", "the-persona"),
        ("its-transcriber", "its-transcriber"),
        ("by-name", "by-name"),
        ("whisper-1", "whisper-1"),
        ("unknown", "unknown"),
        ("by-pattern-of-the-client", "other"),
        ("by-pattern-*", "other"),
        ("unnamed-model", "other"),
    ],
)
def test_a_model_is_named_by_the_persona_the_price_list_or_the_api(model: str, label: str) -> None:
    assert model_label(model, BILLING) == label


def test_the_known_names_are_those_of_the_api() -> None:
    (names,) = (
        part["enum"]
        for part in schema._MODELS["AudioTranscription"]["properties"]["model"]["anyOf"]
        if "enum" in part
    )
    assert set(names) == TRANSCRIPTION_MODELS


def opened(path: tuple[str, ...] = TRANSCRIPTION, **terms: Any) -> Play:
    """Start a session in which a client may set a part of the transcription."""
    return start(Policy(session=frozenset({path})), **{"prices": PRICES, **terms})


def update(play: Play, transcription: Any) -> Any:
    """Let the client set the transcription; return the first command that follows."""
    audio = {"input": {"transcription": transcription}}
    (answer,) = play.client(type="session.update", session={"audio": audio})
    return answer


@pytest.mark.parametrize(
    "path", [TRANSCRIPTION, TRANSCRIPTION[:2], TRANSCRIPTION[:1], (*TRANSCRIPTION, "model")]
)
def test_a_transcription_model_that_a_client_sets_needs_a_price(path: tuple[str, ...]) -> None:
    for model in ("unnamed-model", "whisper-1", 7, None, ["by-name"]):
        assert update(opened(path), {"model": model}) == UNPRICED
    for model in ("by-name", "by-pattern-of-the-client"):
        side, event = update(opened(path), {"model": model})
        assert side == "upstream"
        assert event["session"]["audio"]["input"]["transcription"] == {"model": model}


def test_a_client_may_not_leave_the_choice_of_a_model_to_the_upstream() -> None:
    without = PERSONA | {"audio": {"input": {"transcription": None}}}

    assert update(opened(session=without), {"language": "de"}) == UNPRICED
    assert update(opened(session=without), {}) == UNPRICED
    assert update(opened(), {"language": "de"})[0] == "upstream"
    assert update(opened(), None)[0] == "upstream"


def test_a_model_of_a_client_is_priced_by_its_name_and_counted_as_other() -> None:
    prices = Prices((Price("by-pattern-*", DAY, {}, Decimal(6)),))
    play = opened(prices=prices)
    name = "by-pattern-of-the-client"
    session = PERSONA | {"audio": {"input": {"transcription": {"model": name}}}}
    play.upstream(type="session.updated", session=session)
    transcribed = "conversation.item.input_audio_transcription.completed"
    usage = {"type": "duration", "seconds": 60}
    play.upstream(type=transcribed, item_id="item_1", usage=usage)

    (report,) = play.recorded
    assert (report.model, report.cost_usd) == ("other", Decimal(6))
    assert list(play.session.counts.used) == ["other"]
