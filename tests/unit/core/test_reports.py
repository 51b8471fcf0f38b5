"""Reports of responses and transcriptions: once, with a cost, and marked if guessed."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from relay.core.pricing import Price, Prices
from relay.core.reporting import CUT_OFF, STATUSES, Reports
from relay.core.reports import Report
from relay.core.tokens import Tokens

TODAY, TOMORROW = date(2026, 11, 1), date(2026, 11, 2)
MODEL, TRANSCRIBER = "gpt-realtime-2.1", "gpt-transcribe"

PRICES = Prices(
    (
        Price(MODEL, TODAY, {"input_audio": Decimal(32), "output_audio": Decimal(64)}),
        Price(MODEL, TOMORROW, {"input_audio": Decimal(64), "output_audio": Decimal(128)}),
        Price(TRANSCRIBER, TODAY, {}, Decimal("0.006")),
    )
)
SPOKEN = {"output_token_details": {"audio_tokens": 100}}


@pytest.fixture
def reports() -> Reports:
    return Reports(MODEL, PRICES)


def test_the_report_of_a_response_has_its_usage_and_its_cost(reports: Reports) -> None:
    response = {"id": "resp_1", "status": "completed", "usage": SPOKEN}

    assert reports.response(response, TODAY) == Report(
        report_id="resp_1",
        kind="response",
        model=MODEL,
        status="completed",
        tokens=Tokens(output_audio=100),
        cost_usd=Decimal("0.006400"),
    )


def test_the_price_is_that_of_the_day(reports: Reports) -> None:
    report = reports.response({"id": "resp_1", "usage": SPOKEN}, TOMORROW)

    assert report is not None
    assert report.cost_usd == Decimal("0.012800")


@pytest.mark.parametrize(
    "status", [*sorted(STATUSES), "in_progress", "PLANTED", None, 7, ["completed"]]
)
def test_a_status_is_one_of_the_api_or_other(reports: Reports, status: Any) -> None:
    report = reports.response({"id": "resp_1", "status": status, "usage": SPOKEN}, TODAY)

    assert report is not None
    assert report.status == (status if status in list(STATUSES) else "other")
    assert report.tokens == Tokens(output_audio=100)


@pytest.mark.parametrize("usage", [None, {}, [], "much", {"output_tokens": 100}])
def test_a_response_without_usage_is_unknown_and_has_no_cost(reports: Reports, usage: Any) -> None:
    report = reports.response({"id": "resp_1", "status": "failed", "usage": usage}, TODAY)

    assert report is not None
    assert (report.unknown, report.estimated, report.cost_usd) == (True, False, None)
    assert report.tokens == Tokens()


def test_a_response_with_zero_tokens_costs_zero(reports: Reports) -> None:
    usage = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}

    report = reports.response({"id": "resp_1", "status": "failed", "usage": usage}, TODAY)

    assert report is not None
    assert (report.unknown, report.cost_usd) == (False, Decimal("0.000000"))


def test_a_guess_of_the_cached_kinds_is_marked(reports: Reports) -> None:
    details = {"text_tokens": 20, "audio_tokens": 10, "cached_tokens": 5}

    report = reports.response({"id": "resp_1", "usage": {"input_token_details": details}}, TODAY)

    assert report is not None
    assert report.tokens == Tokens(input_text=15, cached_text=5, input_audio=10)
    assert (report.estimated, report.unknown) == (True, False)


def test_usage_without_a_price_has_no_cost(reports: Reports) -> None:
    usage = {"output_token_details": {"audio_tokens": 100, "text_tokens": 1}}

    report = reports.response({"id": "resp_1", "usage": usage}, TODAY)

    assert report is not None
    assert (report.cost_usd, report.unknown) == (None, False)
    assert report.tokens == Tokens(output_audio=100, output_text=1)


def test_a_response_counts_once_by_its_first_report(reports: Reports) -> None:
    assert reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY) is not None
    assert reports.response({"id": "resp_1", "usage": None}, TODAY) is None
    assert reports.response({"id": "resp_2", "usage": SPOKEN}, TODAY) is not None


@pytest.mark.parametrize("name", [None, 7, {}])
def test_responses_without_an_id_are_different_ones(reports: Reports, name: Any) -> None:
    made = [reports.response({"id": name, "usage": SPOKEN}, TODAY) for _ in range(2)]

    assert len({report.report_id for report in made if report is not None}) == 2


def transcribed(item_id: Any, usage: Any, **event: Any) -> dict[str, Any]:
    return {"item_id": item_id, "usage": usage, **event}


def test_a_transcription_is_reported_by_duration(reports: Reports) -> None:
    event = transcribed("item_1", {"type": "duration", "seconds": 10}, content_index=2)

    assert reports.transcription(event, TRANSCRIBER, TODAY) == Report(
        report_id="item_1/2",
        kind="transcription",
        model=TRANSCRIBER,
        status="completed",
        tokens=Tokens(),
        transcription_seconds=10.0,
        cost_usd=Decimal("0.001000"),
    )


def test_a_transcription_is_reported_by_tokens(reports: Reports) -> None:
    event = transcribed("item_1", {"type": "tokens", "input_tokens": 5, "output_tokens": 7})

    report = reports.transcription(event, "unnamed-model", TODAY)

    assert report is not None
    assert report.tokens == Tokens(transcription_input=5, transcription_output=7)
    assert (report.cost_usd, report.unknown) == (None, False)


def test_a_transcription_without_usage_is_unknown(reports: Reports) -> None:
    report = reports.transcription(transcribed("item_1", None), TRANSCRIBER, TODAY)

    assert report is not None
    assert (report.unknown, report.cost_usd) == (True, None)


def test_each_part_of_an_item_is_transcribed_once(reports: Reports) -> None:
    usage = {"type": "duration", "seconds": 1}
    parts = [transcribed("item_1", usage), transcribed("item_1", usage, content_index=1)]

    assert all(reports.transcription(part, TRANSCRIBER, TODAY) for part in parts)
    assert not any(reports.transcription(part, TRANSCRIBER, TODAY) for part in parts)
    unnamed = [
        reports.transcription(transcribed(None, usage), TRANSCRIBER, TODAY) for _ in range(2)
    ]
    assert all(unnamed)


def test_an_item_id_that_comes_again_is_another_transcription(reports: Reports) -> None:
    """Each of five turns of a minute is billed, also with one id for all of them."""
    usage = {"type": "duration", "seconds": 60}
    event = transcribed("item_1", usage)
    made = []
    for number in range(5):
        reports.untranscribed.committed(event, 60.0 * (number + 1))
        made += [reports.transcription(event, TRANSCRIBER, TODAY) for _ in range(3)]

    billed = [report for report in made if report is not None]
    assert [report.transcription_seconds for report in billed] == [60.0] * 5
    ids = [report.report_id for report in billed]
    assert ids == ["item_1/0", *(f"item_1/0#{number}" for number in range(2, 6))]


def test_an_item_that_is_deleted_and_created_again_is_another_transcription(
    reports: Reports,
) -> None:
    event = transcribed("item_1", {"type": "duration", "seconds": 60})
    made = []
    for _ in range(5):
        reports.untranscribed.created("item_1")
        made += [reports.transcription(event, TRANSCRIBER, TODAY) for _ in range(2)]

    assert len([report for report in made if report is not None]) == 5
    assert not reports.untranscribed


def test_a_transcription_that_failed_leaves_no_second_report_to_a_later_one(
    reports: Reports,
) -> None:
    event = transcribed("item_1", {"type": "duration", "seconds": 60})
    reports.untranscribed.committed(event, 60.0)
    reports.untranscribed.failed(event)
    assert not reports.untranscribed
    reports.untranscribed.committed(event, 120.0)

    made = [reports.transcription(event, TRANSCRIBER, TODAY) for _ in range(2)]
    assert [report is None for report in made] == [False, True]
    reports.untranscribed.failed(transcribed("item_2", None))


def test_two_turns_with_one_id_are_cut_off_together(reports: Reports) -> None:
    event = transcribed("item_1", {"type": "duration", "seconds": 60})
    for seconds in (60.0, 90.0, 100.0):
        reports.untranscribed.committed(event, seconds)
    assert reports.transcription(event, TRANSCRIBER, TODAY) is not None

    (cut_off,) = reports.cut_off(TRANSCRIBER, TODAY)
    assert (cut_off.report_id, cut_off.transcription_seconds) == ("item_1/0#2", 40.0)
    assert reports.transcription(event, TRANSCRIBER, TODAY) is None


def test_a_response_id_that_begins_again_is_another_response(reports: Reports) -> None:
    made = []
    for _ in range(3):
        reports.underway.began("resp_1", 0)
        reports.underway.began("resp_1", 9)
        made += [reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY) for _ in range(2)]

    ids = [report.report_id for report in made if report is not None]
    assert ids == ["resp_1", "resp_1#2", "resp_1#3"]


def test_a_response_and_a_transcription_with_the_same_id_are_both_reported(
    reports: Reports,
) -> None:
    event = transcribed("item_1", {"type": "duration", "seconds": 60})
    made = [
        reports.response({"id": "item_1/0", "usage": SPOKEN}, TODAY),
        reports.response({"id": "item_1/0#2", "usage": SPOKEN}, TODAY),
        reports.transcription(event, TRANSCRIBER, TODAY),
    ]

    ids = [report.report_id for report in made if report is not None]
    assert ids == ["item_1/0", "item_1/0#2", "item_1/0#3"]


def test_the_ids_of_an_upstream_are_stored_with_a_limited_length(reports: Reports) -> None:
    huge = "x" * 3_000_000
    response = reports.response({"id": huge, "usage": SPOKEN}, TODAY)
    usage = {"type": "duration", "seconds": 1}
    event = transcribed(huge, usage, content_index=huge)
    transcription = reports.transcription(event, TRANSCRIBER, TODAY)

    assert response is not None
    assert transcription is not None
    assert len(response.report_id) < 100
    assert len(transcription.report_id) < 100
    assert reports.response({"id": huge, "usage": SPOKEN}, TODAY) is None
    assert reports.transcription(event, TRANSCRIBER, TODAY) is None


def test_unknown_usage_charges_budgets_with_an_estimate(reports: Reports) -> None:
    reports.underway.began("resp_1", 2)
    reports.underway.sent(3)
    response = reports.response({"id": "resp_1", "usage": None}, TODAY)
    event = transcribed("item_1", None)
    reports.untranscribed.committed(event, 10.0)
    by_minute = reports.transcription(event, TRANSCRIBER, TODAY)
    event = transcribed("item_2", None)
    reports.untranscribed.committed(event, 20.0)
    by_token = reports.transcription(event, MODEL, TODAY)

    made = [report for report in (response, by_minute, by_token) if report is not None]
    assert [report.cost_usd for report in made] == [None] * 3
    assert [report.tokens for report in made] == [Tokens()] * 3
    assert [report.charge_usd for report in made] == [
        Decimal("0.004480"),
        Decimal("0.001000"),
        Decimal("0.003200"),
    ]


def test_a_budget_is_charged_with_the_cost_or_with_the_most_that_it_can_be(
    reports: Reports,
) -> None:
    """A kind without a price has no cost, and is not free: it has the highest price of the row."""
    report = reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY)
    unpriced = reports.response(
        {"id": "resp_2", "usage": {"output_token_details": {"text_tokens": 1}}}, TODAY
    )

    assert report is not None
    assert unpriced is not None
    assert (report.cost_usd, report.charge_usd) == (Decimal("0.006400"), Decimal("0.006400"))
    assert (unpriced.cost_usd, unpriced.charge_usd) == (None, Decimal("0.000064"))


def test_a_transcription_in_another_unit_than_its_price_is_charged_by_its_length(
    reports: Reports,
) -> None:
    by_tokens = {"type": "tokens", "input_tokens": 600, "output_tokens": 7}
    event = transcribed("item_1", by_tokens)
    unknown_length = reports.transcription(event, TRANSCRIBER, TODAY)
    event = transcribed("item_2", by_tokens)
    reports.untranscribed.committed(event, 10.0)
    known_length = reports.transcription(event, TRANSCRIBER, TODAY)
    in_seconds = transcribed("item_3", {"type": "duration", "seconds": 10})
    by_time = reports.transcription(in_seconds, MODEL, TODAY)
    without_price = reports.transcription(transcribed("item_4", by_tokens), "unnamed-model", TODAY)

    made = [unknown_length, known_length, by_time, without_price]
    assert [report and report.cost_usd for report in made] == [None] * 4
    assert [report and report.charge_usd for report in made] == [
        Decimal("0.006000"),
        Decimal("0.001000"),
        Decimal("0.003200"),
        Decimal(0),
    ]


def test_the_text_of_a_transcription_has_the_price_of_text() -> None:
    rates = {"input_audio": Decimal(6), "input_text": Decimal(2), "output_text": Decimal(10)}
    reports = Reports(MODEL, Prices((Price("by-token", TODAY, rates),)))
    details = {"text_tokens": 30, "audio_tokens": 70}
    usage = {"type": "tokens", "input_tokens": 100, "output_tokens": 5}
    event = transcribed("item_1", usage | {"input_token_details": details})

    report = reports.transcription(event, "by-token", TODAY)

    assert report is not None
    assert report.tokens == Tokens(transcription_input=100, transcription_output=5)
    assert report.cost_usd == Decimal("0.000530")  # 30 * 2 + 70 * 6 + 5 * 10


def test_a_cut_off_response_is_estimated_from_its_audio_and_reported_once(reports: Reports) -> None:
    reports.underway.began("resp_1", 2)
    reports.underway.sent(3)

    assert list(reports.cut_off(TRANSCRIBER, TODAY)) == [
        Report(
            report_id="resp_1",
            kind="response",
            model=MODEL,
            status=CUT_OFF,
            tokens=Tokens(input_audio=20, output_audio=60),
            cost_usd=Decimal("0.004480"),
            estimated=True,
        )
    ]
    assert list(reports.cut_off(TRANSCRIBER, TODAY)) == []
    assert reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY) is None


@pytest.mark.parametrize(
    ("model", "tokens", "seconds", "cost_usd"),
    [
        (TRANSCRIBER, Tokens(), 10.0, Decimal("0.001000")),
        (MODEL, Tokens(transcription_input=100), 0.0, Decimal("0.003200")),
        ("unnamed-model", Tokens(), 10.0, None),
    ],
)
def test_a_cut_off_transcription_is_estimated_in_the_unit_of_its_price(
    reports: Reports, model: str, tokens: Tokens, seconds: float, cost_usd: Decimal | None
) -> None:
    reports.untranscribed.committed({"item_id": "item_1"}, 10.0)

    assert list(reports.cut_off(model, TODAY)) == [
        Report(
            report_id="item_1/0",
            kind="transcription",
            model=model,
            status=CUT_OFF,
            tokens=tokens,
            transcription_seconds=seconds,
            cost_usd=cost_usd,
            estimated=True,
        )
    ]
    late = transcribed("item_1", {"type": "duration", "seconds": 9})
    assert reports.transcription(late, model, TODAY) is None


def test_a_transcription_that_was_reported_is_not_cut_off(reports: Reports) -> None:
    """Also for another part of the item, and if the turn is committed late."""
    usage = {"type": "duration", "seconds": 9}
    event = transcribed("item_1", usage, content_index=1)
    reports.untranscribed.committed(event, 9.0)
    reports.transcription(event, TRANSCRIBER, TODAY)
    assert list(reports.cut_off(TRANSCRIBER, TODAY)) == []

    event = transcribed("item_2", usage)
    reports.transcription(event, TRANSCRIBER, TODAY)
    reports.untranscribed.committed(event, 9.0)
    assert list(reports.cut_off(TRANSCRIBER, TODAY)) == []


def test_a_reported_response_is_not_cut_off(reports: Reports) -> None:
    reports.underway.began("resp_1", 0)
    reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY)

    assert not reports.underway
    assert list(reports.cut_off(TRANSCRIBER, TODAY)) == []


def test_a_response_that_begins_again_with_its_id_ends_with_its_next_report(
    reports: Reports,
) -> None:
    """Otherwise it would stay in progress, and a session without budget would never end."""
    for _ in range(2):
        reports.underway.began("resp_1", 0)
        reports.response({"id": "resp_1", "usage": SPOKEN}, TODAY)

    assert not reports.underway
