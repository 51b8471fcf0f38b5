"""Connections that are opened before a session needs them, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import Pair, issue
from connection_events import CountingUpstream, counting_upstream, follow, warm_events
from fakes import Wire
from scripts import WireScript
from yarl import URL

from relay.upstreams import warm
from relay.upstreams.connections import connections, forget_address
from relay.upstreams.resolver import Resolver
from relay.upstreams.warm import WarmPools, WarmTarget
from relay.wire.peer import Patience, Peer
from relay.wire.upgrade import connect

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

__all__ = ["warm_events"]

Events = asyncio.Queue[str]

PATIENCE = Patience(slow_seconds=5, close_seconds=1)


async def accepts(upstream: Wire) -> None:
    """Answer the handshake and the Close."""
    await upstream.accept()
    await upstream.closing()
    upstream.close_frame(1000)


class Warm:
    """A relay's connections to one upstream."""

    def __init__(
        self, http: aiohttp.ClientSession, pools: WarmPools, upstream: CountingUpstream, tls: Any
    ) -> None:
        self.http, self.pools, self.upstream, self._tls = http, pools, upstream, tls

    def target(self, number: int) -> WarmTarget:
        return WarmTarget("fake", URL(f"{self.upstream.url}/realtime"), self._tls, number, 5)

    async def dial(self) -> Peer:
        """Open a WebSocket as the dialler does."""
        return await connect(
            self.http,
            URL(f"{self.upstream.url}/realtime").with_query(model="m"),
            headers={},
            tls=self._tls,
            patience=PATIENCE,
            max_message_bytes=1000,
        )

    @property
    def ended(self) -> dict[str, int]:
        """The outcomes that were counted."""
        return {outcome: n for (_, outcome), n in self.pools.ended.items() if n}


@pytest.fixture(params=["plain", "tls"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair | None:
    """Return the certificate of the upstream; None for an upstream without TLS."""
    return issue(tmp_path) if request.param == "tls" else None


@asynccontextmanager
async def warmed(number: int, script: WireScript, pair: Pair | None = None) -> AsyncIterator[Warm]:
    """Keep connections to an upstream that runs ``script``."""
    async with (
        counting_upstream(script, pair.serving if pair else None) as upstream,
        connections() as http,
        asyncio.TaskGroup() as tasks,
    ):
        pools = WarmPools(http, tasks)
        relay = Warm(http, pools, upstream, pair.trusting if pair else True)
        pools.keep([relay.target(number)])
        try:
            yield relay
        finally:
            pools.stop()


async def test_a_session_takes_an_open_connection_and_the_relay_opens_the_next(
    warm_events: Events, pair: Pair | None
) -> None:
    async with warmed(2, accepts, pair) as relay:
        await follow(warm_events, "opened", "opened")
        assert relay.pools.waiting() == {"fake": 2}
        for connections_before in (2, 3):
            await relay.upstream.connection(connections_before - 1)
            peer = await relay.dial()
            await follow(warm_events, "used")
            assert len(relay.upstream.accepted) == connections_before
            await follow(warm_events, "opened")
            assert relay.pools.waiting() == {"fake": 2}
            await peer.leave(1000, "")
    assert relay.ended == {"used": 2, "closed": 2}


async def test_more_sessions_than_connections_open_their_own(
    warm_events: Events, pair: Pair | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "REFILL_SECONDS", 10)
    async with warmed(1, accepts, pair) as relay:
        await follow(warm_events, "opened")
        async with asyncio.TaskGroup() as tasks:
            dials = [tasks.create_task(relay.dial()) for _ in range(5)]
        assert len(relay.upstream.accepted) == 5
        for dial in dials:
            await dial.result().leave(1000, "")
        assert relay.ended["used"] == 1


async def test_a_connection_that_the_upstream_closes_is_not_used(
    warm_events: Events, pair: Pair | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "FIRST_RETRY_SECONDS", 0.01)

    async def closes_the_first(upstream: Wire) -> None:
        if len(relay.upstream.accepted) > 1:
            await accepts(upstream)

    async with warmed(1, closes_the_first, pair) as relay:
        await follow(warm_events, "opened", "lost", "opened")
        peer = await relay.dial()
        assert len(relay.upstream.accepted) == 2
        await peer.leave(1000, "")


async def test_after_a_loss_the_relay_waits_before_it_opens_the_next(
    warm_events: Events, pair: Pair | None
) -> None:
    """A server may close each connection at once."""

    async def closes(_: Wire) -> None:
        pass

    async with warmed(1, closes, pair) as relay:
        await follow(warm_events, "opened", "lost")
        (pool,) = relay.pools._running
        assert pool._open_at > pool._loop.time()
        assert relay.pools.waiting() == {"fake": 0}


async def test_no_session_reads_bytes_that_answer_no_request(
    warm_events: Events, pair: Pair | None
) -> None:
    """HAProxy sends 408 before it closes an idle connection."""

    async def times_out(upstream: Wire) -> None:
        if len(relay.upstream.accepted) == 1:
            upstream.writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await upstream.lost()
        else:
            await accepts(upstream)

    async with warmed(1, times_out, pair) as relay:
        await follow(warm_events, "opened", "lost")
        peer = await relay.dial()
        await peer.leave(1000, "")
        assert relay.ended == {"lost": 1}


async def test_an_old_connection_is_replaced(
    warm_events: Events, pair: Pair | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "MAX_AGE_SECONDS", 0.05)
    async with warmed(1, accepts, pair) as relay:
        await follow(warm_events, "opened", "expired", "opened", "expired")
        await (await relay.upstream.connection(0)).lost()


async def test_no_session_takes_a_connection_that_is_too_old(
    warm_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that closes old connections may be late."""
    monkeypatch.setattr(warm, "REFILL_SECONDS", 10)
    async with warmed(1, accepts) as relay:
        await follow(warm_events, "opened")
        (pool,) = relay.pools._running
        pool._expires_at = dict.fromkeys(pool._expires_at, 0.0)
        peer = await relay.dial()
        assert len(relay.upstream.accepted) == 2
        assert relay.ended == {"expired": 1}
        await peer.leave(1000, "")


async def test_no_session_takes_a_connection_that_is_closing(
    warm_events: Events, pair: Pair | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "REFILL_SECONDS", 10)
    async with warmed(1, accepts, pair) as relay:
        await follow(warm_events, "opened")
        (pool,) = relay.pools._running
        (connection,) = pool._expires_at
        assert connection.transport is not None
        connection.transport.close()
        peer = await relay.dial()
        await follow(warm_events, "lost")
        assert len(relay.upstream.accepted) == 2
        await peer.leave(1000, "")


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_session_whose_connection_is_closed_unanswered_opens_its_own(
    warm_events: Events, pair: Pair | None, how: str
) -> None:
    """The upstream may have closed it already; the older connections are not trusted either."""

    async def fails_if_old(upstream: Wire) -> None:
        if len(relay.upstream.accepted) > 2:
            await accepts(upstream)
            return
        await upstream.reader.readuntil(b"\r\n\r\n")
        if how == "resets":
            upstream.reset()

    async with warmed(2, fails_if_old, pair) as relay:
        await follow(warm_events, "opened", "opened")
        peer = await relay.dial()
        await follow(warm_events, "lost", "closed")
        assert len(relay.upstream.accepted) == 3
        assert relay.ended == {"lost": 1, "closed": 1}
        await peer.leave(1000, "")


async def test_a_session_opens_its_own_connection_only_once(
    warm_events: Events, pair: Pair | None
) -> None:
    async def reads_and_closes(upstream: Wire) -> None:
        await upstream.reader.readuntil(b"\r\n\r\n")

    async with warmed(1, reads_and_closes, pair) as relay:
        await follow(warm_events, "opened")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await relay.dial()
        assert len(relay.upstream.accepted) == 2


async def test_a_cancelled_session_leaves_nothing_open(
    warm_events: Events, pair: Pair | None
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never_answers(upstream: Wire) -> None:
        await upstream.reader.readuntil(b"\r\n\r\n")
        asked.set()
        await upstream.lost()
        gone.set()

    async with warmed(1, never_answers, pair) as relay:
        await follow(warm_events, "opened")
        async with asyncio.TaskGroup() as tasks:
            dial = tasks.create_task(relay.dial())
            await asked.wait()
            dial.cancel()
        await gone.wait()
        assert relay.ended == {}


async def test_while_the_upstream_is_unreachable_the_relay_tries_less_and_less_often(
    warm_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(warm, "MAX_RETRY_SECONDS", 0.04)
    upstream = CountingUpstream()
    with socket.create_server(("127.0.0.1", 0)) as unused:
        upstream.url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    async with connections() as http, asyncio.TaskGroup() as tasks:
        pools = WarmPools(http, tasks)
        pools.keep([Warm(http, pools, upstream, tls=True).target(3)])
        (pool,) = pools._running
        waits = []
        for _ in range(4):
            await follow(warm_events, "failed")
            await asyncio.sleep(0)
            waits.append(pool._retry_seconds)
        pools.stop()
    assert waits == [0.01, 0.02, 0.04, 0.04]
    assert pools.ended["fake", "failed"] == 4


async def test_opening_a_connection_takes_a_limited_time(warm_events: Events) -> None:
    """The upstream accepts the connection, and does not answer the TLS handshake."""

    async def stalls(upstream: Wire) -> None:
        await upstream.lost()

    async with warmed(0, stalls) as relay:
        url = URL(relay.upstream.url.replace("http:", "https:"))
        relay.pools.keep([replace(relay.target(1), url=url, seconds=0.05)])
        await follow(warm_events, "cancelled")


async def test_when_a_session_finds_the_upstream_moved_the_old_connections_are_closed(
    warm_events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    resolve = Resolver.resolve

    async def counts(self: Resolver, host: str, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        return await resolve(self, "127.0.0.1", *args, **options)

    monkeypatch.setattr(Resolver, "resolve", counts)
    monkeypatch.setattr(warm, "FIRST_RETRY_SECONDS", 0.01)
    async with warmed(1, accepts) as relay:
        relay.upstream.url = relay.upstream.url.replace("127.0.0.1", "upstream.example")
        relay.pools.keep([relay.target(1)])
        await follow(warm_events, "opened")
        forget_address(relay.http, URL("http://another.example/v1/realtime"))
        assert relay.pools.waiting() == {"fake": 1}
        forget_address(relay.http, relay.target(1).url)
        await follow(warm_events, "closed", "opened")
    assert looked_up == ["upstream.example"] * 2


async def test_another_configuration_closes_and_opens(
    warm_events: Events, pair: Pair | None
) -> None:
    async with warmed(1, accepts, pair) as relay:
        await follow(warm_events, "opened")
        relay.pools.keep([relay.target(2)])
        await follow(warm_events, "closed", "opened", "opened")
        await (await relay.upstream.connection(0)).lost()
        assert relay.pools.waiting() == {"fake": 2}
        relay.pools.keep([])
        await follow(warm_events, "closed", "closed")
        assert relay.pools.waiting() == {}


async def test_a_stopped_relay_opens_no_more(warm_events: Events, pair: Pair | None) -> None:
    async with warmed(1, accepts, pair) as relay:
        await follow(warm_events, "opened")
        relay.pools.stop()
        relay.pools.keep([relay.target(2)])
        await follow(warm_events, "closed")
        assert relay.pools.waiting() == {}
        peer = await relay.dial()
        assert relay.ended == {"closed": 1}
        await peer.leave(1000, "")
