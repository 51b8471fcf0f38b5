"""Accounts: each report counts once, and log, metrics, ledger and client agree."""

from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from accounting import (
    APPEND,
    CACHED,
    CACHED_MICROS,
    DELTA,
    EVENTS,
    PRICES,
    SPOKEN,
    SPOKEN_MICROS,
    accounting,
    by_kind,
    checked_ledger,
    created,
    done,
    reports,
    request_events,
    rest,
    second_of_audio,
    sends,
    transcribed,
    transcribing,
    until,
)
from aiohttp import ClientSession
from fakes import Call, FakeUpstream
from ledgers import select
from processes import serving
from relays import PERSONA, receive, send, write_config

from relay.ledger import accounts
from relay.ledger.query import query_usage
from relay.sessions import registry

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_log_metrics_ledger_and_client_agree_to_the_micro_dollar(tmp_path: Path) -> None:
    """Each case once: cached, by minute, by token, without a price, cancelled, failed, unknown."""
    script = sends(
        done("resp_1", CACHED),
        transcribing("by-the-minute"),
        transcribed("item_1", type="duration", seconds=4.2),
        transcribing("by-the-token"),
        transcribed("item_2", type="tokens", input_tokens=50, output_tokens=7),
        transcribing("by-nobody-knows"),
        transcribed("item_3", type="duration", seconds=2.5),
        done("resp_1", CACHED),
        done("resp_2", SPOKEN, "cancelled"),
        done("resp_3", {"input_token_details": {"text_tokens": 25}}, "failed"),
        done("resp_4", None, "failed"),
        done("resp_5", SPOKEN),
    )
    by_the_minute = 315  # 4.2 / 60 * 4500
    by_the_token = 50 * 6 + 7 * 10
    micros = CACHED_MICROS + by_the_minute + by_the_token + 2 * SPOKEN_MICROS + 25 * 4
    tokens = {
        "input_text": 55 + 25,
        "cached_text": 64,
        "input_audio": 8,
        "cached_audio": 5,
        "input_image": 10,
        "cached_image": 20,
        "output_text": 30,
        "output_audio": 291,
        "transcription_input": 50,
        "transcription_output": 7,
    }

    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect(subprotocols=EVENTS) as client:
            sent = [await until(client, "relay.usage") for _ in range(5)]
            live = await relay.metrics()
        line = await relay.ended()
        ended = await relay.metrics()

    cost_usd = f"{Decimal(micros).scaleb(-6):.6f}"
    assert sent[-1]["total"] == {"tokens": tokens, "cost_usd": cost_usd}
    assert (line["tokens"], line["cost_usd"]) == (tokens, cost_usd)
    assert (line["transcription_seconds"], line["estimated"], line["unknown"]) == (6.7, 0, 1)
    assert line["responses"] == {"completed": 2, "cancelled": 1, "failed": 2}
    for samples in (live, ended):
        assert by_kind(samples) == tokens
        assert round(total(samples, "relay_cost_usd_total"), 6) == float(cost_usd)
        assert total(samples, "relay_transcription_seconds_total") == pytest.approx(6.7)
        assert total(samples, "relay_unpriced_reports_total") == 1
        assert total(samples, "relay_responses_total") == 5
    (row,) = query_usage(checked_ledger(tmp_path), by=())
    assert {kind: count for kind, count in row.tokens.items() if count} == tokens
    assert row.cost_usd_micros == micros
    assert (row.transcription_seconds, row.responses) == (6.7, 5)
    assert (row.unpriced, row.estimated, row.unknown) == (1, 0, 1)
    # The client received the same costs as the ledger.
    costs = [(event["response_id"], event["cost_usd"]) for event in sent]
    assert costs == [
        ("resp_1", "0.007108"),
        ("resp_2", "0.006400"),
        ("resp_3", "0.000100"),
        ("resp_4", None),
        ("resp_5", "0.006400"),
    ]
    assert reports(tmp_path, "report_id, status, cost_usd_micros") == [
        ("resp_1", "completed", CACHED_MICROS),
        ("item_1/0", "completed", by_the_minute),
        ("item_2/0", "completed", by_the_token),
        ("item_3/0", "completed", None),
        ("resp_2", "cancelled", SPOKEN_MICROS),
        ("resp_3", "failed", 100),
        ("resp_4", "failed", None),
        ("resp_5", "completed", SPOKEN_MICROS),
    ]


def total(samples: dict[str, float], name: str) -> float:
    """Return the sum of a metric over its labels."""
    return sum(value for sample, value in samples.items() if sample.startswith(f"{name}{{"))


async def test_the_cost_of_a_hundred_turns_with_a_cached_history_equals_a_calculation_by_hand(
    tmp_path: Path,
) -> None:
    """The input of each turn is 20 tokens of text and the audio of all turns until now.

    In turn n, 50 tokens of audio are new and 50 * (n - 1) are cached.
    """
    turns = range(1, 101)

    def turn(number: int) -> dict[str, Any]:
        cached = 50 * (number - 1)
        taken = {
            "text_tokens": 20,
            "audio_tokens": 50 * number,
            "cached_tokens": cached,
            "cached_tokens_details": {"audio_tokens": cached},
        }
        given = {"text_tokens": 10, "audio_tokens": 40}
        usage = {"input_token_details": taken, "output_token_details": given}
        return done(f"resp_{number}", usage)

    # New, each turn: 20 * $4 + 50 * $32 + 10 * $24 + 40 * $64 a million = 4480 micro-dollars.
    # Cached: 50 * (0 + 1 + ... + 99) = 247,500 tokens at $0.40 a million = 99,000 micro-dollars.
    by_hand = 100 * 4480 + 99_000

    async with accounting(tmp_path, sends(*map(turn, turns))) as (relay, _):
        async with relay.connect() as client:
            for _ in turns:
                await until(client, "response.done")
        line = await relay.ended()

    (row,) = query_usage(checked_ledger(tmp_path), by=())
    assert row.cost_usd_micros == by_hand
    assert line["cost_usd"] == f"{by_hand / 1_000_000:.6f}" == "0.547000"


async def test_a_repeated_report_counts_once(tmp_path: Path) -> None:
    script = sends(
        *[done("resp_1")] * 3, *[transcribed("item_1", type="duration", seconds=1)] * 2, DELTA
    )
    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect() as client:
            await until(client, DELTA["type"])
            samples = await relay.metrics()
        line = await relay.ended()

    assert reports(tmp_path, "report_id, number") == [("resp_1", 1), ("item_1/0", 2)]
    assert line["responses"] == {"completed": 1}
    assert by_kind(samples) == {"output_audio": 100}
    checked_ledger(tmp_path)


async def test_the_same_ids_in_two_sessions_are_two_reports(tmp_path: Path) -> None:
    async with accounting(tmp_path, sends(done("resp_1"))) as (relay, _):
        for _ in range(2):
            async with relay.connect() as client:
                await until(client, "response.done")
    assert len(reports(tmp_path, "report_id")) == 2


async def test_responses_out_of_band_count(tmp_path: Path) -> None:
    """They belong to no conversation, and are billed too."""
    aside = done("resp_aside")
    aside["response"] |= {"conversation_id": None, "metadata": {"topic": "aside"}}
    script = sends(created("resp_1"), created("resp_aside"), aside, done("resp_1"))
    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect() as client:
            for _ in range(2):
                await until(client, "response.done")
    assert reports(tmp_path, "report_id, cost_usd_micros") == [
        ("resp_aside", SPOKEN_MICROS),
        ("resp_1", SPOKEN_MICROS),
    ]


async def test_a_cut_off_response_is_estimated_from_its_audio_and_marked(
    tmp_path: Path,
) -> None:
    """Two seconds of input and three of output are 20 and 60 tokens.

    The instructions and tools of the persona are 173 characters, which are 44 tokens.
    """

    async def is_cut_off(call: Call) -> None:
        await call.open()
        for _ in range(2):
            await call.receive()
        await call.send(created("resp_1"))
        for _ in range(3):
            await call.send(DELTA | {"delta": second_of_audio()})
        await call.socket.close(code=1011)

    async with accounting(tmp_path, is_cut_off) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            for _ in range(2):
                await send(client, type="input_audio_buffer.append", audio=second_of_audio())
            await rest(client)
        line = await relay.ended()
        samples = await relay.metrics()

    micros = 44 * 4 + 20 * 32 + 60 * 64
    assert reports(
        tmp_path, "status, estimated, unknown, input_audio, output_audio, cost_usd_micros"
    ) == [("cut_off", 1, 0, 20, 60, micros)]
    assert (line["estimated"], line["unknown"], line["cost_usd"]) == (1, 0, "0.004656")
    assert line["responses"] == {"cut_off": 1}
    assert by_kind(samples) == {"input_text": 44, "input_audio": 20, "output_audio": 60}
    (row,) = query_usage(checked_ledger(tmp_path), by=())
    assert (row.responses, row.estimated, row.cost_usd_micros) == (1, 1, micros)


async def test_a_report_after_the_client_has_left_is_written_and_not_estimated(
    tmp_path: Path,
) -> None:
    async def reports_when_it_is_closed(call: Call) -> None:
        await call.open()
        await call.send(created("resp_1"))
        await call.send(DELTA)
        # Before its own Close; the relay waits for that.
        await call.receive()
        await call.send(done("resp_1", SPOKEN, "cancelled"))
        await call.listen()

    async with accounting(tmp_path, reports_when_it_is_closed) as (relay, _):
        async with relay.connect() as client:
            await until(client, DELTA["type"])
            await send(client, **APPEND)
        await relay.ended()

    assert reports(tmp_path, "report_id, status, estimated, cost_usd_micros") == [
        ("resp_1", "cancelled", 0, SPOKEN_MICROS)
    ]
    checked_ledger(tmp_path)


async def test_a_model_without_a_price_gives_tokens_without_a_cost_and_a_warning(
    tmp_path: Path,
) -> None:
    persona = PERSONA.replace("gpt-realtime-2.1", "of-nobody")
    clerk = """
        upstream: fake
        session: {type: transcription, audio: {input: {transcription: {model: nor-this-one}}}}
    """
    personas = {"receptionist": persona, "clerk": clerk}
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with FakeUpstream(sends(done("resp_1"))).running() as upstream:
        path = write_config(tmp_path, upstream.url, personas=personas)
        async with serving(path) as relay:
            async with relay.connect() as client:
                await until(client, "response.done")
            ended = await relay.until("session.ended")
            async with ClientSession() as http:
                async with http.get(relay.url.replace("/v1", "/metrics")) as answer:
                    metrics = await answer.text()
            relay.process.terminate()
            assert await relay.ends() == 0

    (missing,) = (line for line in relay.lines if line["event"] == "price.missing")
    assert (missing["level"], missing["models"]) == ("warning", ["nor-this-one", "of-nobody"])
    assert (ended["tokens"], ended["cost_usd"]) == ({"output_audio": 100}, None)
    labels = '{model="of-nobody",persona="receptionist"}'
    assert f"relay_unpriced_reports_total{labels} 1.0" in metrics
    (row,) = query_usage(checked_ledger(tmp_path))
    assert (row.cost_usd_micros, row.unpriced, row.tokens["output_audio"]) == (None, 1, 100)


async def test_a_clock_that_is_set_back_changes_no_duration_and_repeats_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with accounting(tmp_path) as (relay, _):
        async with relay.connect() as client:
            await request_events(client, done("resp_1"))
            await until(client, "response.done")
            for module in (accounts, registry):
                monkeypatch.setattr(module, "datetime", AnHourAgo)
            await request_events(client, done("resp_1"), done("resp_2"))
            for _ in range(2):
                await until(client, "response.done")
        line = await relay.ended()

    assert 0 <= line["duration_seconds"] < 10
    assert select(
        checked_ledger(tmp_path),
        "SELECT reports, seconds >= 0 AND seconds < 10, outcome FROM sessions",
    ) == [(2, 1, "completed")]


class AnHourAgo(datetime):
    """A clock that is set back by an hour."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "AnHourAgo":
        return super().now(tz) - timedelta(hours=1)


async def test_the_ids_of_an_upstream_are_stored_and_logged_with_a_limited_length(
    tmp_path: Path,
) -> None:
    huge = "x" * 3_000_000

    async def has_huge_ids(call: Call) -> None:
        await call.open(id=huge)
        await call.send(done(huge))
        await call.send(transcribed(huge, type="duration", seconds=1))
        await call.listen()

    async with accounting(tmp_path, has_huge_ids) as (relay, _):
        async with relay.connect(max_size=None) as client:
            await until(client, "conversation.item.input_audio_transcription.completed")
        line = await relay.ended()

    assert line["upstream_session_id"].startswith("sha256_")
    assert len(relay.logged.getvalue()) < 10_000
    checked_ledger(tmp_path)
    columns = "max(length(report_id)), max(length(upstream_session_id))"
    statement = f"SELECT {columns} FROM reports JOIN sessions USING (session_id)"  # noqa: S608
    assert max(select(tmp_path / "data" / "usage.db", statement)[0]) < 100


@pytest.mark.parametrize("deletes", [True, False])
async def test_five_transcriptions_with_one_id_are_five_reports(
    tmp_path: Path, *, deletes: bool
) -> None:
    """A client deletes its item and creates it again, or the upstream repeats its ids."""

    async def transcribes(call: Call) -> None:
        await call.open()
        while True:
            event = await call.receive()
            if event["type"] == "conversation.item.create":
                await call.send(
                    {"type": "conversation.item.added", "event_id": "a", "item": event["item"]}
                )
            if event["type"] == "input_audio_buffer.commit":
                committed = {"type": "input_audio_buffer.committed", "item_id": "item_1"}
                await call.send(committed | {"event_id": "c"})
            if event["type"] != "conversation.item.delete":
                await call.send(transcribed("item_1", type="duration", seconds=60))
                await call.send(transcribed("item_1", type="duration", seconds=60))

    part = {"type": "input_audio", "audio": "AAAA"}
    item = {"type": "message", "role": "user", "id": "item_1", "content": [part]}
    async with accounting(tmp_path, transcribes) as (relay, upstream):
        upstream.script = transcribes
        async with relay.connect() as client:
            for _ in range(5):
                if deletes:
                    await send(client, type="conversation.item.create", item=item)
                else:
                    await send(client, type="input_audio_buffer.commit")
                for _ in range(2):
                    await until(client, "conversation.item.input_audio_transcription.completed")
                if deletes:
                    await send(client, type="conversation.item.delete", item_id="item_1")
        line = await relay.ended()

    assert line["transcription_seconds"] == 300
    assert len(reports(tmp_path, "report_id")) == 5
    checked_ledger(tmp_path)
