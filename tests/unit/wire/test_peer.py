"""Peers that are alive, slow, lost or break the protocol; and the behaviour of aiohttp."""

import asyncio
import logging
import struct
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from typing import TypeVar

import pytest
from aiohttp import WSMsgType, web
from certificates import Pair, issue
from fakes import BINARY, CLOSE, PING, PONG, TEXT, Wire, frame

from relay.core.messages import Binary
from relay.wire import frame_writer
from relay.wire.frame_reader import FRAME_OVERHEAD_BYTES
from relay.wire.inbox import MAX_UNREAD_BYTES
from relay.wire.liveness import PING_SECONDS, SILENCE_SECONDS
from relay.wire.peer import Patience, Peer
from relay.wire.upgrade import Acceptance

pytestmark = pytest.mark.usefixtures("nothing_is_left")

Socket = TypeVar("Socket", bound=web.WebSocketResponse[bool])

SMALL_BUFFER = 4096
MESSAGE = b"x" * 100_000

QUICK = Patience(slow_seconds=0.2, max_buffered_bytes=2**20, close_seconds=0.3)


@dataclass
class Ends:
    """A peer, and the raw client at the other end."""

    peer: Peer
    wire: Wire


@asynccontextmanager
async def connected(
    patience: Patience = QUICK,
    *,
    receive_buffer_bytes: int | None = None,
    max_message_bytes: int = 2**20,
    tls: Pair | None = None,
) -> AsyncIterator[Ends]:
    """Connect a raw client to a peer."""

    def accept() -> Acceptance:
        return Acceptance((), patience, max_message_bytes)

    async with accepted(accept, receive_buffer_bytes, tls) as (answer, wire):
        yield Ends(answer.peer, wire)
        await wire.hang_up()


@asynccontextmanager
async def accepted(
    accept: Callable[[], Socket], receive_buffer_bytes: int | None = None, tls: Pair | None = None
) -> AsyncIterator[tuple[Socket, Wire]]:
    """Connect a raw client to the response that answers its handshake."""
    made: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = accept()
        await answer.prepare(request)
        if receive_buffer_bytes is not None and request.transport is not None:
            connection = request.transport.get_extra_info("socket")
            connection.setsockopt(SOL_SOCKET, SO_SNDBUF, receive_buffer_bytes)
        made.set_result(answer)
        await over.wait()
        return answer

    app = web.Application()
    app.router.add_get("/v1/realtime", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.serving if tls else None).start()
    port = runner.addresses[0][1]
    try:
        async with asyncio.timeout(15):
            wire = await Wire.connect(
                port, receive_buffer_bytes=receive_buffer_bytes, tls=tls.trusting if tls else None
            )
            yield await made, wire
    finally:
        over.set()
        await runner.cleanup()


@dataclass
class Slow:
    """Notes when a peer is found slow."""

    peer: Peer
    noted: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.peer.on_slow = self.noted.set
        assert self.peer.on_slow == self.noted.set

    async def fill(self, message: bytes) -> None:
        """Send until the peer is found slow."""
        while not self.noted.is_set():
            await self.peer.send(message)


async def test_messages_arrive_as_they_were_sent() -> None:
    async with connected() as ends:
        ends.wire.send(b'{"type":"a"}')
        ends.wire.send("é".encode())
        ends.wire.send(b"\xff", BINARY)
        assert await ends.peer.receive() == b'{"type":"a"}'
        assert await ends.peer.receive() == "é".encode()
        binary = await ends.peer.receive()
        assert isinstance(binary, Binary)
        assert binary == b"\xff"
        await ends.peer.send(b"one")
        assert await ends.wire.receive() == (TEXT, b"one")
        assert (ends.peer.messages_sent, ends.peer.bytes_sent) == (1, 3)


async def test_cancelling_a_receive_loses_no_message() -> None:
    async with connected() as ends:
        for number in range(20):
            async with asyncio.TaskGroup() as tasks:
                receiving = tasks.create_task(ends.peer.receive())
                ends.wire.send(b"%d" % number)
                await asyncio.sleep(0)
                receiving.cancel()
            got = None if receiving.cancelled() else receiving.result()
            assert (got or await ends.peer.receive()) == b"%d" % number


async def test_a_ping_is_answered_with_its_payload() -> None:
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(ends.peer.receive())
        ends.wire.send(b"are you there", PING)
        assert await ends.wire.receive() == (PONG, b"are you there")
        ends.wire.send(b"yes")
        assert await receiving == b"yes"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"\xff\xfe", masked=True), 1007),
        (frame(b"x" * 1025, masked=True), 1009),
        (struct.pack("!BBQ", 129, 255, 2**40), 1009),
        (struct.pack("!BBQ", 129, 255, 2**63 - 1), 1009),
        (frame(b"x", 3, masked=True), 1002),
        (frame(b"x", 0, masked=True), 1002),
        (frame(b"x" * 126, PING, masked=True), 1002),
        (frame(b"x", PING, masked=True, final=False), 1002),
        (bytes([129 | 64, 129, 0, 0, 0, 0, 120]), 1002),
        (frame(b"x", masked=True, final=False) + frame(b"y", masked=True), 1002),
        (frame(b"x" * 600, masked=True, final=False) + frame(b"x" * 600, 0, masked=True), 1009),
        *((frame(struct.pack("!H", code), CLOSE, masked=True), 1002) for code in
          (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)),
        (frame(b"\x03", CLOSE, masked=True), 1002),
        (frame(b"\x03\xe8\xff\xfe", CLOSE, masked=True), 1007),
    ],
)  # fmt: skip
async def test_a_peer_that_breaks_the_protocol_receives_the_code_while_it_still_sends(
    sent: bytes, code: int
) -> None:
    """Closing while bytes are unread would reset the connection, and the code would be lost."""
    async with connected(max_message_bytes=1024) as ends:
        ends.wire.writer.write(sent + frame(b"y" * 1000, masked=True) * 3000)
        assert await ends.peer.receive() is None
        assert ends.peer.close_code == code
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ends.peer.close(1000, "the session's words"))
            await ends.wire.writer.drain()
            assert await ends.wire.closing() == (code, "the session's words")
            await ends.wire.hang_up()


async def test_a_peer_that_broke_the_protocol_may_finish_sending_before_tcp_is_closed() -> None:
    """A library that is still writing when TCP is closed reports a wrong error to its user."""
    async with connected(max_message_bytes=1024) as ends, asyncio.TaskGroup() as tasks:
        ends.wire.send(b"x" * 1025)
        assert await ends.peer.receive() is None
        tasks.create_task(ends.peer.close(1000, ""))
        assert (await ends.wire.closing())[0] == 1009
        for _ in range(5):
            end = tasks.create_task(ends.wire.reader.read(1))
            await asyncio.wait({end}, timeout=0.02)
            assert not end.done()
            end.cancel()
            await asyncio.wait({end})
            ends.wire.send(b"the rest of a long message")
        await ends.wire.lost()
        await ends.wire.hang_up()


@pytest.mark.parametrize("size", [1024, 1025])
async def test_a_message_may_be_exactly_as_long_as_the_limit(size: int) -> None:
    async with connected(max_message_bytes=1024) as ends:
        ends.wire.send(b"x" * size)
        assert await ends.peer.receive() == (b"x" * size if size == 1024 else None)


@pytest.mark.parametrize(
    ("code", "reason", "noted"),
    [(1000, b"bye", 1000), (3001, b"", 3001), (4999, b"x" * 123, 4999), (None, b"", 1005)],
)
async def test_a_close_of_the_peer_is_noted_and_answered(
    code: int | None, reason: bytes, noted: int
) -> None:
    async with connected() as ends:
        ends.wire.close_frame(code, reason)
        assert await ends.peer.receive() is None
        assert (ends.peer.close_code, ends.peer.close_reason) == (noted, reason.decode())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ends.peer.close(noted, "client closed"))
            assert await ends.wire.closing() == (1011 if code is None else code, "client closed")
            await ends.wire.hang_up()


@pytest.mark.parametrize("has_closed", [False, True])
@pytest.mark.parametrize(
    ("last", "noted"),
    [(frame(b"\x03\xe8", CLOSE, masked=True), 1000), (frame(b"\xff", masked=True), 1007)],
)
async def test_nothing_is_read_behind_the_last_frame_of_a_peer(
    last: bytes, noted: int, *, has_closed: bool
) -> None:
    """One read brings the last frame, and one behind it that breaks the protocol."""
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.peer.listen(lambda _: None))
        if has_closed:
            tasks.create_task(ends.peer.close(1000, ""))
            assert (await ends.wire.closing())[0] == 1000
        ends.peer.data_received(last + frame(b"", 3, masked=True))
        assert ends.peer.close_code == noted
        if not has_closed:
            tasks.create_task(ends.peer.close(1000, ""))
            assert (await ends.wire.closing())[0] == noted
        await ends.wire.lost()
        await ends.wire.hang_up()


@pytest.mark.parametrize("leave", ["reset", "hang_up"])
async def test_a_lost_peer_has_close_code_1006(leave: str) -> None:
    async with connected() as ends:
        ends.wire.reset() if leave == "reset" else await ends.wire.hang_up()
        assert await ends.peer.receive() is None
        assert ends.peer.close_code == 1006
        async with asyncio.timeout(2):
            await ends.peer.send(b"too late")
            await ends.peer.close(1000, "")


@pytest.mark.both_loops
async def test_behind_tls_all_methods_of_a_lost_peer_work(tmp_path: Path) -> None:
    """Every method of asyncio's TLS transport fails then."""
    async with connected(tls=issue(tmp_path)) as ends:
        for _ in range(20):
            ends.wire.send(b"x" * 10_000)
        await ends.wire.writer.drain()
        await ends.peer.receive()
        ends.wire.reset()
        await ends.peer._life.tcp_closed
        while await ends.peer.receive() is not None:
            pass
        assert ends.peer.close_code == 1006
        assert ends.peer.keep_alive(ends.peer.intake.received_at + PING_SECONDS)
        await ends.peer.send(b"x" * 1_000_000)
        await ends.peer.close(1000, "")


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535])
async def test_an_illegal_close_code_becomes_1011_and_the_reason_fits(code: int) -> None:
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.peer.leave(code, "é" * 100))
        assert await ends.wire.closing() == (1011, "é" * 61)
        ends.wire.close_frame(1011)


async def test_a_farewell_comes_before_the_close() -> None:
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.peer.leave(4408, "idle", b'{"type":"error"}'))
        assert await ends.wire.receive() == (TEXT, b'{"type":"error"}')
        assert await ends.wire.closing() == (4408, "idle")
        ends.wire.close_frame(4408)


@pytest.mark.parametrize("answered", [False, True])
async def test_after_the_close_nothing_is_sent_or_counted(*, answered: bool) -> None:
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.peer.listen(lambda _: None))
        closing = tasks.create_task(ends.peer.close(1000, "bye"))
        assert await ends.wire.closing() == (1000, "bye")
        if answered:
            ends.wire.close_frame(1000)
            assert await ends.wire.reader.read() == b""  # the relay has closed its direction
        await ends.peer.send(b"late")
        assert ends.peer.send_at_once(b"too late")
        ends.peer.data_received(frame(b"", PING, masked=True))
        assert (ends.peer.messages_sent, ends.peer.bytes_sent) == (0, 0)
        ends.wire.writer.write_eof()
        assert await ends.wire.reader.read() == b""
        await closing


async def test_a_peer_that_ignores_the_close_is_cut_off_in_time() -> None:
    loop = asyncio.get_running_loop()
    async with connected() as ends:
        started = loop.time()
        await ends.peer.leave(1012, "restart")
        assert 0.3 <= loop.time() - started < 3
        assert await ends.wire.closing() == (1012, "restart")


async def test_a_peer_that_neither_reads_nor_closes_is_cut_off_in_time() -> None:
    loop = asyncio.get_running_loop()
    async with connected(receive_buffer_bytes=SMALL_BUFFER) as ends:
        async with asyncio.TaskGroup() as tasks:
            slow = Slow(ends.peer)
            filling = tasks.create_task(ends.peer.send(b"x" * 8_000_000))
            await slow.noted.wait()
            started = loop.time()
            await ends.peer.leave(1013, "slow")
            await filling
        assert loop.time() - started < 3


async def test_closing_a_lost_peer_releases_its_callbacks() -> None:
    class Listener:
        def note(self) -> None:
            raise AssertionError

    async with connected() as ends:
        await ends.wire.hang_up()
        assert await ends.peer.receive() is None
        listener = Listener()
        ends.peer.on_gone = ends.peer.on_slow = listener.note
        freed = weakref.ref(listener)
        del listener
        await ends.peer.close(1000, "")
        assert freed() is None


async def test_closing_a_peer_that_is_cancelled_frees_the_connection() -> None:
    async with connected(Patience(close_seconds=10)) as ends:
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(ends.peer.leave(1000, ""))
            await ends.wire.closing()
            leaving.cancel()
        async with asyncio.timeout(1):
            await ends.wire.lost()


@pytest.mark.parametrize("size", [1000, 70_000, 500_000, 3_000_000])
async def test_a_peer_that_stops_reading_is_slow_for_every_size_of_messages(size: int) -> None:
    loop = asyncio.get_running_loop()
    async with connected(receive_buffer_bytes=SMALL_BUFFER) as ends:
        slow = Slow(ends.peer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(slow.fill(b"x" * size))
            await slow.noted.wait()
            noted = loop.time()
            await ends.peer.leave(1013, "slow")
        assert loop.time() - noted < 3


async def test_a_peer_that_its_network_does_not_reach_is_not_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is considered slow only after the time of silence that ends a session."""
    monkeypatch.setattr(frame_writer, "is_unreachable", lambda _transport: True)
    patience = Patience(slow_seconds=0.1, silence_seconds=0.6, close_seconds=0.3)
    loop = asyncio.get_running_loop()
    async with connected(patience, receive_buffer_bytes=SMALL_BUFFER) as ends:
        slow = Slow(ends.peer)
        begun = loop.time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(slow.fill(MESSAGE))
            await slow.noted.wait()
            assert loop.time() - begun > 0.6
            await ends.peer.leave(1013, "slow")


async def test_a_peer_that_reads_slowly_is_not_slow() -> None:
    loop = asyncio.get_running_loop()
    async with connected(receive_buffer_bytes=SMALL_BUFFER) as ends:
        slow = Slow(ends.peer)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(ends.peer.send(b"x" * 6_000_000))
            for _ in range(30):  # three times as long as a peer may read nothing
                tick = asyncio.Event()
                loop.call_later(0.02, tick.set)
                await tick.wait()
                await ends.wire.reader.readexactly(40_000)
            assert not sending.done()
            assert not slow.noted.is_set()
            tasks.create_task(ends.wire.lost())
            await sending
            await ends.peer.leave(1000, "")
        assert not slow.noted.is_set()


async def test_a_peer_is_slow_at_once_when_too_many_bytes_wait_for_it() -> None:
    patience = Patience(slow_seconds=60, max_buffered_bytes=200_000, close_seconds=0.3)
    async with connected(patience, receive_buffer_bytes=SMALL_BUFFER) as ends:
        slow = Slow(ends.peer)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(100):
                tasks.create_task(ends.peer.send(MESSAGE))
            async with asyncio.timeout(1):
                await slow.noted.wait()
            await ends.peer.leave(1013, "slow")


async def test_cancelling_a_send_that_waits_breaks_no_other() -> None:
    """All sends wait for the same room; one that is cancelled must not cancel it."""
    async with connected(Patience(), receive_buffer_bytes=SMALL_BUFFER) as ends:
        async with asyncio.TaskGroup() as tasks:
            cancelled = tasks.create_task(ends.peer.send(b"1" * 1_000_000))
            other = tasks.create_task(ends.peer.send(b"2" * 1_000_000))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait({cancelled})
            assert cancelled.cancelled()
            assert not other.done()
            assert await ends.wire.receive() == (TEXT, b"1" * 1_000_000)
            assert await ends.wire.receive() == (TEXT, b"2" * 1_000_000)
        assert not other.cancelled()
        await ends.peer.send(b"3")
        assert await ends.wire.receive() == (TEXT, b"3")


async def test_a_peer_that_answers_pings_is_alive() -> None:
    loop = asyncio.get_running_loop()
    async with connected(Patience()) as ends, asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(ends.peer.receive())
        assert ends.peer.keep_alive(loop.time() + PING_SECONDS)
        assert await ends.wire.receive() == (PING, b"")
        pinged = loop.time()
        ends.wire.send(b"", PONG)
        ends.wire.send(b"and a message")
        await receiving
        receiving = tasks.create_task(ends.peer.receive())
        await asyncio.sleep(0)
        assert ends.peer.keep_alive(pinged + SILENCE_SECONDS)
        receiving.cancel()


async def test_a_silent_peer_is_lost() -> None:
    loop = asyncio.get_running_loop()
    async with connected(Patience()) as ends, asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(ends.peer.receive())
        assert ends.peer.keep_alive(loop.time() + PING_SECONDS)
        assert await ends.wire.receive() == (PING, b"")
        assert not ends.peer.keep_alive(loop.time() + SILENCE_SECONDS)
        receiving.cancel()


async def test_a_peer_is_not_lost_while_the_relay_does_not_read_from_it() -> None:
    """Its pongs are unread behind its messages: libraries close healthy peers here."""
    later = asyncio.get_running_loop().time() + 1000
    async with connected(Patience()) as ends:
        ends.peer.data_received(frame(b"x" * (MAX_UNREAD_BYTES + 1), masked=True))
        assert ends.peer.keep_alive(later)
        await ends.peer.receive()
        assert not ends.peer.keep_alive(later)


async def test_empty_messages_that_wait_are_bounded() -> None:
    """They have no bytes, and still take memory."""
    async with connected() as ends:
        for _ in range(5):
            ends.peer.data_received(frame(b"", masked=True) * 1000)
        taken = 0
        while taken < 1000:
            kept = len(ends.peer._inbox._unread)
            assert kept * FRAME_OVERHEAD_BYTES <= MAX_UNREAD_BYTES + FRAME_OVERHEAD_BYTES
            assert await ends.peer.receive() == b""
            taken += 1


async def test_a_flood_of_pings_is_closed_with_1008_while_it_goes_on() -> None:
    async with connected() as ends, asyncio.TaskGroup() as tasks:
        ends.wire.writer.write(frame(b"", PING, masked=True) * 50_000)
        assert await ends.peer.receive() is None
        assert ends.peer.close_code == 1008
        tasks.create_task(ends.peer.close(1000, "too many"))
        await ends.wire.writer.drain()
        assert await ends.wire.closing() == (1008, "too many")
        await ends.wire.hang_up()


async def test_a_close_is_seen_behind_a_message_that_is_not_taken() -> None:
    async with connected() as ends:
        gone = asyncio.Event()
        ends.peer.on_gone = gone.set
        ends.wire.send(b"unread")
        ends.wire.close_frame(1001)
        await gone.wait()
        assert ends.peer.close_code == 1001
        assert await ends.peer.receive() == b"unread"
        assert await ends.peer.receive() is None


async def test_without_room_only_the_last_of_several_pings_is_answered() -> None:
    async with connected(receive_buffer_bytes=SMALL_BUFFER) as ends:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ends.peer.send(MESSAGE))
            await asyncio.sleep(0)
            for number in range(3):
                ends.peer.data_received(frame(b"%d" % number, PING, masked=True))
            assert await ends.wire.receive() == (TEXT, MESSAGE)
            assert await ends.wire.receive() == (PONG, b"2")


async def test_a_defect_of_the_handler_is_raised_in_the_listener() -> None:
    def fail(message: bytes) -> None:
        raise LookupError(message)

    async with connected() as ends:
        ends.wire.send(b"one")
        with pytest.raises(LookupError, match="one"):
            await ends.peer.listen(fail)


async def test_a_defect_while_reading_is_reported_and_is_no_fault_of_the_peer() -> None:
    reported: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: reported.append(context["exception"]))

    def breaks() -> None:
        raise ZeroDivisionError

    async with connected() as ends:
        ends.peer.on_gone = breaks
        ends.wire.send(struct.pack("!H", 1000), opcode=CLOSE)
        await ends.peer._life.tcp_closed
        assert [type(defect) for defect in reported] == [ZeroDivisionError]
        assert ends.peer.close_code == 1000


async def test_the_next_message_is_handled_after_the_remainder_of_the_last() -> None:
    handled: list[bytes] = []
    free = asyncio.Event()

    async def work(message: bytes) -> None:
        await free.wait()
        handled.append(b"done with " + message)

    def handle(message: bytes) -> Awaitable[None] | None:
        handled.append(message)
        return work(message) if message == b"2" else None

    async with connected() as ends, asyncio.TaskGroup() as tasks:
        tasks.create_task(ends.peer.listen(handle))
        for message in (b"1", b"2", b"3"):
            ends.wire.send(message)
        ends.wire.send(b"", PING)
        assert await ends.wire.receive() == (PONG, b"")
        assert handled == [b"1", b"2"]
        free.set()
        ends.wire.close_frame(1000)
    assert handled == [b"1", b"2", b"done with 2", b"3"]


async def test_pings_are_ping_seconds_apart() -> None:
    now = asyncio.get_running_loop().time() + 100
    async with connected(Patience(ping_seconds=20, silence_seconds=1000)) as ends:
        for seconds in (0, 1, 19.9, 20, 39.9, 40):
            assert ends.peer.keep_alive(now + seconds)
        await ends.peer.send(b"end")
        assert [(await ends.wire.receive())[0] for _ in range(4)] == [PING, PING, PING, TEXT]


async def test_no_ping_is_sent_behind_a_full_buffer() -> None:
    silent = Patience(silence_seconds=10_000)
    async with connected(silent, receive_buffer_bytes=SMALL_BUFFER) as ends:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(ends.peer.send(b"x" * 8_000_000))
            await asyncio.sleep(0)
            assert ends.peer.keep_alive(asyncio.get_running_loop().time() + 1000)
            tasks.create_task(ends.wire.lost())
            await sending
            assert ends.peer.messages_sent == 1
            await ends.peer.leave(1000, "")


async def test_a_peer_that_closes_early_receives_all_that_waits_for_it() -> None:
    async with connected(receive_buffer_bytes=SMALL_BUFFER) as ends, asyncio.TaskGroup() as tasks:
        await ends.peer.send(b"x" * 60_000)
        ends.wire.close_frame(1000)
        assert await ends.peer.receive() is None
        closing = tasks.create_task(ends.peer.close(1000, "bye"))
        await asyncio.wait({closing}, timeout=0.05)  # it waits for room
        ends.wire.writer.write_eof()
        assert await ends.wire.receive() == (TEXT, b"x" * 60_000)
        assert await ends.wire.closing() == (1000, "bye")


# The behaviour of the pinned versions is the reason why Peer does not rely on them.


async def test_aiohttp_a_cancelled_send_makes_the_next_one_fail() -> None:
    """3.14.0 to 3.14.5 have lost a shield."""

    def draining() -> web.WebSocketResponse[bool]:
        return web.WebSocketResponse(writer_limit=0)

    async with accepted(draining, SMALL_BUFFER) as (socket, wire):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    await socket.send_bytes(MESSAGE)
        spurious = False
        try:
            async with asyncio.timeout(0.1):
                await socket.send_bytes(b"innocent")
        except asyncio.CancelledError:
            spurious = True
        except TimeoutError:
            pass
        assert spurious, "aiohttp is repaired: the relay could send through it"
        wire.reset()


async def test_aiohttp_close_is_not_bounded_against_a_peer_that_does_not_read() -> None:
    def impatient() -> web.WebSocketResponse[bool]:
        return web.WebSocketResponse(timeout=0.05)

    async def send(socket: web.WebSocketResponse[bool]) -> None:
        with suppress(ConnectionError):
            await socket.send_bytes(b"x" * 8_000_000)

    async with accepted(impatient, SMALL_BUFFER) as (socket, wire), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send(socket))
        await asyncio.sleep(0)
        closing = tasks.create_task(socket.close())
        done, _ = await asyncio.wait({closing}, timeout=0.5)
        assert not done, "aiohttp is repaired: its close is bounded"
        wire.reset()
        await asyncio.wait({sending, closing})


async def test_aiohttp_accepts_a_close_with_an_illegal_code() -> None:
    async with accepted(web.WebSocketResponse[bool]) as (socket, wire):
        wire.close_frame(5000)
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 5000)
        await wire.hang_up()


async def test_aiohttp_logs_every_subprotocol_that_it_does_not_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """For this reason, aiohttp receives the handshake without credentials."""
    caplog.set_level(logging.WARNING, "aiohttp.websocket")

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wire = await Wire.dial(runner.addresses[0][1])
    await wire.ask(Sec_WebSocket_Protocol="openai-insecure-api-key.sk-of-a-client")
    await wire.hang_up()
    await runner.cleanup()
    assert "sk-of-a-client" in caplog.text
