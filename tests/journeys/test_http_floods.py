"""Clients that hold the relay with HTTP: long requests, bodies that never end, unread answers."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession
from fakes import Wire, rude_upstream
from relays import relaying, running_relay, write_config
from scripts import SMALL_BUFFER_BYTES, blocked

from relay.endpoints import credentials
from relay.wire import connections
from relay.wire.connections import HttpTurns

POST = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: 127.0.0.1\r\n"
KEYS = "secrets: {signing_keys: [%s]}" % ("k" * 43)
MANY_BYTES = 16 * 1024 * 1024


async def _write(wire: Wire, data: bytes) -> None:
    wire.writer.write(data)
    with suppress(ConnectionError):
        await wire.writer.drain()


async def test_the_rest_of_a_long_request_stays_unread(tmp_path: Path) -> None:
    """A stranger sends a body in chunks of one byte."""
    body = b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (MANY_BYTES // 6)
    async with relaying(tmp_path) as (relay, _):
        wire = await Wire.dial(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(_write(wire, POST + body))
            assert await blocked(wire, writing) > MANY_BYTES / 4
            writing.cancel()
        wire.writer.transport.abort()


async def test_one_client_is_read_in_each_turn() -> None:
    turns, read = HttpTurns(), list[str]()

    turns.add(lambda: read.append("first"))
    turns.add(lambda: read.append("second"))
    await asyncio.sleep(0)
    assert read == ["first"]
    await asyncio.sleep(0)
    assert read == ["first", "second"]


async def test_a_body_that_does_not_arrive_in_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "BODY_SECONDS", 0.05)
    async with relaying(tmp_path, settings=KEYS) as (relay, _):
        wire = await Wire.dial(relay.port)
        wire.writer.write(POST + b"Content-Length: 5\r\n\r\n")
        assert await wire.reader.readline() == b"HTTP/1.1 400 Bad Request\r\n"
        await wire.hang_up()


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * (MANY_BYTES // 36),
    ],
)
async def test_a_connection_with_half_a_body_or_an_unread_answer_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "MAX_WAITING", 1)
    settings = f"{KEYS}\nserver: {{playground: true}}"
    async with relaying(tmp_path, settings=settings) as (relay, _):
        first = await Wire.dial(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(_write(first, sent))
            await blocked(first, writing)
            second = await Wire.dial(relay.port)
            second.writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await second.reader.readline() == b"HTTP/1.1 200 OK\r\n"
            async with asyncio.timeout(5):
                await first.lost()
            writing.cancel()
        await second.hang_up()
        first.writer.transport.abort()


async def test_an_upstream_with_interim_answers_without_end_is_unavailable(tmp_path: Path) -> None:
    cut = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await _write(wire, b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)
        await wire.lost()
        cut.set()

    async with rude_upstream(script) as url:
        path = write_config(tmp_path, url)
        async with running_relay(path) as relay, ClientSession() as http:
            handshake = {"Upgrade": "websocket", "Connection": "Upgrade"}
            key = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
            async with http.get(f"{relay.root}/v1/realtime", headers=handshake | key) as answer:
                assert answer.status == 502
            await cut.wait()
