"""An upstream that is ready is closed if its client gets no 101: an open upstream bills.

The relay may also stop in this moment, or answer a client that is already gone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets
from aiohttp import web
from fakes import FakeUpstream, Wire
from relays import RunningRelay, receive, relaying

from relay.endpoints import realtime
from relay.wire import handshake
from relay.wire.peer import Peer

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

CLOSE_SECONDS = 5
"""The upstream must be closed within this time, and not at the end of the relay."""


@asynccontextmanager
async def asking_client(relay: RunningRelay) -> AsyncIterator[Wire]:
    """Send a handshake, and do not wait for the answer."""
    client = await Wire.dial(relay.port)
    client.shake()
    yield client
    await client.hang_up()


async def close_code(upstream: FakeUpstream) -> int:
    """Return the code with which the relay closes the upstream."""
    await upstream.called.wait()
    async with asyncio.timeout(CLOSE_SECONDS):
        return await upstream.calls[0].closed


async def test_the_client_has_left_when_the_relay_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = handshake.accept

    async def accept_late(
        request: web.Request, *args: Any, **limits: Any
    ) -> tuple[web.StreamResponse, Peer]:
        assert request.transport is not None
        request.transport.abort()
        return await accept(request, *args, **limits)

    monkeypatch.setattr(handshake, "accept", accept_late)
    async with relaying(tmp_path) as (relay, upstream):
        async with asking_client(relay) as client:
            assert await close_code(upstream) == 1000
            await client.lost()
        await relay.sessions.emptied()
        assert not relay.lines("session.ended")


async def test_the_client_leaves_while_the_relay_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = asyncio.Event()

    async def never_accept(*_: Any, **__: Any) -> tuple[web.StreamResponse, Peer]:
        answering.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(handshake, "accept", never_accept)
    async with relaying(tmp_path) as (relay, upstream):
        async with asking_client(relay):
            await answering.wait()
            assert not upstream.calls[0].closed.done()
        assert await close_code(upstream) == 1000
        await relay.sessions.emptied()
        assert not relay.lines("session.ended")


async def test_the_session_cannot_start_because_of_a_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: Any) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(realtime, "terms_of", defect)
    async with relaying(tmp_path) as (relay, upstream):
        async with asking_client(relay) as client:
            assert await close_code(upstream) == 1000
            head = await client.reader.readuntil(b"\r\n\r\n")
        await relay.sessions.emptied()
        assert head.startswith(b"HTTP/1.1 500 ")
        assert [line["code"] for line in relay.lines("session.refused")] == ["internal_error"]


async def lose(request: web.Request) -> None:
    """Lose the client, as aiohttp does after FIN or RST."""
    assert request.transport is not None
    request.transport.abort()
    request.protocol.connection_lost(None)


async def test_the_client_is_already_lost_when_the_relay_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = handshake.accept

    async def accept_after_loss(request: web.Request, *args: Any, **limits: Any) -> Any:
        await lose(request)
        return await accept(request, *args, **limits)

    monkeypatch.setattr(handshake, "accept", accept_after_loss)
    async with relaying(tmp_path) as (relay, upstream):
        async with asking_client(relay):
            assert await close_code(upstream) == 1000
        await relay.sessions.emptied()
        assert not relay.lines("session.ended")


async def test_the_relay_stops_before_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = handshake.accept
    async with relaying(tmp_path) as (relay, upstream):

        async def stop_and_accept(request: web.Request, *args: Any, **limits: Any) -> Any:
            relay.sessions.stop()
            return await accept(request, *args, **limits)

        monkeypatch.setattr(handshake, "accept", stop_and_accept)
        async with asyncio.timeout(CLOSE_SECONDS), relay.connect() as client:
            events = []
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    events.append(await receive(client))
        line = await relay.ended()
        assert await upstream.calls[0].closed == 1012

    assert (events[-1]["error"]["code"], client.close_code) == ("relay_draining", 1012)
    assert line["outcome"] == "relay_draining"


async def test_the_client_is_already_lost_when_the_relay_refuses_it_in_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = handshake.accept

    async def accept_after_loss(request: web.Request, *args: Any, **limits: Any) -> Any:
        await lose(request)
        return await accept(request, *args, **limits)

    monkeypatch.setattr("relay.endpoints.refusals.accept", accept_after_loss)
    async with relaying(tmp_path) as (relay, upstream):
        client = await Wire.dial(relay.port)
        client.shake("/v1/realtime?persona=nobody", Sec_WebSocket_Protocol="realtime")
        await client.lost()
        await client.hang_up()
        metrics = await relay.metrics()

    assert metrics['relay_refusals_total{code="persona_not_found"}'] == 1
    assert not relay.lines("session.failed")
    assert not upstream.calls
