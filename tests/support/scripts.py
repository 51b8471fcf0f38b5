"""Scripts of upstreams and actions of raw clients that several tests share."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fakes import CLOSE, TEXT, Call, Script, Wire, frame

WireScript = Callable[[Wire], Awaitable[None]]
"""Actions of an upstream that writes raw frames."""

APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 1600}).encode()
AT_ANY_RATE = "limits: {audio_rate: 1e6, audio_burst_seconds: 1e6, events_per_second: 1e6}\n"
SMALL_BUFFER_BYTES = 4096


def receives(count: int, received: asyncio.Event) -> Script:
    """Open the session, set the event after ``count`` client events, and receive the rest."""

    async def script(call: Call) -> None:
        await call.open()
        for _ in range(count):
            await call.receive()
        received.set()
        await call.listen()

    return script


def never_confirms(updated: asyncio.Event | asyncio.Semaphore) -> Script:
    """Receive the session.update, report it, and do not answer it."""

    async def script(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": {}})
        await call.receive()
        if isinstance(updated, asyncio.Event):
            updated.set()
        else:
            updated.release()
        await call.listen()

    return script


async def opens_and_closes(upstream: Wire) -> None:
    """Open a session, wait for the Close, and answer it."""
    await upstream.open()
    await upstream.closing()
    upstream.close_frame(1000)


async def answers_no_ping(upstream: Wire) -> None:
    """Open a session, and read without an answer until the connection is lost."""
    await upstream.open()
    await upstream.lost()


async def resets(end: Wire) -> None:
    """Send RST."""
    end.reset()


async def hangs_up(end: Wire) -> None:
    """Send FIN, after a close_notify if the connection has TLS."""
    await end.hang_up()


async def half_closes(end: Wire) -> None:
    """Send FIN, and read on."""
    end.writer.write_eof()


async def aborts(end: Wire) -> None:
    """Send FIN without a close_notify of TLS."""
    end.writer.transport.abort()


async def _stream(client: Wire) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while not client.writer.transport.is_closing():
            client.writer.write(frame(APPEND, masked=True))
            await client.writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def streaming(client: Wire) -> AsyncIterator[asyncio.Task[None]]:
    """Send audio as fast as possible until the end of the block, in a task; then hang up."""
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(_stream(client))
        yield sending
        sending.cancel()
    await client.hang_up()


async def events_and_close_code(client: Wire) -> list[dict[str, Any]]:
    """Return all events until the Close, and ``{"close": code}`` after them."""
    events: list[dict[str, Any]] = []
    while True:
        opcode, payload = await client.receive()
        if opcode == CLOSE:
            return [*events, {"close": int.from_bytes(payload[:2])}]
        if opcode == TEXT:
            events.append(json.loads(payload))


async def blocked(client: Wire, writing: asyncio.Task[None]) -> int:
    """Wait until the relay reads nothing more of it; return the number of bytes left to write."""
    before, left = -1, 0
    while not writing.done() and (not left or left != before):
        await asyncio.wait({writing}, timeout=0.2)
        before, left = left, client.writer.transport.get_write_buffer_size()
    return left
