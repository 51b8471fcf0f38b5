"""One end of a session: an open WebSocket, client or upstream, from its handshake on.

aiohttp shakes hands and parses frames; the connection itself is ours. What a peer says is decided
on in the very call that read it, and closing, liveness and the judgement of a slow reader are
written once, for both legs. aiohttp leaves these open:

- ``close()`` is not bounded against a peer that does not read, does not wait for the peer's Close
  when somebody is receiving, and always answers a Close with 1000. It is called by aiohttp itself
  when a message is too big, and closes on unread bytes: then TCP resets, and the 1009 is lost.
- It takes a Close with a code that may not travel (Autobahn 7.9.5).
- Cancelling a send that waits for room makes the next one fail, and every other that waits
  (aiohttp 3.14.0 to 3.14.5, ``_drain_helper`` without a shield).
- Its heartbeat closes the transport, which waits for a peer that is gone to read.
"""

import asyncio
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from aiohttp import WSMsgType

from relay.core.close import SENDABLE, CloseCode, sendable
from relay.core.events import Binary
from relay.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, encode, reader

CLOSE_SECONDS = 1.0
"""How long a peer has to answer a Close."""

QUIET_SECONDS = 0.1
"""After so long without a byte, a peer that broke the protocol is not sending any more."""

PING_SECONDS = 20.0
"""Infrastructure on the way cuts what is silent for 30 to 120 s; OpenAI itself pings every 20."""

RETRIES = 20
"""How often in that time a ping is tried that cannot be sent now."""

SILENCE_SECONDS = 40.0
"""From whom nothing came for so long, pongs included, is gone."""

MAX_UNREAD_BYTES = 64 * 1024
"""So much is taken in while what came before is worked on: a Close behind it is seen at once."""

LOOKS = 4
"""How often it is looked, in the time that a peer may be slow, whether it reads."""

ACKNOWLEDGED = slice(120, 128)
"""Where ``tcpi_bytes_acked`` is in ``struct tcp_info`` (linux/tcp.h, since 4.1)."""

_TEXT_FRAME = WSMsgType.TEXT  # a member of an enumeration takes a call to be read from its class

Hear = Callable[[bytes], Awaitable[None] | None]
"""Takes a message; what it returns has to be awaited before it can take the next."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take, in seconds, and how much may wait for it, in bytes."""

    slow_seconds: float = 10.0
    max_buffered_bytes: int = 4 * 1024 * 1024
    ping_seconds: float = PING_SECONDS
    silence_seconds: float = SILENCE_SECONDS
    close_seconds: float = CLOSE_SECONDS


class Peer(asyncio.Protocol):
    """Sends and receives messages, and knows how the connection stands.

    One task listens or receives, any task sends. Attributes:
        frames: what bytes are fed to that came before the connection was taken over.
        read_at: when the message that is heard now was read, by `time.monotonic`: uvloop's clock
            is the same, in whole milliseconds.
        close_code: what the peer closed with; 1006 when the connection was lost.
        on_slow: called once or more, when the peer stopped reading.
        on_gone: called once, when the peer closed or was lost while what it said before is still
            being worked on; who is listening then learns of it later.
    """

    __slots__ = (  # read for every message
        "__weakref__",
        "_at_once_bytes",
        "_before",
        "_due_pong",
        "_fault",
        "_gone",
        "_hanging_up",
        "_has_closed",
        "_hear",
        "_heard_at",
        "_idle_looks",
        "_in_flight_bytes",
        "_loop",
        "_lost",
        "_masks",
        "_patience",
        "_paused",
        "_pinged_at",
        "_read_bytes",
        "_release",
        "_room",
        "_transport",
        "_unread",
        "_unread_bytes",
        "_waiter",
        "_watch",
        "_written_bytes",
        "bytes_sent",
        "close_code",
        "close_reason",
        "frames",
        "messages_sent",
        "on_gone",
        "on_slow",
        "read_at",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        patience: Patience,
        *,
        max_message_bytes: int,
        masks: bool = False,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over a connection after its handshake.

        ``masks`` is for the side that dialled; ``release`` is called when nothing is left of it.
        """
        self.close_code: int = CloseCode.ABNORMAL_CLOSURE
        self.close_reason = ""
        self.on_slow: Callable[[], None] = _nothing
        self.on_gone: Callable[[], None] = _nothing
        self.messages_sent = self.bytes_sent = 0
        self._transport = transport
        self._masks = masks
        self._release = release
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self.frames = reader(self._read_frame, self._fail, max_message_bytes=max_message_bytes)
        self._unread: deque[tuple[bytes, float]] = deque()
        self._unread_bytes = 0
        self._paused = False
        self._hear: Hear | None = None
        self._waiter: asyncio.Future[Awaitable[None] | None] | None = None
        self._at_once_bytes = transport.get_write_buffer_limits()[1]
        self._in_flight_bytes = self._written_bytes = self._read_bytes = self._idle_looks = 0
        self._room: asyncio.Future[None] | None = None  # None while there is
        self._due_pong: bytes | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._hanging_up: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self.read_at = self._heard_at = self._pinged_at = monotonic()
        self._fault: int | None = None
        self._has_closed = False
        self._before = transport.get_protocol()
        transport.set_protocol(self)

    # What the peer says.

    async def listen(self, hear: Hear) -> None:
        """Let ``hear`` have each message, in the call that reads it, until the peer is gone.

        What ``hear`` returns is awaited, and only then the next message is taken.
        """
        self._hear = hear
        try:
            while self._unread or not self._gone.done():
                rest = hear(self._take()) if self._unread else await self._wait()
                if rest is not None:
                    await rest
        finally:
            self._hear = None

    async def receive(self) -> bytes | None:
        """Return the next message; None once the peer has closed or is lost.

        Cancelling is safe: no message is lost.
        """
        while not self._unread and not self._gone.done():
            await self._wait()
        return self._take() if self._unread else None

    async def _wait(self) -> Awaitable[None] | None:
        """Wait until something was read; return what has to be awaited for it, if it was heard."""
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        message, self.read_at = self._unread.popleft()
        self._unread_bytes -= len(message)
        if not self._unread:
            self._read_on()
        return message

    def data_received(self, data: bytes) -> None:
        """Read what came from the connection."""
        self._heard_at = monotonic()
        if not self._gone.done():
            self.frames.feed_data(data)
        elif self._hanging_up is not None:
            self._hang_up()

    def _read_frame(self, frame: Frame, _weight: int) -> None:
        if self._gone.done():
            return
        if frame.type is _TEXT_FRAME and _is_utf8(frame.data):  # nearly all there is
            self._deliver(frame.data)
            return
        match frame.type:
            case WSMsgType.BINARY:
                self._deliver(Binary(frame.data))
            case WSMsgType.PING:
                self._pong(bytes(frame.data))
            case WSMsgType.PONG:
                pass
            case _:
                self._note_end(frame)

    def _deliver(self, message: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done() or self._hear is None:
            self._put_off(message)
            return
        self.read_at = self._heard_at
        try:
            rest = self._hear(message)
        except Exception as defect:  # noqa: BLE001  # whoever listens gets it
            waiter.set_exception(defect)
            return
        if rest is not None:
            waiter.set_result(rest)

    def _put_off(self, message: bytes) -> None:
        """Keep a message until somebody takes it; while there are many, read no more."""
        self._unread.append((message, self._heard_at))
        self._unread_bytes += len(message)
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._paused = True
            self._transport.pause_reading()  # once more: after the handshake aiohttp reads on
        self._wake()

    def _read_on(self) -> None:
        if self._paused and not self._lost.done():
            self._paused = False
            self._heard_at = monotonic()
            self._transport.resume_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _note_end(self, frame: Frame) -> None:
        match frame.type:
            case WSMsgType.TEXT:
                self._fail(CloseCode.INVALID_DATA)
            case WSMsgType.CLOSE if not frame.data:
                self._lose(CloseCode.NO_STATUS_RECEIVED)
            case WSMsgType.CLOSE if frame.data in SENDABLE:
                self._lose(frame.data, frame.extra or "")
            case _:
                self._fail(CloseCode.PROTOCOL_ERROR)

    def _fail(self, code: int) -> None:
        """Note that the peer broke the protocol; nothing it says from here on can be read."""
        self._fault = code
        self._lose(code)

    def _lose(self, code: int, reason: str = "") -> None:
        if self._gone.done():
            return
        self.close_code, self.close_reason = code, reason
        self._gone.set_result(None)
        if self._waiter is None or self._waiter.done():
            self.on_gone()
        else:
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing is left of the connection."""
        self._lost.set_result(None)
        self._make_room()
        for timer in (self._watch, self._hanging_up):
            if timer is not None:
                timer.cancel()
        self._lose(CloseCode.ABNORMAL_CLOSURE)
        self._before.connection_lost(exc)
        # They lead back here, and what TLS takes would be kept until the garbage collector runs.
        del self.frames
        self._watch = self._hanging_up = None

    # What the peer is told.

    def send_at_once(self, message: bytes) -> bool:
        """Send a message if there is room for it and for more; tell whether there was."""
        if self._room is not None or len(message) > self._at_once_bytes:
            return False
        self._send(message)
        return True

    async def send(self, message: bytes) -> None:
        """Send a message; return when there is room for the next.

        Does nothing when the peer is gone.
        """
        if self.send_at_once(message):
            return
        waiting_bytes = self._waiting_bytes()
        if waiting_bytes > self._patience.max_buffered_bytes + self._in_flight_bytes:
            self.on_slow()
        self._in_flight_bytes = max(self._in_flight_bytes, len(message))
        try:
            self._send(message)
            if self._room is not None:
                await asyncio.shield(self._room)
        finally:
            self._in_flight_bytes = 0

    def _send(self, message: bytes) -> None:
        if self._write(BINARY if type(message) is Binary else TEXT, message):
            self.messages_sent += 1
            self.bytes_sent += len(message)

    def _write(self, opcode: int, payload: bytes) -> bool:
        """Write a frame; tell whether it may be: after a Close it may not (RFC 6455 5.5.1)."""
        if self._has_closed or self._transport.is_closing():
            return False
        frame = encode(opcode, payload, masked=self._masks)
        is_waiting = self._transport.get_write_buffer_size() > 0
        self._transport.write(frame)
        self._written_bytes += len(frame)
        if is_waiting:
            self._start_watch()
        return True

    def _start_watch(self) -> None:
        if self._watch is None:
            self._read_bytes = self._written_bytes + self._acknowledged_bytes()
            self._idle_looks = 0
            self._look_later()

    def _look_later(self) -> None:
        seconds = self._patience.slow_seconds / LOOKS
        self._watch = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Look whether the peer has read anything of what waits for it."""
        self._watch = None
        waiting_bytes = self._waiting_bytes()
        if not waiting_bytes:
            return
        read_bytes = self._written_bytes - waiting_bytes + self._acknowledged_bytes()
        self._idle_looks = 0 if read_bytes > self._read_bytes else self._idle_looks + 1
        self._read_bytes = read_bytes
        if self._idle_looks < LOOKS:
            self._look_later()
        else:
            self.on_slow()

    def _waiting_bytes(self) -> int:
        """Return what waits to be sent; asyncio's TLS cannot be asked any more once it is lost."""
        return 0 if self._lost.done() else self._transport.get_write_buffer_size()

    def _acknowledged_bytes(self) -> int:
        """Return what the peer's machine has taken, where the system tells: on Linux.

        Behind TLS, what waits stays as it is for as long as what was encrypted before is read.
        """
        if sys.platform != "linux" or self._transport.is_closing():
            return 0
        connection = self._transport.get_extra_info("socket")
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
        return int.from_bytes(info[ACKNOWLEDGED], sys.byteorder)

    def pause_writing(self) -> None:
        """Note that much waits for the peer."""
        self._room = self._room or self._loop.create_future()
        self._start_watch()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._make_room()
        if self._due_pong is not None:
            self._pong(self._due_pong)

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def _pong(self, payload: bytes) -> None:
        """Answer a ping; of those that come while there is no room, the last (RFC 6455 5.5.3)."""
        self._due_pong = None if self._room is None else payload
        if self._due_pong is None:
            self._write(PONG, payload)

    def keep_alive(self, now: float) -> bool:
        """Ping the peer when it is time; tell whether it still lives.

        Who is not being read cannot be heard, and is not pinged behind a full buffer.
        """
        if not self._paused and now - self._heard_at >= self._patience.silence_seconds:
            return False
        due = now - self._pinged_at >= self._patience.ping_seconds
        if due and not self._waiting_bytes():
            self._pinged_at = now
            self._write(PING, b"")
        return True

    def next_look(self, now: float) -> float:
        """Return when ``keep_alive`` wants to be called again."""
        patience = self._patience
        due = self._pinged_at + patience.ping_seconds
        if not self._paused:
            due = min(due, self._heard_at + patience.silence_seconds)
        # What is due and cannot be done now is tried again, and not at once.
        return max(due, now + patience.ping_seconds / RETRIES)

    # The end.

    async def close(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Say why, close, wait for the peer's Close within a bound, and free the connection.

        Somebody should go on listening, and throw away what comes, or the Close is not seen.
        Code and reason become ones that may be sent; who broke the protocol is told that.
        """
        try:
            if farewell is not None:
                self._send(farewell)
            legal, cut = sendable(self._fault or code, reason)
            self._write(CLOSE, struct.pack("!H", legal) + cut)
            self._has_closed = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.close_seconds):
                    await asyncio.shield(self._gone)
                    if not self._lost.done():
                        self._read_on()
                        self._hang_up()
                        await asyncio.shield(self._lost)
        finally:
            if not self._lost.done():
                self._transport.abort()  # wakes whoever waits to send
            self.on_slow = self.on_gone = _nothing  # whoever listens holds this peer, too
            self._release()

    async def leave(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Close a connection to which nobody listens."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.listen(_ignore))
            await self.close(code, reason, farewell)

    def _hang_up(self) -> None:
        """Close the connection once everything is sent and the peer has been quiet for a while.

        Closing while bytes are unread makes TCP reset the connection, and who is still sending
        never sees what we said last. Of a peer that broke the protocol no Close can be read any
        more, so it is waited for.
        """
        if self._hanging_up is not None:
            self._hanging_up.cancel()
        quiet_seconds = QUIET_SECONDS if self._fault else 0
        self._hanging_up = self._loop.call_later(quiet_seconds, self._say_no_more)

    def _say_no_more(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        else:
            self._transport.close()


def _is_utf8(data: bytes) -> bool:
    """Tell whether the text of a message is UTF-8 (RFC 6455 8.1); nearly all of it is ASCII."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _ignore(_message: bytes) -> None:
    """Throw a message away."""


def _nothing() -> None:
    """Do nothing."""
