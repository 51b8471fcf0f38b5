"""Sessions of a relay that opens connections to its upstream in advance."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import issue
from connection_events import CountingUpstream, counting_upstream, follow, warm_events
from fakes import Wire
from freed import all_set, freed, uncollected
from handshakes import connect_once
from relays import RunningRelay, receive, running_relay, write_config
from scripts import WireScript, opens_and_closes

from relay import app
from relay.config.loading import load
from relay.upstreams import warm

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

__all__ = ["warm_events"]

Events = asyncio.Queue[str]

GAUGE = "relay_upstream_warm_connections"
ENDED = f"{GAUGE}_ended_total"


@asynccontextmanager
async def relaying(
    folder: Path, script: WireScript, number: int, *, tls: bool = False
) -> AsyncIterator[tuple[RunningRelay, CountingUpstream]]:
    """Run a relay with this number of warm connections."""
    pair = issue(folder) if tls else None
    more = f"warm_connections: {number}" + (f", ca_file: {pair.cert}" if pair else "")
    async with counting_upstream(script, pair.serving if pair else None) as upstream:
        async with running_relay(write_config(folder, upstream.url, more=more)) as relay:
            yield relay, upstream


async def reload(relay: RunningRelay, path: Path) -> None:
    """Read the configuration again."""
    await relay.application[app.RELAY].reload(lambda: load(path, {}))


@pytest.mark.parametrize("tls", [False, True])
async def test_sessions_use_them_and_the_metrics_count_them(
    tmp_path: Path, warm_events: Events, *, tls: bool
) -> None:
    async with relaying(tmp_path, opens_and_closes, 2, tls=tls) as (relay, upstream):
        await follow(warm_events, "opened", "opened")
        before = await relay.metrics()
        await connect_once(relay)
        await follow(warm_events, "used")
        await relay.ended()
        used = len(upstream.accepted)
        await follow(warm_events, "opened")
        metrics = await relay.metrics()

    assert used == 2
    assert before[f'{GAUGE}{{upstream="fake"}}'] == metrics[f'{GAUGE}{{upstream="fake"}}'] == 2
    assert {name: n for name, n in metrics.items() if name.startswith(ENDED)} == {
        f'{ENDED}{{outcome="{outcome}",upstream="fake"}}': int(outcome == "used")
        for outcome in ("used", "expired", "lost", "closed", "failed")
    }


async def test_without_them_there_is_no_connection_and_no_sample(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    async with counting_upstream(opens_and_closes) as upstream:
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            metrics = await relay.metrics()
            started = {task.get_coro() for task in asyncio.all_tasks() - tasks}
            await connect_once(relay)
            await relay.ended()
    assert not [name for name in metrics if name.startswith(GAUGE)]
    assert "WarmPool" not in repr(started)
    assert len(upstream.accepted) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_an_upstream_that_closed_them_costs_no_session(
    tmp_path: Path, warm_events: Events, *, tls: bool
) -> None:
    """It reads the request, and closes: no failure of the upstream, and no line in the log."""

    async def restarts(upstream: Wire) -> None:
        if len(counting.accepted) > 2:
            await opens_and_closes(upstream)
        else:
            await upstream.reader.readuntil(b"\r\n\r\n")

    async with relaying(tmp_path, restarts, 2, tls=tls) as (relay, counting):
        await follow(warm_events, "opened", "opened")
        await connect_once(relay)
        await follow(warm_events, "lost", "closed")
        await relay.ended()
        assert relay.lines("upstream.failed") == []
        metrics = await relay.metrics()
    attempts = "relay_upstream_attempts_total"
    assert {name: n for name, n in metrics.items() if name.startswith(attempts)} == {
        f'{attempts}{{outcome="opened",upstream="fake"}}': 1
    }


async def test_after_a_session_was_not_ready_in_time_the_older_ones_are_closed(
    tmp_path: Path, warm_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network may have forgotten them, and then nothing answers on them."""
    monkeypatch.setattr(warm, "REFILL_SECONDS", 10)

    async def is_silent(upstream: Wire) -> None:
        await upstream.lost()

    async with counting_upstream(is_silent) as upstream:
        more = "warm_connections: 2, ready_timeout_seconds: 0.3"
        async with running_relay(write_config(tmp_path, upstream.url, more=more)) as relay:
            await follow(warm_events, "opened", "opened")
            with pytest.raises(Exception, match="504"):
                await relay.connect()
            await follow(warm_events, "closed")


async def test_an_upstream_that_is_down_counts_no_failure_and_logs_nothing(
    tmp_path: Path, warm_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "FIRST_RETRY_SECONDS", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    path = write_config(tmp_path, url, more="warm_connections: 4")
    async with running_relay(path) as relay:
        await follow(warm_events, *["failed"] * 6)
        assert relay.logged.getvalue() == ""
        assert not relay.realtime.serving.dialler.circuits["fake"].is_open
        metrics = await relay.metrics()
    assert metrics[f'{GAUGE}{{upstream="fake"}}'] == 0
    assert metrics[f'{ENDED}{{outcome="failed",upstream="fake"}}'] >= 6
    assert not [name for name in metrics if name.startswith("relay_upstream_attempts_total")]


async def test_a_reload_closes_and_opens_them(tmp_path: Path, warm_events: Events) -> None:
    async with relaying(tmp_path, opens_and_closes, 1) as (relay, upstream):
        await follow(warm_events, "opened")
        async with counting_upstream(opens_and_closes) as another:
            path = write_config(tmp_path, another.url, more="warm_connections: 2")
            await reload(relay, path)
            await follow(warm_events, "closed", "opened", "opened")
            assert len(upstream.accepted) == 1
            await connect_once(relay)
            await follow(warm_events, "used")
            await relay.ended()
            await reload(relay, write_config(tmp_path, another.url))
            metrics = await relay.metrics()
            assert not [name for name in metrics if name.startswith(f"{GAUGE}{{")]


async def test_a_draining_relay_has_none(tmp_path: Path, warm_events: Events) -> None:
    async with relaying(tmp_path, opens_and_closes, 2) as (relay, upstream):
        await follow(warm_events, "opened", "opened")
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)
            await follow(warm_events, "used")
            draining = tasks.create_task(relay.application[app.RELAY].drain(60))
            await follow(warm_events, "closed")
            assert not draining.done()
            await client.close()
        assert len(upstream.accepted) == 2
        assert relay.application[app.RELAY]._warm.waiting() == {}


async def test_the_peers_of_a_session_are_freed_without_the_garbage_collector(
    tmp_path: Path, warm_events: Events
) -> None:
    async with relaying(tmp_path, opens_and_closes, 1, tls=True) as (relay, _):
        await follow(warm_events, "opened")
        async with relay.connect() as client:
            await receive(client)
            await follow(warm_events, "used")
            with uncollected():
                events = freed(relay)
                await client.close()
                await client.wait_closed()
                await relay.ended()
                await all_set(events)
