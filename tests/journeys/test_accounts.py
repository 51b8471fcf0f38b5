"""The accounts of a relay: on disk before the client is told, each once, and within the budgets."""

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import websockets
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
    books_of,
    by_kind,
    created,
    done,
    ledger_of,
    let_tell,
    recovered,
    refusal,
    reports,
    rest,
    second_of_audio,
    tells,
    tells_what_it_is_told,
    transcribed,
    transcribing,
    until,
)
from aiohttp import ClientSession
from fakes import Call, FakeUpstream
from ledgers import immutable, locked, select
from processes import Process, serving
from relays import PERSONA, TEST_SECONDS, RunningRelay, receive, send, write_config
from websockets.asyncio.client import ClientConnection

from relay.ledger import accounts
from relay.ledger.check import check_ledger
from relay.ledger.query import query_usage
from relay.sessions import registry

pytestmark = pytest.mark.usefixtures("nothing_is_left")

# On disk first.


async def test_a_row_is_on_disk_before_the_client_is_told(tmp_path: Path) -> None:
    """With another connection: what it sees was committed."""
    names = [f"resp_{number}" for number in range(100)]
    script = tells(*(done(name) for name in names))
    reported = "SELECT report_id FROM reports WHERE number = ?"

    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            with closing(sqlite3.connect(tmp_path / "data" / "usage.db")) as other:
                for number, name in enumerate(names, 1):
                    told = await receive(client)
                    written = other.execute(reported, (number,)).fetchall()
                    assert written == [(name,)] == [(told["response"]["id"],)]


async def test_the_session_is_on_disk_before_the_client_hears_of_it(tmp_path: Path) -> None:
    async with accounting(tmp_path) as (relay, _):
        async with relay.connect() as client:
            session_id = (await receive(client))["session"]["id"]
            rows = select(
                tmp_path / "data" / "usage.db", "SELECT session_id, ended_at FROM sessions"
            )
            assert rows == [(session_id, None)]
        await relay.ended()

        ((outcome, close_code),) = select(
            books_of(tmp_path), "SELECT outcome, close_code FROM sessions"
        )
        assert (outcome, close_code) == ("completed", 1000)


async def test_a_slow_commit_holds_only_what_follows_the_report_of_its_session(
    tmp_path: Path,
) -> None:
    """Order is kept; the way to the upstream flows; another session notices nothing."""
    heard = asyncio.Event()

    async def hears(call: Call) -> None:
        await call.open()
        await call.receive()
        for event in (DELTA, done("resp_1"), DELTA | {"event_id": "behind"}):
            await call.send(event)
        for _ in range(50):
            await call.receive()
        heard.set()
        await call.listen()

    async with accounting(tmp_path, tells_what_it_is_told) as (relay, upstream):
        ledger_of(relay)._patience_seconds = TEST_SECONDS
        async with relay.connect() as other:
            await receive(other)
            upstream.script = hears
            async with relay.connect() as client:
                await receive(client)
                with locked(tmp_path / "data" / "usage.db"):
                    await send(client, **APPEND)
                    assert (await receive(client))["type"] == DELTA["type"]
                    for _ in range(50):
                        await send(client, **APPEND)
                    await heard.wait()
                    await echo(other, times=50)
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await client.recv()
                told = [await receive(client), await receive(client)]
                assert reports(tmp_path, "report_id") == [("resp_1",)]

    assert [event["event_id"] for event in told] == ["e", "behind"]
    assert not relay.lines("ledger.failed")


async def echo(client: ClientConnection, *, times: int) -> None:
    """Say something and hear something, back and forth."""
    for _ in range(times):
        await send(client, **APPEND)
        assert (await receive(client))["type"] == DELTA["type"]


LOADED = 20
KILLS = int(os.environ.get("RELAY_KILLS", "2"))
"""RELAY_KILLS=200 for a long look, of some minutes."""


async def answers(call: Call) -> None:
    """Open the session, and answer whatever is said."""
    await call.open()
    for number in count():
        await call.receive()
        await call.send(created(f"resp_{number}"))
        await call.send(done(f"resp_{number}"))


@dataclass
class Heard:
    """What clients were told: the session and the response of each."""

    told: list[tuple[str, str]] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, client: ClientConnection) -> None:
        """Speak and listen until the relay is gone."""
        session_id = (await receive(client))["session"]["id"]
        with suppress(websockets.ConnectionClosed):
            while True:
                await send(client, **APPEND)
                event = await until(client, "response.done")
                self.told.append((session_id, event["response"]["id"]))
                if len(self.told) == LOADED * 5:
                    self.enough.set()

    async def kill(self, relay: Process, seconds: float) -> None:
        """Kill the relay, a while after it came under load."""
        await self.enough.wait()
        asyncio.get_running_loop().call_later(seconds, relay.process.kill)


@pytest.mark.parametrize("attempt", range(KILLS))
async def test_what_a_client_was_told_before_a_kill_is_there_once(
    tmp_path: Path, attempt: int
) -> None:
    seconds = random.uniform(0, 0.6)  # noqa: S311  # of tests
    print("killed after", seconds, "in attempt", attempt)  # noqa: T201  # shown when it fails
    heard = Heard()
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with FakeUpstream(answers).running() as upstream:
        path = write_config(tmp_path, upstream.url)
        async with serving(path) as relay, AsyncExitStack() as clients:
            opening = (relay.connect() for _ in range(LOADED))
            opened = [await clients.enter_async_context(client) for client in opening]
            async with asyncio.TaskGroup() as tasks:
                for client in opened:
                    tasks.create_task(heard.converse(client))
                tasks.create_task(heard.kill(relay, seconds))

        file = books_of(tmp_path)  # proven before a relay has started again, too
        left = check_ledger(file)
        async with serving(path) as again:
            async with again.connect() as client:
                await receive(client)
            again.process.terminate()
            assert await again.ends() == 0

    written = Counter(select(file, "SELECT session_id, report_id FROM reports"))
    assert len(set(heard.told)) == len(heard.told) >= LOADED * 5
    assert set(heard.told) <= set(written)
    assert set(written.values()) == {1}
    assert left.left_open == left.sessions == LOADED
    checked = check_ledger(books_of(tmp_path))
    assert (checked.open, checked.left_open, checked.reports) == (0, 0, len(written))
    outcomes = select(file, "SELECT outcome, count(*) FROM sessions GROUP BY outcome")
    assert dict(outcomes) == {"crashed": LOADED, "completed": 1}
    (row,) = query_usage(file, by=())
    assert row.cost_usd_micros == SPOKEN_MICROS * len(written)


# All of it, each once, and everywhere the same.


async def test_log_metrics_ledger_and_client_agree_to_the_micro_dollar(tmp_path: Path) -> None:
    """Each kind once: cached, by minute, by token, without a price, cancelled, failed, unknown."""
    script = tells(
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
            told = [await until(client, "relay.usage") for _ in range(5)]
            live = await relay.metrics()
        line = await relay.ended()
        ended = await relay.metrics()

    cost_usd = f"{Decimal(micros).scaleb(-6):.6f}"
    assert told[-1]["total"] == {"tokens": tokens, "cost_usd": cost_usd}
    assert (line["tokens"], line["cost_usd"]) == (tokens, cost_usd)
    assert (line["transcription_seconds"], line["estimated"], line["unknown"]) == (6.7, 0, 1)
    assert line["responses"] == {"completed": 2, "cancelled": 1, "failed": 2}
    for samples in (live, ended):
        assert by_kind(samples) == tokens
        assert round(total(samples, "relay_cost_usd_total"), 6) == float(cost_usd)
        assert total(samples, "relay_transcription_seconds_total") == pytest.approx(6.7)
        assert total(samples, "relay_unpriced_reports_total") == 1
        assert total(samples, "relay_responses_total") == 5
    (row,) = query_usage(books_of(tmp_path), by=())
    assert {kind: count for kind, count in row.tokens.items() if count} == tokens
    assert row.cost_usd_micros == micros
    assert (row.transcription_seconds, row.responses) == (6.7, 5)
    assert (row.unpriced, row.estimated, row.unknown) == (1, 0, 1)
    # What a client was told of each response is what is written of it.
    costs = [(event["response_id"], event["cost_usd"]) for event in told]
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


async def test_a_hundred_turns_with_a_cached_history_cost_what_a_calculation_by_hand_says(
    tmp_path: Path,
) -> None:
    """Each turn takes in 20 of text, and the audio of all turns before, of which it has cached all
    but that of the last: in turn n, 50 of audio are new and 50 * (n - 1) were cached.
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

    async with accounting(tmp_path, tells(*map(turn, turns))) as (relay, _):
        async with relay.connect() as client:
            for _ in turns:
                await until(client, "response.done")
        line = await relay.ended()

    (row,) = query_usage(books_of(tmp_path), by=())
    assert row.cost_usd_micros == by_hand
    assert line["cost_usd"] == f"{by_hand / 1_000_000:.6f}" == "0.547000"


async def test_a_report_that_comes_again_counts_once(tmp_path: Path) -> None:
    script = tells(
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
    books_of(tmp_path)


async def test_the_same_ids_in_two_sessions_are_two_reports(tmp_path: Path) -> None:
    async with accounting(tmp_path, tells(done("resp_1"))) as (relay, _):
        for _ in range(2):
            async with relay.connect() as client:
                await until(client, "response.done")
    assert len(reports(tmp_path, "report_id")) == 2


async def test_responses_out_of_band_count(tmp_path: Path) -> None:
    """They are in no conversation, and billed all the same."""
    aside = done("resp_aside")
    aside["response"] |= {"conversation_id": None, "metadata": {"topic": "aside"}}
    script = tells(created("resp_1"), created("resp_aside"), aside, done("resp_1"))
    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect() as client:
            for _ in range(2):
                await until(client, "response.done")
    assert reports(tmp_path, "report_id, cost_usd_micros") == [
        ("resp_aside", SPOKEN_MICROS),
        ("resp_1", SPOKEN_MICROS),
    ]


async def test_a_response_that_is_cut_off_is_estimated_from_its_audio_and_marked(
    tmp_path: Path,
) -> None:
    """Two seconds were heard and three spoken: 20 and 60 tokens."""

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

    micros = 20 * 32 + 60 * 64
    assert reports(
        tmp_path, "status, estimated, unknown, input_audio, output_audio, cost_usd_micros"
    ) == [("cut_off", 1, 0, 20, 60, micros)]
    assert (line["estimated"], line["unknown"], line["cost_usd"]) == (1, 0, "0.004480")
    assert line["responses"] == {"cut_off": 1}
    assert by_kind(samples) == {"input_audio": 20, "output_audio": 60}
    (row,) = query_usage(books_of(tmp_path), by=())
    assert (row.responses, row.estimated, row.cost_usd_micros) == (1, 1, micros)


async def test_a_report_that_comes_when_the_client_has_gone_is_written_and_not_estimated(
    tmp_path: Path,
) -> None:
    async def reports_when_it_is_closed(call: Call) -> None:
        await call.open()
        await call.send(created("resp_1"))
        await call.send(DELTA)
        # Before its own Close, which the relay waits for.
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
    books_of(tmp_path)


async def test_a_model_without_a_price_gives_tokens_without_a_cost_and_says_so(
    tmp_path: Path,
) -> None:
    persona = PERSONA.replace("gpt-realtime-2.1", "of-nobody")
    clerk = """
        upstream: fake
        session: {type: transcription, audio: {input: {transcription: {model: nor-this-one}}}}
    """
    personas = {"receptionist": persona, "clerk": clerk}
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with FakeUpstream(tells(done("resp_1"))).running() as upstream:
        path = write_config(tmp_path, upstream.url, personas=personas)
        async with serving(path) as relay:
            async with relay.connect() as client:
                await until(client, "response.done")
            ended = await relay.hear("session.ended")
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
    (row,) = query_usage(books_of(tmp_path))
    assert (row.cost_usd_micros, row.unpriced, row.tokens["output_audio"]) == (None, 1, 100)


async def test_a_clock_that_is_set_back_changes_no_duration_and_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with accounting(tmp_path) as (relay, _):
        async with relay.connect() as client:
            await let_tell(client, done("resp_1"))
            await until(client, "response.done")
            for module in (accounts, registry):
                monkeypatch.setattr(module, "datetime", AnHourAgo)
            await let_tell(client, done("resp_1"), done("resp_2"))
            for _ in range(2):
                await until(client, "response.done")
        line = await relay.ended()

    assert 0 <= line["duration_seconds"] < 10
    assert select(
        books_of(tmp_path), "SELECT reports, seconds >= 0 AND seconds < 10, outcome FROM sessions"
    ) == [(2, 1, "completed")]


class AnHourAgo(datetime):
    """A clock that somebody has set back."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "AnHourAgo":
        return super().now(tz) - timedelta(hours=1)


# Budgets.

KEYS = {"Authorization": "Bearer kiosk-key-one"}
OTHER_KEYS = {"Authorization": "Bearer other-key-one"}


def clients(limits: str = "{}") -> str:
    """Return two clients, the first with these limits."""
    return f"""
    clients:
      kiosk: {{key: kiosk-key-one, limits: {limits}}}
      other: {{key: other-key-one}}
    """


TWO_RESPONSES = "0.012"
"""What the second response passes: each costs $0.0064."""

DAY, SESSION = f"{{usd_per_day: {TWO_RESPONSES}}}", f"{{usd_per_session: {TWO_RESPONSES}}}"


@pytest.mark.parametrize(
    ("of_client", "of_persona", "next_is_refused"),
    [(DAY, "{}", True), ("{}", DAY, True), (SESSION, "{}", False), ("{}", SESSION, False)],
)
async def test_the_response_that_passes_a_budget_is_delivered_whole_and_then_the_session_ends(
    tmp_path: Path, of_client: str, of_persona: str, *, next_is_refused: bool
) -> None:
    persona = f"{PERSONA}\n    limits: {of_persona}\n"
    script = tells(
        *(created("resp_1"), DELTA, done("resp_1"), created("resp_2"), DELTA, done("resp_2")),
        created("resp_3"),
    )
    async with accounting(tmp_path, script, clients(of_client), receptionist=persona) as (
        relay,
        upstream,
    ):
        connecting: dict[str, Any] = {
            "subprotocols": ["realtime", "relay.events"],
            "additional_headers": KEYS,
        }
        async with relay.connect(**connecting) as client:
            told = await rest(client)
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1000

        if next_is_refused:
            assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
            assert len(upstream.calls) == 1
            (refused,) = relay.lines("session.refused")
            assert refused["code"] == "budget_exhausted"
        else:
            async with relay.connect(**connecting) as client:
                assert (await receive(client))["type"] == "session.created"

    one = ["response.created", DELTA["type"], "response.done", "relay.usage"]
    assert [event["type"] for event in told] == ["session.created", *one, *one, "error"]
    assert told[-1]["error"]["code"] == "budget_exhausted"
    assert (client.close_code == 4429) or not next_is_refused
    assert (line["ended_by"], line["outcome"], line["close_code"]) == (
        *("relay", "budget_exhausted"),
        4429,
    )
    assert line["cost_usd"] == "0.012800"
    books_of(tmp_path)


async def test_concurrent_sessions_of_a_client_share_its_budget(tmp_path: Path) -> None:
    """One spends it: one that says nothing ends at once, one that speaks when it has spoken."""
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        async with (
            relay.connect(additional_headers=KEYS) as spender,
            relay.connect(additional_headers=KEYS) as silent,
            relay.connect(additional_headers=KEYS) as speaker,
            relay.connect(additional_headers=OTHER_KEYS) as other,
        ):
            await let_tell(speaker, created("resp_under_way"), DELTA)
            await until(speaker, DELTA["type"])
            await let_tell(spender, done("resp_1"), done("resp_2"))
            spent = await rest(spender)
            assert [event["type"] for event in await rest(silent)] == ["session.created", "error"]
            await let_tell(speaker, DELTA, done("resp_under_way"))
            spoken = await rest(speaker)
            assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
            await let_tell(other, done("resp_1"))
            await until(other, "response.done")

    kinds = ["session.created", "response.done", "response.done", "error"]
    assert [event["type"] for event in spent] == kinds
    assert [event["type"] for event in spoken] == [DELTA["type"], "response.done", "error"]
    codes = [client.close_code for client in (spender, silent, speaker, other)]
    assert codes == [4429, 4429, 4429, 1000]
    assert len(upstream.calls) == 4
    books_of(tmp_path)


async def test_a_session_that_is_being_opened_when_the_budget_is_spent_spends_nothing(
    tmp_path: Path,
) -> None:
    let_in = asyncio.Event()

    async def opens_late(call: Call) -> None:
        await let_in.wait()
        await tells_what_it_is_told(call)

    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        async with relay.connect(additional_headers=KEYS) as spender:
            await receive(spender)
            upstream.script = opens_late
            upstream.called.clear()
            async with asyncio.TaskGroup() as tasks:
                opening = tasks.create_task(told_to(relay))
                await upstream.called.wait()
                await let_tell(spender, done("resp_1"), done("resp_2"))
                await rest(spender)
                let_in.set()
            told, close_code = opening.result()

    assert told[-1]["error"]["code"] == "budget_exhausted"
    assert close_code == 4429


async def told_to(relay: RunningRelay) -> tuple[list[dict[str, Any]], int | None]:
    """Return what a client is told that says nothing, and how it is closed."""
    async with asyncio.timeout(2), relay.connect(additional_headers=KEYS) as client:
        return await rest(client), client.close_code


async def test_what_was_spent_today_is_known_after_a_restart(tmp_path: Path) -> None:
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, _):
        async with relay.connect(additional_headers=KEYS) as client:
            await let_tell(client, done("resp_1"), done("resp_2"))
            await rest(client)

    async with accounting(tmp_path, settings=clients(DAY)) as (relay, upstream):
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
        async with relay.connect(additional_headers=OTHER_KEYS) as client:
            assert (await receive(client))["type"] == "session.created"
    assert len(upstream.calls) == 1


async def test_what_was_spent_today_is_known_when_a_ledger_comes_back_that_could_not_be_read(
    tmp_path: Path,
) -> None:
    async with accounting(tmp_path, settings=clients(DAY)) as (relay, _):
        async with relay.connect(additional_headers=KEYS) as client:
            await let_tell(client, done("resp_1"), done("resp_2"))
            await rest(client)

    with locked(tmp_path / "data" / "usage.db"):
        again = accounting(tmp_path, settings=clients(DAY))
        relay, _ = await again.__aenter__()
        assert await refusal(relay, additional_headers=OTHER_KEYS) == (503, "relay_full")
    try:
        await recovered(relay)
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
        async with relay.connect(additional_headers=OTHER_KEYS) as client:
            assert (await receive(client))["type"] == "session.created"
    finally:
        await again.__aexit__(None, None, None)


# When the disk fails.


@pytest.mark.parametrize("on_failure", ["refuse", "continue"])
@pytest.mark.parametrize(
    ("kept_out", "cause"), [(locked, "SQLITE_BUSY"), (immutable, "SQLITE_READONLY")]
)
async def test_a_ledger_that_fails_loses_nothing_and_holds_nobody_for_long(
    tmp_path: Path, on_failure: str, kept_out: Callable[[Path], Any], cause: str
) -> None:
    loop = asyncio.get_running_loop()
    file = tmp_path / "data" / "usage.db"
    settings = f"usage: {{on_failure: {on_failure}}}"
    async with accounting(tmp_path, settings=settings) as (relay, upstream):
        async with relay.connect() as client:
            await receive(client)
            with kept_out(file):
                began = loop.time()
                await let_tell(client, done("resp_1"), DELTA)
                assert (await receive(client))["type"] == "response.done"
                assert 0.9 < loop.time() - began < 5
                assert (await receive(client))["type"] == DELTA["type"]
                failing = await relay.metrics()
                began = loop.time()
                for number in range(2, 52):
                    await let_tell(client, done(f"resp_{number}"))
                    await until(client, "response.done")
                assert loop.time() - began < 10  # and not a second each
                if on_failure == "refuse":
                    assert await refusal(relay) == (503, "relay_full")
                    assert len(upstream.calls) == 1
                else:
                    async with relay.connect() as new:
                        await let_tell(new, done("resp_new"))
                        await until(new, "response.done")
                assert reports(tmp_path, "report_id") == []
            await recovered(relay)
            works = await relay.metrics()
            written = reports(tmp_path, "report_id")
            async with relay.connect() as new:
                assert (await receive(new))["type"] == "session.created"

    assert (failing["relay_ledger_failing"], failing["relay_ledger_unwritten_rows"]) == (1, 1)
    assert (works["relay_ledger_failing"], works["relay_ledger_unwritten_rows"]) == (0, 0)
    expected = {f"resp_{number}" for number in range(1, 52)}
    expected |= {"resp_new"} if on_failure == "continue" else set()
    assert {report_id for (report_id,) in written} == expected
    assert len(written) == len(expected)
    ((failed,), (back,)) = relay.lines("ledger.failed"), relay.lines("ledger.recovered")
    assert (failed["level"], failed["cause"]) == ("error", cause)
    assert back["level"] == "warning"
    books_of(tmp_path)


async def test_what_a_failing_ledger_keeps_is_written_when_the_relay_stops(tmp_path: Path) -> None:
    file = tmp_path / "data" / "usage.db"
    async with accounting(tmp_path) as (relay, _):
        with locked(file):
            async with relay.connect() as client:
                await let_tell(client, done("resp_1"))
                await until(client, "response.done")
            line = await relay.ended()

    assert line["cost_usd"] == "0.006400"
    assert reports(tmp_path, "report_id") == [("resp_1",)]
    assert check_ledger(books_of(tmp_path)).open == 0
