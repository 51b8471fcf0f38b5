"""A session that ends while usage is in progress: cancelled, awaited, recorded, charged."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from accounting import (
    APPEND,
    PRICES,
    SPOKEN,
    SPOKEN_MICROS,
    accounting,
    checked_ledger,
    created,
    done,
    refusal,
    reports,
    rest,
    second_of_audio,
    until,
)
from fakes import Call, FakeUpstream
from processes import Process, serving
from relays import PERSONA, receive, send, write_config
from websockets.asyncio.client import ClientConnection

from relay.core import settling

pytestmark = pytest.mark.usefixtures("nothing_is_left")

KEYS = {"Authorization": "Bearer kiosk-key-one"}
CLIENTS = """
    clients:
      kiosk: {key: kiosk-key-one, limits: {usd_per_day: 0.012}}
"""
"""Two responses of $0.0064 exceed this budget."""

WORDS = {"type": "response.output_text.delta", "event_id": "d", "delta": "four" * 100}
"""A hundred tokens of text, which cost $0.0024."""


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 0.2)


async def answers(call: Call) -> None:
    """Answer each request with words, and report a response when it is cancelled."""
    await call.open()
    number = 0
    while True:
        event = await call.receive()
        if event["type"] == "response.create":
            number += 1
            await call.send(created(f"resp_{number}"))
            await call.send(WORDS)
        elif event["type"] == "response.cancel":
            await call.send(done(event["response_id"], SPOKEN, "cancelled"))


async def never_reports(call: Call) -> None:
    """Answer each request with words, and report nothing."""
    await call.open()
    while True:
        if (await call.receive())["type"] == "response.create":
            await call.send(created("resp_1"))
            await call.send(WORDS)


async def ask(client: ClientConnection) -> None:
    """Request an answer, and read its words."""
    await send(client, type="response.create")
    await until(client, WORDS["type"])


async def test_a_client_that_leaves_during_an_answer_is_closed_at_once_and_the_report_is_awaited(
    tmp_path: Path,
) -> None:
    client_has_left = asyncio.Event()

    async def reports_later(call: Call) -> None:
        await call.open()
        await call.receive()
        for event in (created("resp_1"), WORDS):
            await call.send(event)
        await call.receive()
        await client_has_left.wait()
        await call.send(done("resp_1", SPOKEN, "cancelled"))
        await call.listen()

    async with accounting(tmp_path, reports_later) as (relay, upstream):
        async with relay.connect() as client:
            await ask(client)
        client_has_left.set()  # its Close was answered
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1000

    (cancel,) = upstream.calls[0].received[2:]
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_1")
    assert cancel["event_id"].startswith("relay_")
    assert (line["outcome"], line["cost_usd"], line["estimated"]) == ("completed", "0.006400", 0)
    assert reports(tmp_path, "report_id, status, estimated, cost_usd_micros") == [
        ("resp_1", "cancelled", 0, SPOKEN_MICROS)
    ]
    checked_ledger(tmp_path)


@pytest.mark.parametrize("script", [answers, never_reports])
@pytest.mark.usefixtures("short_wait")
async def test_a_budget_takes_effect_when_a_client_leaves_before_each_answer_is_done(
    tmp_path: Path, script: Any
) -> None:
    answered = 0
    async with accounting(tmp_path, script, CLIENTS) as (relay, _):
        try:
            for _ in range(6):
                async with relay.connect(additional_headers=KEYS) as client:
                    await ask(client)
                    answered += 1
                await relay.sessions.emptied()
        except Exception:  # noqa: BLE001  # the refusal is examined below
            assert answered > 0
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")

    assert answered < 6
    assert len(reports(tmp_path, "report_id")) == answered
    checked_ledger(tmp_path)


async def test_a_budget_takes_effect_before_the_reports_have_arrived(tmp_path: Path) -> None:
    """The next session starts while the relay still waits for the reports of the last one."""
    async with accounting(tmp_path, never_reports, CLIENTS) as (relay, _):
        for _ in range(5):  # each answer is estimated at $0.002576
            async with relay.connect(additional_headers=KEYS) as client:
                await ask(client)
        assert await refusal(relay, additional_headers=KEYS) == (429, "budget_exhausted")
        assert reports(tmp_path, "report_id") == []
        relay.sessions.stop_at_once()
        await relay.sessions.emptied()

    assert len(reports(tmp_path, "report_id")) == 5
    checked_ledger(tmp_path)


@pytest.mark.usefixtures("short_wait")
async def test_a_text_answer_without_a_report_is_estimated_from_its_text_and_its_prompt(
    tmp_path: Path,
) -> None:
    async with accounting(tmp_path, never_reports) as (relay, upstream):
        async with relay.connect() as client:
            content = [{"type": "input_text", "text": "x" * 200}]
            item = {"type": "message", "role": "user", "content": content}
            await send(client, type="conversation.item.create", item=item)
            await ask(client)
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1000

    # 173 characters of instructions and tools, 200 of the user.
    tokens = {"input_text": 44 + 50, "output_text": 100}
    assert (line["tokens"], line["estimated"]) == (tokens, 1)
    assert reports(tmp_path, "report_id, status, cost_usd_micros") == [
        ("resp_1", "cut_off", 94 * 4 + 100 * 24)
    ]
    checked_ledger(tmp_path)


@pytest.mark.usefixtures("short_wait")
async def test_a_minute_of_audio_and_a_commit_are_recorded_although_the_client_leaves_at_once(
    tmp_path: Path,
) -> None:
    async with accounting(tmp_path) as (relay, upstream):
        upstream.script = ignores
        async with relay.connect() as client:
            await receive(client)
            await send(client, **APPEND | {"audio": second_of_audio(60)})
            await send(client, type="input_audio_buffer.commit")
        line = await relay.ended()

    assert line["tokens"]["input_audio"] == 600
    assert reports(tmp_path, "kind, status, estimated, input_audio") == [
        ("response", "cut_off", 1, 600)
    ]
    checked_ledger(tmp_path)


async def ignores(call: Call) -> None:
    """Open the session, and answer nothing."""
    await call.open()
    await call.listen()


async def test_usage_that_is_unknown_charges_a_budget_too(tmp_path: Path) -> None:
    async def reports_no_usage(call: Call) -> None:
        await call.open()
        for number in range(6):
            for event in (created(f"r{number}"), WORDS, done(f"r{number}", None)):
                await call.send(event)
        await call.listen()

    async with accounting(tmp_path, reports_no_usage, CLIENTS) as (relay, _):
        async with relay.connect(additional_headers=KEYS) as client:
            events = await rest(client)
        line = await relay.ended()

    assert events[-1]["error"]["code"] == "budget_exhausted"
    assert 0 < [event["type"] for event in events].count("response.done") < 6
    assert line["cost_usd"] is None
    checked_ledger(tmp_path)


async def test_an_upstream_that_goes_away_is_not_awaited(tmp_path: Path) -> None:
    async def leaves_when_it_is_cancelled(call: Call) -> None:
        await call.open()
        await call.receive()
        for event in (created("resp_1"), WORDS):
            await call.send(event)
        await call.receive()
        await call.socket.close(code=1000)

    loop = asyncio.get_running_loop()
    async with accounting(tmp_path, leaves_when_it_is_cancelled) as (relay, _):
        async with relay.connect() as client:
            await ask(client)
        left = loop.time()
        await relay.sessions.emptied()
        assert loop.time() - left < settling.SETTLE_SECONDS / 2

    assert reports(tmp_path, "status") == [("cut_off",)]


@asynccontextmanager
async def answering_process(tmp_path: Path, drain_seconds: float) -> AsyncIterator[Process]:
    """Run a relay in a process, on an upstream that reports nothing."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    settings = f"limits: {{drain_seconds: {drain_seconds}}}"
    async with FakeUpstream(never_reports).running() as upstream:
        path = write_config(tmp_path, upstream.url, settings, {"receptionist": PERSONA})
        async with serving(path) as relay:
            yield relay


async def test_a_drain_awaits_reports_for_a_limited_time(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with answering_process(tmp_path, 0.2) as relay, relay.connect() as client:
        await ask(client)
        asked = loop.time()
        relay.signal(signal.SIGTERM)
        assert (await until(client, "error"))["error"]["code"] == "relay_draining"
        await client.wait_closed()
        closed_after_seconds = loop.time() - asked
        assert await relay.ends() == 0
        ended_after_seconds = loop.time() - asked

    assert closed_after_seconds < 2.5
    assert 3 < ended_after_seconds < 0.2 + settling.SETTLE_SECONDS + 1
    assert reports(tmp_path, "status, output_text") == [("cut_off", 100)]
    checked_ledger(tmp_path)


@pytest.mark.parametrize("settles", [False, True])
async def test_a_second_signal_awaits_no_reports(tmp_path: Path, *, settles: bool) -> None:
    """Also if the sessions have ended already, and their reports are awaited."""
    loop = asyncio.get_running_loop()
    async with answering_process(tmp_path, 0.2 if settles else 60) as relay:
        async with relay.connect() as client:
            await ask(client)
            relay.signal(signal.SIGTERM)
            await relay.until("drain.started")
            if settles:
                await until(client, "error")
            asked = loop.time()
            relay.signal(signal.SIGTERM)
            assert await relay.ends() == 0

    assert loop.time() - asked < 2.5
    assert reports(tmp_path, "status, output_text") == [("cut_off", 100)]
    checked_ledger(tmp_path)


async def test_a_session_with_nothing_in_progress_ends_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with accounting(tmp_path, answers) as (relay, upstream):
        async with relay.connect() as client:
            await ask(client)
            await send(client, type="response.cancel", response_id="resp_1")
            await until(client, "response.done")
        left = loop.time()
        await relay.ended()
        assert loop.time() - left < 2

    sent = [json.dumps(event) for event in upstream.calls[0].received]
    assert len([event for event in sent if "response.cancel" in event]) == 1
