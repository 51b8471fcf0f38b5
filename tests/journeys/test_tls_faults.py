"""Whatever goes wrong over TLS: as over TCP, both sides get a code and a reason within a second."""

import asyncio
import json
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import websockets
from certificates import issue
from fakes import CLOSE, TEXT, Call, FakeUpstream, Script, Wire, frame, listens, rude_upstream
from freed import freed, uncollected
from relays import RunningRelay, receive, relaying, running_relay, send, write_config

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

APPEND = frame(
    json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA" * 1600}).encode(), masked=True
)
DELTA = json.dumps({"type": "response.output_audio.delta", "event_id": "e", "delta": "A" * 64_000})
AT_ANY_RATE = "audio_rate: 1e6, audio_burst_seconds: 1e6, events_per_second: 1e6"
SMALL_BUFFER = 4096


@asynccontextmanager
async def secured(
    folder: Path, script: Script = listens, limits: str = ""
) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    """Run a relay with a certificate on a fake upstream."""
    settings = f"server: {{{issue(folder).settings}}}\nlimits: {{{limits}}}\n"
    async with relaying(folder, script, settings) as running:
        yield running


async def connected(relay: RunningRelay, **options: Any) -> Wire:
    """Return a raw client of it that has a session."""
    return await Wire.connect(relay.port, tls=relay.tls, **options)


@pytest.mark.parametrize(
    ("code", "answer", "outcome"),
    [(1000, 1000, "completed"), (3001, 3001, "completed"), (None, 1000, "completed"),
     (5000, 1002, "invalid_event")],
)  # fmt: skip
async def test_a_client_that_closes_is_answered_and_the_upstream_is_closed(
    tmp_path: Path, code: int | None, answer: int, outcome: str
) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        client.close_frame(code, b"" if code is None else b"bye")
        async with asyncio.timeout(1):
            assert (await client.closing())[0] == answer
            await client.lost()
            await client.hang_up()
            assert await upstream.calls[0].closed == 1000
            line = await relay.ended()

    assert (line["ended_by"], line["outcome"]) == ("client", outcome)


@pytest.mark.parametrize(("code", "passed_on"), [(1012, 1012), (4000, 1011), (None, 1011)])
async def test_an_upstream_that_goes_is_told_to_the_client(
    tmp_path: Path, code: int | None, passed_on: int
) -> None:
    async def goes(call: Call) -> None:
        await call.open()
        await call.receive()
        call.reset() if code is None else await call.socket.close(code=code)

    async with secured(tmp_path, goes) as (relay, _):
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


@pytest.mark.parametrize("leave", ["reset", "close_notify", "nothing but FIN"])
async def test_a_client_that_vanishes_takes_the_upstream_along(tmp_path: Path, leave: str) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        if leave == "reset":
            client.reset()
        elif leave == "close_notify":
            await client.hang_up()
        else:
            client.writer.transport.abort()  # without a word of TLS
        async with asyncio.timeout(1):
            assert await upstream.calls[0].closed == 1000
            line = await relay.ended()
        await client.hang_up()

    assert (line["ended_by"], line["outcome"]) == ("client", "client_lost")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"\xff\xfe", masked=True), 1007),
        (frame(b"x", 5, masked=True), 1002),
        (struct.pack("!BBQ", 129, 255, 2**63 - 1), 1009),
    ],
)
async def test_who_breaks_the_protocol_is_told_so_even_while_it_goes_on_sending(
    tmp_path: Path, sent: bytes, code: int
) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        client.writer.write(sent + APPEND * 300)
        async with asyncio.timeout(2):
            await client.writer.drain()
            assert (await client.closing())[0] == code
            await client.hang_up()
            assert await upstream.calls[0].closed == 1000
            await relay.ended()


async def test_a_message_that_is_too_big_is_1009_for_a_library(tmp_path: Path) -> None:
    async with secured(tmp_path) as (relay, upstream):
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)
            sending = tasks.create_task(client.send("x" * (16 * 2**20 + 1)))
            with pytest.raises(websockets.ConnectionClosed):
                await client.recv()
            await asyncio.wait({sending})
        assert client.close_code == 1009
        assert await upstream.calls[0].closed == 1000
        assert (await relay.ended())["outcome"] == "message_too_big"


async def test_a_message_that_is_too_big_is_1009_for_who_reads_only_after_writing_it_all(
    tmp_path: Path,
) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        client.send(b"x" * (16 * 2**20 + 1))
        client.writer.write(APPEND)
        await client.writer.drain()
        assert await client.closing() == (1009, "The message is too big.")
        await client.hang_up()
        assert await upstream.calls[0].closed == 1000
        await relay.ended()


async def stream(client: Wire) -> None:
    """Send audio as fast as it goes, whatever comes back."""
    with suppress(ConnectionError, ssl.SSLError):
        while not client.writer.transport.is_closing():
            client.writer.write(APPEND)
            await client.writer.drain()
            await asyncio.sleep(0)


async def last_words(client: Wire) -> tuple[str, int]:
    """Return the code of the last error that comes, and the one of the Close."""
    error = ""
    while True:
        opcode, payload = await client.receive()
        if opcode == CLOSE:
            return error, int.from_bytes(payload[:2])
        if opcode == TEXT:
            error = json.loads(payload).get("error", {}).get("code", error)


async def test_a_client_that_streams_still_sees_why_the_session_ends(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def hears(call: Call) -> None:
        await call.open()
        for _ in range(50):
            await call.receive()
        heard.set()
        await call.listen()

    async with secured(tmp_path, hears, AT_ANY_RATE) as (relay, upstream):
        client = await connected(relay)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(stream(client))
            await heard.wait()
            relay.sessions.stop()
            assert await last_words(client) == ("relay_draining", 1012)
            sending.cancel()
        await client.hang_up()
        assert await upstream.calls[0].closed == 1012
        await relay.ended()


async def test_who_streams_into_an_upstream_that_does_not_read_still_sees_why_it_ends(
    tmp_path: Path,
) -> None:
    """Its audio waits for room in the upstream, so it is not being read itself."""
    over = asyncio.Event()

    async def stops_reading(upstream: Wire) -> None:
        await upstream.open()
        await over.wait()

    settings = f"server: {{{issue(tmp_path).settings}}}\nlimits: {{{AT_ANY_RATE}}}\n"
    async with rude_upstream(stops_reading, receive_buffer_bytes=SMALL_BUFFER) as url:
        async with running_relay(write_config(tmp_path, url, settings)) as relay:
            client = await connected(relay)
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(stream(client))
                before, left = -1, 0
                while not left or left != before:  # there is still room on the way
                    await asyncio.wait({sending}, timeout=0.2)
                    before, left = left, client.writer.transport.get_write_buffer_size()
                relay.sessions.stop()
                async with asyncio.timeout(1.5):
                    assert await last_words(client) == ("relay_draining", 1012)
                    sending.cancel()
                    await client.hang_up()
                    await relay.ended()
            over.set()


async def test_a_client_that_stops_reading_is_closed_and_no_other_session_feels_it(
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

    limits = "slow_client_seconds: 0.4"
    async with secured(tmp_path, answers_one_and_floods_the_next, limits) as (relay, upstream):
        async with asyncio.timeout(10), relay.connect() as other:
            await receive(other)
            slow = await connected(relay, receive_buffer_bytes=SMALL_BUFFER)
            while not relay.lines("session.ended"):
                await send(other, type="input_audio_buffer.clear")
                assert (await receive(other))["type"] == "input_audio_buffer.cleared"
            line = relay.lines("session.ended")[0]
            await slow.hang_up()
        await relay.ended()

    assert (line["ended_by"], line["outcome"], line["close_code"]) == ("relay", "slow_client", 1013)


async def test_a_client_that_reads_slowly_is_not_slow(tmp_path: Path) -> None:
    """What was encrypted is out of sight, and all that waits behind it does not move meanwhile."""
    loop = asyncio.get_running_loop()

    async def floods(call: Call) -> None:
        await call.open()
        while True:
            await call.send(DELTA)

    async with secured(tmp_path, floods, "slow_client_seconds: 0.4") as (relay, _):
        client = await connected(relay, receive_buffer_bytes=SMALL_BUFFER)
        # A record has up to 16 KiB: below that TLS would wait for ever.
        cast(Any, client.writer.transport).set_read_buffer_limits(65_536, 32_768)
        for _ in range(100):  # five times as long as a client may take that does not read
            tick = asyncio.Event()
            loop.call_later(0.02, tick.set)
            await tick.wait()
            await client.reader.readexactly(5_000)
        assert not relay.lines("session.ended")
        await client.hang_up()
        await relay.ended()


async def test_a_client_that_ignores_the_closing_handshake_is_cut_off(tmp_path: Path) -> None:
    async with secured(tmp_path) as (relay, upstream):
        client = await connected(relay)
        relay.sessions.stop()
        async with asyncio.timeout(2):
            assert (await client.closing())[0] == 1012
            assert await upstream.calls[0].closed == 1012
            await client.lost()
            await relay.ended()
        await client.hang_up()


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_who_was_in_a_session_is_freed_without_the_garbage_collector(
    tmp_path: Path, side: str
) -> None:
    """Or what their TLS takes, outside of Python, piles up until it runs."""
    async with secured(tmp_path) as (relay, upstream), relay.connect() as client:
        await receive(client)
        with uncollected():
            events = freed(relay)
            await (client if side == "client" else upstream.calls[0].socket).close()
            await client.wait_closed()
            await relay.ended()
            async with asyncio.timeout(3):
                for event in events:
                    await event.wait()
