"""What a session took is free at its end without the garbage collector, whatever its end was."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from certificates import issue
from fakes import Wire, rude_upstream
from freed import uncollected
from relays import (
    PERSONA,
    RunningRelay,
    receive,
    running_relay,
    send,
    write_config,
    write_fallbacks,
)

from relay.wire.peer import Peer

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

TOOL = """
        - {type: function, name: hangs, parameters: {type: object},
           run: {python: "clinic_tools:hangs", announce: true}}
"""
CALL = {"type": "function_call", "id": "i", "call_id": "c", "name": "hangs", "arguments": "{}"}


async def nothing_stays() -> None:
    """Wait until there is nothing of sessions, nor of the connections they were made on."""
    kinds = (Peer, web.BaseRequest, aiohttp.ClientResponse)
    gone = []
    for kept in gc.get_objects():
        if isinstance(kept, kinds):
            gone.append(asyncio.Event())
            weakref.finalize(kept, gone[-1].set).atexit = False
    del kept
    async with asyncio.timeout(3):
        for event in gone:
            await event.wait()


@asynccontextmanager
async def relaying(
    folder: Path, script: Callable[[Wire], Awaitable[None]], persona: str = PERSONA
) -> AsyncIterator[RunningRelay]:
    """Run a relay on an upstream with TLS that does as it is told."""
    pair = issue(folder)
    async with rude_upstream(script, tls=pair.serving) as url:
        path = write_config(
            folder, url, personas={"receptionist": persona}, more=f"ca_file: {pair.cert}"
        )
        async with running_relay(path) as relay:
            yield relay


async def listens(upstream: Wire) -> None:
    """Open a session, and wait for its end."""
    await upstream.open()
    await upstream.closing()
    upstream.close_frame(1000)


async def test_on_the_second_upstream(tmp_path: Path) -> None:
    async def refuses(upstream: Wire) -> None:
        upstream.writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await upstream.lost()

    pair = issue(tmp_path)
    async with (
        rude_upstream(refuses, tls=pair.serving) as one,
        rude_upstream(listens, tls=pair.serving) as other,
    ):
        first, second = ({"url": url, "ca_file": str(pair.cert)} for url in (one, other))
        path = write_fallbacks(tmp_path, first=first, second=second)
        async with running_relay(path) as relay:
            with uncollected():
                async with relay.connect() as client:
                    await receive(client)
                await relay.ended()
                await nothing_stays()


async def test_while_a_tool_runs(tmp_path: Path) -> None:
    async def calls(upstream: Wire) -> None:
        await upstream.open()
        await upstream.receive()
        for event in (
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_item.done", "response_id": "r", "item": CALL},
        ):
            upstream.send(json.dumps(event).encode())
        await upstream.closing()
        upstream.close_frame(1000)

    async with relaying(tmp_path, calls, PERSONA + TOOL) as relay:
        with uncollected():
            async with relay.connect(subprotocols=["realtime", "relay.events"]) as client:
                await receive(client)
                await send(client, type="input_audio_buffer.clear")
                while (await receive(client))["type"] != "relay.tool_started":
                    pass
            await relay.ended()
            await nothing_stays()


async def test_refused_in_band(tmp_path: Path) -> None:
    async with relaying(tmp_path, listens) as relay:
        with uncollected():
            async with relay.connect("?persona=nobody", subprotocols=["realtime"]) as client:
                assert (await receive(client))["type"] == "error"
                await client.wait_closed()
            await nothing_stays()


async def test_stopped_while_the_upstream_opens(tmp_path: Path) -> None:
    opening = asyncio.Event()

    async def says_nothing(upstream: Wire) -> None:
        await upstream.accept()
        opening.set()
        await upstream.lost()

    async with relaying(tmp_path, says_nothing) as relay:
        with uncollected():
            client = await Wire.dial(relay.port)
            client.shake()
            await opening.wait()
            relay.sessions.stop()
            await client.reader.readuntil(b"\r\n\r\n")
            await client.hang_up()
            await nothing_stays()


async def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    pair, other = issue(tmp_path), issue(tmp_path, "other.example")
    async with rude_upstream(listens, tls=pair.serving) as url:
        path = write_config(tmp_path, url, more=f"ca_file: {other.cert}")
        async with running_relay(path) as relay:
            with uncollected():
                client = await Wire.dial(relay.port)
                client.shake()
                await client.reader.readuntil(b"\r\n\r\n")
                await client.hang_up()
                await nothing_stays()
