"""After each kind of end, a session is freed without the garbage collector."""

import asyncio
import gc
import json
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from certificates import issue
from fakes import Wire, rude_upstream
from freed import all_set, uncollected, when_freed
from relays import PERSONA, receive, running_relay, send, write_config, write_fallbacks
from rude_relays import relaying_rudely
from scripts import opens_and_closes

from relay.wire.peer import Peer

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

TOOL = """
        - {type: function, name: hangs, parameters: {type: object},
           run: {python: "clinic_tools:hangs", announce: true}}
"""
CALL = {"type": "function_call", "id": "i", "call_id": "c", "name": "hangs", "arguments": "{}"}


relaying = partial(relaying_rudely, tls=True)


async def nothing_stays() -> None:
    """Wait until no object of a session or of its connections is left."""
    kinds = (Peer, web.BaseRequest, aiohttp.ClientResponse)
    # A loop in a comprehension keeps no object in a local variable.
    await all_set([when_freed(kept) for kept in gc.get_objects() if isinstance(kept, kinds)])


async def test_a_session_on_the_second_upstream(tmp_path: Path) -> None:
    async def refuses(upstream: Wire) -> None:
        upstream.writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        await upstream.lost()

    pair = issue(tmp_path)
    async with (
        rude_upstream(refuses, tls=pair.serving) as one,
        rude_upstream(opens_and_closes, tls=pair.serving) as other,
    ):
        first, second = ({"url": url, "ca_file": str(pair.cert)} for url in (one, other))
        path = write_fallbacks(tmp_path, first=first, second=second)
        async with running_relay(path) as relay:
            with uncollected():
                async with relay.connect() as client:
                    await receive(client)
                await relay.ended()
                await nothing_stays()


async def test_a_session_that_ends_while_a_tool_runs(tmp_path: Path) -> None:
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

    async with relaying(tmp_path, calls, persona=PERSONA + TOOL) as relay:
        with uncollected():
            async with relay.connect(subprotocols=["realtime", "relay.events"]) as client:
                await receive(client)
                await send(client, type="input_audio_buffer.clear")
                while (await receive(client))["type"] != "relay.tool_started":
                    pass
            await relay.ended()
            await nothing_stays()


async def test_a_start_that_is_refused_in_band(tmp_path: Path) -> None:
    async with relaying(tmp_path, opens_and_closes) as relay:
        with uncollected():
            async with relay.connect("?persona=nobody", subprotocols=["realtime"]) as client:
                assert (await receive(client))["type"] == "error"
                await client.wait_closed()
            await nothing_stays()


async def test_a_start_that_is_stopped_while_the_upstream_opens(tmp_path: Path) -> None:
    opening = asyncio.Event()

    async def opens_no_session(upstream: Wire) -> None:
        await upstream.accept()
        opening.set()
        await upstream.lost()

    async with relaying(tmp_path, opens_no_session) as relay:
        with uncollected():
            client = await Wire.dial(relay.port)
            client.shake()
            await opening.wait()
            relay.sessions.stop()
            await client.reader.readuntil(b"\r\n\r\n")
            await client.hang_up()
            await nothing_stays()


async def test_a_start_that_fails_because_the_certificate_is_not_trusted(tmp_path: Path) -> None:
    pair, other = issue(tmp_path), issue(tmp_path, "other.example")
    async with rude_upstream(opens_and_closes, tls=pair.serving) as url:
        path = write_config(tmp_path, url, more=f"ca_file: {other.cert}")
        async with running_relay(path) as relay:
            with uncollected():
                client = await Wire.dial(relay.port)
                client.shake()
                await client.reader.readuntil(b"\r\n\r\n")
                await client.hang_up()
                await nothing_stays()
