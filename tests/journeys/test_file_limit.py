"""The limit of open files, and idle connections that would use all of them."""

import asyncio
import resource
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession
from certificates import issue
from fakes import FakeUpstream, Wire
from processes import Process, serving
from relays import receive, relaying, write_config

from relay.wire import connections

LIMITS = "limits: {max_sessions: %d}"
IDLE = 500


async def test_the_relay_raises_its_limit_of_open_files_to_the_hard_limit(tmp_path: Path) -> None:
    """It warns, at the start and after a reload, if its sessions need more: 2 each, 256 others."""
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % 100)
    limited = 'ulimit -Sn 200 && ulimit -Hn 500 && exec "$@"'
    async with serving(path, "sh", "-c", limited, "sh") as relay:
        assert resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE) == (500, 500)
        write_config(tmp_path, "http://127.0.0.1:1/v1", LIMITS % 200)
        relay.signal(signal.SIGHUP)
        warned = await relay.until("files.limited")
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0

    assert (warned["limit"], warned["needed"]) == (500, 656)
    assert [line["event"] for line in relay.lines].count("files.limited") == 1


async def test_a_warm_connection_needs_a_file_too(tmp_path: Path) -> None:
    url, more = "http://127.0.0.1:1/v1", "warm_connections: 50"
    path = write_config(tmp_path, url, LIMITS % 100, more=more)
    async with serving(path, "sh", "-c", 'ulimit -n 500 && exec "$@"', "sh") as relay:
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0
        (warned,) = [line for line in relay.lines if line["event"] == "files.limited"]
    assert (warned["limit"], warned["needed"]) == (500, 506)


async def connect_idle(relay: Process, opened: AsyncExitStack) -> None:
    """Open ``IDLE`` connections that send nothing."""
    for _ in range(IDLE):
        wire = await Wire.dial(relay.port)
        opened.push_async_callback(wire.hang_up)


@pytest.mark.parametrize("secured", [False, True])
async def test_idle_connections_keep_no_client_out(tmp_path: Path, secured: bool) -> None:  # noqa: FBT001  # parametrized
    """500 connections without a request, or without TLS, and a relay that may open 100 files."""
    pair = issue(tmp_path) if secured else None
    server = f"\nserver: {{{pair.settings}}}" if pair else ""
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url, LIMITS % 10 + server)
        limited = 'ulimit -n 100 && exec "$@"'
        async with serving(path, "sh", "-c", limited, "sh") as relay, AsyncExitStack() as opened:
            await connect_idle(relay, opened)
            async with asyncio.timeout(5), relay.connect(ssl=pair and pair.trusting) as client:
                assert (await receive(client))["type"] == "session.created"
            relay.signal(signal.SIGTERM)
            assert await relay.ends() == 0

    expected = ["relay.started", "files.limited", "price.missing"]
    assert {line["event"] for line in relay.lines} - set(expected) == {
        "drain.started",
        "session.ended",
        "relay.stopped",
    }


async def test_the_oldest_connection_without_a_request_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection between two requests waits too; a session does not, and is not dropped."""
    monkeypatch.setattr(connections, "MAX_WAITING", 2)
    async with relaying(tmp_path) as (relay, _):
        async with relay.connect() as client, ClientSession() as http:
            await receive(client)
            async with http.get(f"{relay.root}/healthz") as answer:
                await answer.read()
            first, second, third = [await Wire.dial(relay.port) for _ in range(3)]
            await first.lost()
            for wire in (second, third):
                wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert await wire.reader.read(12) == b"HTTP/1.1 200"
            async with http.get(f"{relay.root}/healthz") as answer:
                assert answer.status == 200
            await client.send('{"type":"input_audio_buffer.append","audio":"AAAA"}')
            for wire in (first, second, third):
                await wire.hang_up()
        assert (await relay.ended())["ended_by"] == "client"
