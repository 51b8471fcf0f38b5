"""Faults in the middle of a session with TLS towards the client.

The tests that also run without TLS are in ``test_faults.py``.
"""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from certificates import issue
from fakes import Call, FakeUpstream, Script, Wire, frame, listens
from freed import all_set, freed, uncollected
from relays import RunningRelay, receive, relaying, send
from rude_relays import relaying_to_a_full_upstream
from scripts import (
    APPEND,
    AT_ANY_RATE,
    SMALL_BUFFER_BYTES,
    blocked,
    events_and_close_code,
    receives,
    streaming,
)

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

DELTA = json.dumps({"type": "response.output_audio.delta", "event_id": "e", "delta": "A" * 64_000})


@asynccontextmanager
async def secured(
    folder: Path, script: Script = listens, settings: str = ""
) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    """Run a relay with a certificate on a fake upstream."""
    server = f"server: {{{issue(folder).settings}}}\n"
    async with relaying(folder, script, server + settings) as running:
        yield running


async def connected(relay: RunningRelay, **options: Any) -> Wire:
    """Return a raw client with a session."""
    return await Wire.connect(relay.port, tls=relay.tls, **options)


@pytest.mark.parametrize(("code", "passed_on"), [(1012, 1012), (4000, 1011), (None, 1011)])
async def test_the_loss_of_an_upstream_is_reported_to_the_client(
    tmp_path: Path, code: int | None, passed_on: int
) -> None:
    async def fails(call: Call) -> None:
        await call.open()
        await call.receive()
        call.reset() if code is None else await call.socket.close(code=code)

    async with secured(tmp_path, fails) as (relay, _):
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            assert (await receive(client))["error"]["code"] == "upstream_lost"
            await client.wait_closed()
        assert (client.close_code, client.close_reason) == (
            passed_on,
            "The upstream ended the session.",
        )
        await relay.ended()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"\xff\xfe", masked=True), 1007),
        (frame(b"x", 5, masked=True), 1002),
        (struct.pack("!BBQ", 129, 255, 2**63 - 1), 1009),
    ],
)
async def test_a_client_that_breaks_the_protocol_and_sends_on_gets_a_close_code(
    tmp_path: Path, sent: bytes, code: int
) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        client.writer.write(sent + frame(APPEND, masked=True) * 300)
        async with asyncio.timeout(2):
            await client.writer.drain()
            assert (await client.closing())[0] == code
            await client.hang_up()
            assert await upstream.calls[0].closed == 1000
            await relay.ended()


async def test_a_client_that_streams_receives_the_reason_of_the_end(tmp_path: Path) -> None:
    received = asyncio.Event()
    async with secured(tmp_path, receives(50, received), AT_ANY_RATE) as (relay, upstream):
        client = await connected(relay)
        async with asyncio.timeout(5), streaming(client):
            await received.wait()
            relay.sessions.stop()
            events = await events_and_close_code(client)
        assert events[-2]["error"]["code"] == "relay_draining"
        assert events[-1]["close"] == 1012
        assert await upstream.calls[0].closed == 1012
        await relay.ended()


async def test_a_client_that_streams_into_a_full_upstream_receives_the_reason_of_the_end(
    tmp_path: Path,
) -> None:
    """Its audio waits for room in the upstream, so the relay does not read from the client."""
    settings = f"server: {{{issue(tmp_path).settings}}}\n{AT_ANY_RATE}"
    async with relaying_to_a_full_upstream(tmp_path, settings) as relay:
        client = await connected(relay)
        async with streaming(client) as sending:
            assert await blocked(client, sending)
            relay.sessions.stop()
            async with asyncio.timeout(1.5):
                events = await events_and_close_code(client)
                await client.hang_up()
                await relay.ended()
    assert events[-2]["error"]["code"] == "relay_draining"
    assert events[-1]["close"] == 1012


async def test_a_client_that_stops_reading_is_closed_and_delays_no_other_session(
    tmp_path: Path,
) -> None:
    async def answers_one_and_floods_the_next(call: Call) -> None:
        first = len(upstream.calls) == 1
        await call.open()
        while not first:
            await call.send(DELTA)
        while True:
            await call.receive()
            await call.send({"type": "input_audio_buffer.cleared", "event_id": "e"})

    settings = "limits: {slow_client_seconds: 0.4}"
    async with secured(tmp_path, answers_one_and_floods_the_next, settings) as (relay, upstream):
        async with asyncio.timeout(10), relay.connect() as other:
            await receive(other)
            slow = await connected(relay, receive_buffer_bytes=SMALL_BUFFER_BYTES)
            while not relay.lines("session.ended"):
                await send(other, type="input_audio_buffer.clear")
                assert (await receive(other))["type"] == "input_audio_buffer.cleared"
            line = relay.lines("session.ended")[0]
            await slow.hang_up()
        await relay.ended()

    assert (line["ended_by"], line["outcome"], line["close_code"]) == ("relay", "slow_client", 1013)


async def test_a_client_that_reads_slowly_is_not_slow(tmp_path: Path) -> None:
    """The relay cannot see how much of the encrypted data the client has read."""
    loop = asyncio.get_running_loop()

    async def floods(call: Call) -> None:
        await call.open()
        while True:
            await call.send(DELTA)

    async with secured(tmp_path, floods, "limits: {slow_client_seconds: 0.4}") as (relay, _):
        client = await connected(relay, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        # A record has up to 16 KiB: with a lower limit TLS would wait for ever.
        cast(Any, client.writer.transport).set_read_buffer_limits(65_536, 32_768)
        for _ in range(100):  # 2 seconds: five times slow_client_seconds
            tick = asyncio.Event()
            loop.call_later(0.02, tick.set)
            await tick.wait()
            await client.reader.readexactly(5_000)
        assert not relay.lines("session.ended")
        await client.hang_up()
        await relay.ended()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_the_peers_of_a_session_are_freed_without_the_garbage_collector(
    tmp_path: Path, side: str
) -> None:
    """Their TLS takes memory outside of Python, which would accumulate until a collection."""
    async with secured(tmp_path) as (relay, upstream), relay.connect() as client:
        await receive(client)
        with uncollected():
            events = freed(relay)
            await (client if side == "client" else upstream.calls[0].socket).close()
            await client.wait_closed()
            await relay.ended()
            await all_set(events)
