"""Upstreams with TLS: as without it, on asyncio's TLS and on that which the relay dials with."""

import asyncio
import base64
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from certificates import issue
from fakes import Wire, frame, rude_upstream
from freed import freed, uncollected
from relays import RunningRelay, receive, running_relay, send, write_config

from relay.upstreams import dialler as relay_upstream
from relay.wire.loop import Loop
from relay.wire.peer import Patience

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

AT_ANY_RATE = "limits: {audio_rate: 1e6, audio_burst_seconds: 1e6, events_per_second: 1e6}"
APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 1600}).encode()
SMALL_BUFFER = 4096


@asynccontextmanager
async def relaying(
    folder: Path,
    script: Callable[[Wire], Awaitable[None]],
    settings: str = "",
    receive_buffer_bytes: int | None = None,
) -> AsyncIterator[RunningRelay]:
    """Run a relay on an upstream that speaks TLS, and writes what the script says."""
    pair = issue(folder)
    async with rude_upstream(
        script, receive_buffer_bytes=receive_buffer_bytes, tls=pair.serving
    ) as url:
        path = write_config(folder, url, settings, more=f"ca_file: {pair.cert}")
        async with running_relay(path) as relay:
            yield relay


async def test_it_is_the_tls_of_the_loop(tmp_path: Path) -> None:
    async def listens(upstream: Wire) -> None:
        await upstream.open()
        await upstream.closing()

    async with relaying(tmp_path, listens) as relay, relay.connect() as client:
        await receive(client)
        (record,) = relay.sessions.running.values()
        (_, upstream) = record.bridge.peers.values()
        dialled_with = type(upstream._transport).__module__.partition(".")[0]
        is_ours = isinstance(asyncio.get_running_loop(), Loop)
        assert dialled_with == ("aiofastnet" if is_ours else "asyncio")


async def test_a_handshake_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's file system may be read-only, and a disk full."""

    async def listens(upstream: Wire) -> None:
        await upstream.open()
        await upstream.closing()

    async with relaying(tmp_path, listens) as relay:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        async with relay.connect() as client:
            assert (await receive(client))["type"] == "session.created"


async def test_what_is_carried_arrives_byte_for_byte_and_in_order(tmp_path: Path) -> None:
    sizes = [1, 1_000, 16_383, 16_384, 16_385, 17_408, 100_000, 3_000_000, 5]
    said = [base64.b64encode(bytes([number]) * size).decode() for number, size in enumerate(sizes)]

    async def echoes(upstream: Wire) -> None:
        await upstream.open()
        for _ in sizes:
            _, payload = await upstream.receive()
            audio = json.loads(payload)["audio"]
            delta = {"type": "response.output_audio.delta", "event_id": "e", "delta": audio}
            upstream.send(json.dumps(delta).encode())
            await upstream.writer.drain()
        await upstream.closing()

    async with relaying(tmp_path, echoes, AT_ANY_RATE) as relay:
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)

            async def says() -> None:
                for audio in said:
                    await send(client, type="input_audio_buffer.append", audio=audio)

            tasks.create_task(says())
            assert [(await receive(client))["delta"] for _ in sizes] == said


async def closes(upstream: Wire) -> None:
    """Send a Close."""
    upstream.close_frame(1012)
    await upstream.closing()


async def resets(upstream: Wire) -> None:
    """Reset the connection."""
    upstream.reset()


async def ends_tls(upstream: Wire) -> None:
    """Send a close_notify, and FIN."""
    upstream.writer.close()


async def vanishes(upstream: Wire) -> None:
    """Send FIN, without a word of TLS."""
    upstream.writer.transport.abort()


@pytest.mark.parametrize(
    ("fault", "code"), [(closes, 1012), (resets, 1011), (ends_tls, 1011), (vanishes, 1011)]
)
async def test_an_upstream_that_goes_is_told_to_the_client(
    tmp_path: Path, fault: Callable[[Wire], Awaitable[None]], code: int
) -> None:
    async def goes(upstream: Wire) -> None:
        await upstream.open()
        await upstream.receive()
        await fault(upstream)

    async with relaying(tmp_path, goes) as relay:
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            await send(client, type="input_audio_buffer.clear")
            assert (await receive(client))["error"]["code"] == "upstream_lost"
            await client.wait_closed()
        line = await relay.ended()
    assert client.close_code == code
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")


async def test_who_streams_into_an_upstream_that_does_not_read_still_sees_why_it_ends(
    tmp_path: Path,
) -> None:
    over = asyncio.Event()

    async def stops_reading(upstream: Wire) -> None:
        await upstream.open()
        await over.wait()

    async with relaying(tmp_path, stops_reading, AT_ANY_RATE, SMALL_BUFFER) as relay:
        client = await Wire.connect(relay.port)
        client.writer.write(frame(APPEND, masked=True) * 6000)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(client.writer.drain())
            left = -1
            while left != (left := client.writer.transport.get_write_buffer_size()):
                await asyncio.wait({writing}, timeout=0.2)  # there is still room on the way
            assert left
            relay.sessions.stop()
            async with asyncio.timeout(1.5):
                await writing
                code, _ = await client.closing()
                await client.hang_up()
                await relay.ended()
        over.set()
    assert code == 1012


async def test_an_upstream_that_reads_nothing_for_too_long_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = Patience(slow_seconds=0.3, close_seconds=0.2)
    monkeypatch.setattr(relay_upstream, "PATIENCE", impatient)
    over = asyncio.Event()

    async def stops_reading(upstream: Wire) -> None:
        await upstream.open()
        await over.wait()

    async with relaying(tmp_path, stops_reading, AT_ANY_RATE, SMALL_BUFFER) as relay:
        client = await Wire.connect(relay.port)
        client.writer.write(frame(APPEND, masked=True) * 6000)
        async with asyncio.timeout(5):
            code, _ = await client.closing()
            await client.hang_up()
            line = await relay.ended()
        over.set()
    assert code == 1011
    assert (line["ended_by"], line["outcome"]) == ("upstream", "upstream_lost")


async def test_an_upstream_that_answers_no_ping_is_lost_and_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = Patience(ping_seconds=0.05, silence_seconds=0.1, close_seconds=0.2)
    monkeypatch.setattr(relay_upstream, "PATIENCE", deaf)

    async def is_deaf(upstream: Wire) -> None:
        await upstream.open()
        await upstream.lost()

    async with relaying(tmp_path, is_deaf) as relay:
        async with asyncio.timeout(2), relay.connect() as client:
            await receive(client)
            assert (await receive(client))["error"]["code"] == "upstream_lost"
            await client.wait_closed()
        await relay.ended()
    assert client.close_code == 1011


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_who_was_in_a_session_is_freed_without_the_garbage_collector(
    tmp_path: Path, side: str
) -> None:
    """Also when the upstream is gone in the moment in which it closes."""
    over = asyncio.Event()

    async def ends(upstream: Wire) -> None:
        await upstream.open()
        if side == "upstream":
            await over.wait()
            upstream.close_frame(1000)
            upstream.writer.close()
        else:
            await upstream.closing()

    async with relaying(tmp_path, ends) as relay, relay.connect() as client:
        await receive(client)
        with uncollected():
            events = freed(relay)
            over.set()
            if side == "client":
                await client.close()
            await client.wait_closed()
            await relay.ended()
            async with asyncio.timeout(3):
                for event in events:
                    await event.wait()
