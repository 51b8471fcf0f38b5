"""A report is on disk before the client receives it, also if the relay is killed."""

import asyncio
import os
import random
import sqlite3
from collections import Counter
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import websockets
from accounting import (
    APPEND,
    DELTA,
    PRICES,
    SPOKEN_MICROS,
    accounting,
    checked_ledger,
    created,
    done,
    ledger_of,
    reports,
    sends,
    sends_on_request,
    until,
)
from fakes import Call, FakeUpstream
from ledgers import locked, select
from processes import Process, serving
from relays import TEST_SECONDS, receive, send, write_config
from websockets.asyncio.client import ClientConnection

from relay.ledger.check import check_ledger
from relay.ledger.query import query_usage

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_a_report_is_on_disk_before_the_client_receives_it(tmp_path: Path) -> None:
    """Read with another connection, which sees only committed rows."""
    names = [f"resp_{number}" for number in range(100)]
    script = sends(*(done(name) for name in names))
    reported = "SELECT report_id FROM reports WHERE number = ?"

    async with accounting(tmp_path, script) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            with closing(sqlite3.connect(tmp_path / "data" / "usage.db")) as other:
                for number, name in enumerate(names, 1):
                    event = await receive(client)
                    written = other.execute(reported, (number,)).fetchall()
                    assert written == [(name,)] == [(event["response"]["id"],)]


async def test_a_session_is_on_disk_before_the_client_receives_it(tmp_path: Path) -> None:
    async with accounting(tmp_path) as (relay, _):
        async with relay.connect() as client:
            session_id = (await receive(client))["session"]["id"]
            rows = select(
                tmp_path / "data" / "usage.db", "SELECT session_id, ended_at FROM sessions"
            )
            assert rows == [(session_id, None)]
        await relay.ended()

        ((outcome, close_code),) = select(
            checked_ledger(tmp_path), "SELECT outcome, close_code FROM sessions"
        )
        assert (outcome, close_code) == ("completed", 1000)


async def test_a_slow_commit_delays_only_the_events_after_the_report_of_its_session(
    tmp_path: Path,
) -> None:
    """The order stays, messages to the upstream do not wait, and neither do other sessions."""
    received = asyncio.Event()

    async def receives(call: Call) -> None:
        await call.open()
        await call.receive()
        for event in (DELTA, done("resp_1"), DELTA | {"event_id": "behind"}):
            await call.send(event)
        for _ in range(50):
            await call.receive()
        received.set()
        await call.listen()

    async with accounting(tmp_path, sends_on_request) as (relay, upstream):
        ledger_of(relay)._patience_seconds = TEST_SECONDS
        async with relay.connect() as other:
            await receive(other)
            upstream.script = receives
            async with relay.connect() as client:
                await receive(client)
                with locked(tmp_path / "data" / "usage.db"):
                    await send(client, **APPEND)
                    assert (await receive(client))["type"] == DELTA["type"]
                    for _ in range(50):
                        await send(client, **APPEND)
                    await received.wait()
                    await echo(other, times=50)
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await client.recv()
                events = [await receive(client), await receive(client)]
                assert reports(tmp_path, "report_id") == [("resp_1",)]

    assert [event["event_id"] for event in events] == ["e", "behind"]
    assert not relay.lines("ledger.failed")


async def echo(client: ClientConnection, *, times: int) -> None:
    """Send audio and receive audio, ``times`` times."""
    for _ in range(times):
        await send(client, **APPEND)
        assert (await receive(client))["type"] == DELTA["type"]


LOADED = 20
KILLS = int(os.environ.get("RELAY_KILLS", "2"))
"""The number of kills; RELAY_KILLS=200 takes some minutes."""


async def answers(call: Call) -> None:
    """Open the session, and answer each message with a response."""
    await call.open()
    for number in count():
        await call.receive()
        await call.send(created(f"resp_{number}"))
        await call.send(done(f"resp_{number}"))


@dataclass
class ReceivedReports:
    """The reports that clients received: the session and the response of each."""

    reports: list[tuple[str, str]] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, client: ClientConnection) -> None:
        """Send audio and receive reports until the relay is gone."""
        session_id = (await receive(client))["session"]["id"]
        with suppress(websockets.ConnectionClosed):
            while True:
                await send(client, **APPEND)
                event = await until(client, "response.done")
                self.reports.append((session_id, event["response"]["id"]))
                if len(self.reports) == LOADED * 5:
                    self.enough.set()

    async def kill(self, relay: Process, seconds: float) -> None:
        """Kill the relay ``seconds`` after it came under load."""
        await self.enough.wait()
        asyncio.get_running_loop().call_later(seconds, relay.process.kill)


@pytest.mark.parametrize("attempt", range(KILLS))
async def test_a_report_that_a_client_received_before_a_kill_is_there_once(
    tmp_path: Path, attempt: int
) -> None:
    seconds = random.uniform(0, 0.6)  # noqa: S311  # of tests
    print("killed after", seconds, "in attempt", attempt)  # noqa: T201  # shown when it fails
    received = ReceivedReports()
    (tmp_path / "prices.yaml").write_text(PRICES)
    async with FakeUpstream(answers).running() as upstream:
        path = write_config(tmp_path, upstream.url)
        async with serving(path) as relay, AsyncExitStack() as clients:
            opening = (relay.connect() for _ in range(LOADED))
            opened = [await clients.enter_async_context(client) for client in opening]
            async with asyncio.TaskGroup() as tasks:
                for client in opened:
                    tasks.create_task(received.converse(client))
                tasks.create_task(received.kill(relay, seconds))

        file = checked_ledger(tmp_path)  # also before another relay has started
        left = check_ledger(file)
        async with serving(path) as again:
            async with again.connect() as client:
                await receive(client)
            again.process.terminate()
            assert await again.ends() == 0

    written = Counter(select(file, "SELECT session_id, report_id FROM reports"))
    assert len(set(received.reports)) == len(received.reports) >= LOADED * 5
    assert set(received.reports) <= set(written)
    assert set(written.values()) == {1}
    assert left.left_open == left.sessions == LOADED
    checked = check_ledger(checked_ledger(tmp_path))
    assert (checked.open, checked.left_open, checked.reports) == (0, 0, len(written))
    outcomes = select(file, "SELECT outcome, count(*) FROM sessions GROUP BY outcome")
    assert dict(outcomes) == {"crashed": LOADED, "completed": 1}
    (row,) = query_usage(file, by=())
    assert row.cost_usd_micros == SPOKEN_MICROS * len(written)
