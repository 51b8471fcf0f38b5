"""One end of a session: an open WebSocket, client or upstream, with what aiohttp leaves open.

aiohttp frames and unframes; closing, liveness and the judgement of a slow reader are ours:

- ``close()`` of aiohttp is not bounded against a peer that does not read, does not wait for the
  peer's Close when somebody is receiving, and always answers a Close with 1000. It calls it itself
  when a message is too big, and closes on unread bytes: then TCP resets, and the 1009 is lost.
- It takes a Close with a code that may not travel (Autobahn 7.9.5).
- Cancelling a send that waits for room makes the next one fail, and every other that waits
  (aiohttp 3.14.0 to 3.14.5, ``_drain_helper`` without a shield). Nothing here cancels a send:
  who does not read in time loses the transport, and that wakes the sender.
- Its heartbeat closes the transport, which waits for a peer that is gone to read.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientWebSocketResponse, WebSocketError, WSMsgType, web
from aiohttp.http import WSMessageDecodeText, WSMessageNoDecodeText

from relay.core.close import SENDABLE, CloseCode, sendable
from relay.core.events import Binary

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


class ClientSocket(web.WebSocketResponse[bool]):
    """A client's WebSocket: a ``Peer`` closes it, aiohttp only lets go of it afterwards."""

    async def close(self, **how: Any) -> bool:
        """Let go of a connection that is closed; else do nothing."""
        return _transport(self).is_closing() and await super().close(**how)


class UpstreamSocket(ClientWebSocketResponse[bool]):
    """An upstream's WebSocket: a ``Peer`` closes it, aiohttp only lets go of it afterwards."""

    async def close(self, **how: Any) -> bool:
        """Let go of a connection that is closed; else do nothing."""
        return _transport(self).is_closing() and await super().close(**how)


Socket = ClientSocket | UpstreamSocket
Frame = WSMessageDecodeText | WSMessageNoDecodeText


def _transport(socket: Socket) -> asyncio.Transport:
    """Return the transport below: aiohttp has no public way to abort a connection."""
    writer = socket._writer  # noqa: SLF001
    assert writer is not None, "the handshake is over"  # noqa: S101
    return writer.transport


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take, in seconds, and how much may wait for it, in bytes."""

    slow_seconds: float = 10.0
    max_buffered_bytes: int = 4 * 1024 * 1024
    ping_seconds: float = PING_SECONDS
    silence_seconds: float = SILENCE_SECONDS
    close_seconds: float = CLOSE_SECONDS


class Peer:
    """Sends and receives messages, and knows how the connection stands.

    One task receives, any task sends. Attributes:
        close_code: what the peer closed with; 1006 when the connection was lost.
        on_slow: called once, when the peer stopped reading.
    """

    def __init__(self, socket: Socket, patience: Patience) -> None:
        self.close_code: int = CloseCode.ABNORMAL_CLOSURE
        self.close_reason = ""
        self.on_slow: Callable[[], None] = _nothing
        self.messages_sent = self.bytes_sent = 0
        self._socket = socket
        self._transport = _transport(socket)
        self._at_once_bytes = self._transport.get_write_buffer_limits()[1]
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._heard_at = self._pinged_at = self._loop.time()
        self._receiving = False
        self._in_flight_bytes = 0
        self._fault: int | None = None

    async def receive(self) -> bytes | None:
        """Return the next message; None once the peer has closed or is lost.

        Cancelling is safe: no message is lost.
        """
        while not self._gone.is_set():
            frame = await self._receive_frame()
            match frame.type:
                case WSMsgType.TEXT if _is_utf8(frame.data):
                    message: bytes = frame.data
                    return message
                case WSMsgType.BINARY:
                    return Binary(frame.data)
                case WSMsgType.PING:
                    await self._send(frame.data, WSMsgType.PONG)
                case WSMsgType.PONG:
                    continue
                case _:
                    self._note_end(frame)
        return None

    async def _receive_frame(self) -> Frame:
        self._heard_at = self._loop.time()
        self._receiving = True
        try:
            return await self._socket.receive()
        finally:
            self._receiving = False

    def _note_end(self, frame: Frame) -> None:
        match frame.type:
            case WSMsgType.TEXT:
                self._fail(CloseCode.INVALID_DATA)
            case WSMsgType.CLOSE if not frame.data:
                self._lose(CloseCode.NO_STATUS_RECEIVED)
            case WSMsgType.CLOSE if frame.data in SENDABLE:
                self._lose(frame.data, frame.extra or "")
            case WSMsgType.CLOSE:
                self._fail(CloseCode.PROTOCOL_ERROR)
            case WSMsgType.ERROR if isinstance(frame.data, WebSocketError):
                self._fail(frame.data.code)
            case _:
                self._lose(CloseCode.ABNORMAL_CLOSURE)

    async def discard(self) -> None:
        """Receive, and throw away, until the peer has closed or is lost."""
        while await self.receive() is not None:
            pass

    async def send(self, message: bytes) -> None:
        """Send a text message; return when there is room for the next.

        Does nothing when the peer is gone. Must not be cancelled.
        """
        self.messages_sent += 1
        self.bytes_sent += len(message)
        await self._send(message, WSMsgType.TEXT)

    async def _send(self, data: bytes, opcode: WSMsgType) -> None:
        waiting_bytes = self._transport.get_write_buffer_size()
        if not waiting_bytes and len(data) < self._at_once_bytes:
            await self._send_frame(data, opcode)
            return
        if waiting_bytes > self._patience.max_buffered_bytes + self._in_flight_bytes:
            self.on_slow()
        self._in_flight_bytes = max(self._in_flight_bytes, len(data))
        watch = _Watch(self._transport, waiting_bytes + len(data), self._patience, self.on_slow)
        try:
            await self._send_frame(data, opcode)
        finally:
            watch.cancel()
            self._in_flight_bytes = 0

    async def _send_frame(self, data: bytes, opcode: WSMsgType) -> None:
        with suppress(ConnectionError):  # receive() tells that the peer is gone
            await self._socket.send_frame(data, opcode)

    async def keep_alive(self, now: float) -> bool:
        """Ping the peer when it is time; tell whether it still lives.

        Who is not being read cannot be heard, and is not pinged behind a full buffer.
        """
        if self._receiving and now - self._heard_at >= self._patience.silence_seconds:
            return False
        due = now - self._pinged_at >= self._patience.ping_seconds
        if due and not self._transport.get_write_buffer_size():
            self._pinged_at = now
            await self._send_frame(b"", WSMsgType.PING)
        return True

    def next_look(self, now: float) -> float:
        """Return when ``keep_alive`` wants to be called again."""
        patience = self._patience
        due = self._pinged_at + patience.ping_seconds
        if self._receiving:
            due = min(due, self._heard_at + patience.silence_seconds)
        # What is due and cannot be done now is tried again, and not at once.
        return max(due, now + patience.ping_seconds / RETRIES)

    async def close(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Say why, close, wait for the peer's Close within a bound, and free the connection.

        Somebody should go on receiving, and throw away what comes, or the Close is not seen.
        Code and reason become ones that may be sent; who broke the protocol is told that.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                last_words = tasks.create_task(self._say_goodbye(code, reason, farewell))
                try:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._patience.close_seconds):
                            await self._gone.wait()
                            await asyncio.wait({last_words})
                            await self._hang_up()
                finally:
                    self._abort()  # wakes whoever waits to send
        finally:
            await self._socket.close()

    async def leave(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Close a connection from which nobody receives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.discard())
            await self.close(code, reason, farewell)

    async def _say_goodbye(self, code: int, reason: str, farewell: bytes | None) -> None:
        if farewell is not None:
            self.messages_sent += 1
            self.bytes_sent += len(farewell)
            await self._send_frame(farewell, WSMsgType.TEXT)
        legal, cut = sendable(self._fault or code, reason)
        await self._send_frame(struct.pack("!H", legal) + cut, WSMsgType.CLOSE)

    def _lose(self, code: int, reason: str = "") -> None:
        self.close_code, self.close_reason = code, reason
        self._gone.set()

    def _fail(self, code: int) -> None:
        """Note that the peer broke the protocol; nothing it says from here on can be read."""
        self._fault = code
        self._lose(code)

    def _abort(self) -> None:
        if not _is_lost(self._transport):
            self._transport.abort()

    async def _hang_up(self) -> None:
        """Close the connection once everything is sent, and wait until the peer has, too."""
        if not _is_lost(self._transport):
            quiet_seconds = QUIET_SECONDS if self._fault else 0
            await _Lingering(self._transport, quiet_seconds).lost.wait()


def _is_lost(transport: asyncio.Transport) -> bool:
    """Tell whether nothing is left of a connection.

    It has no protocol then. ``abort`` fails on one that closed after it had written the rest
    (CPython's ``_force_close`` asks only for ``_conn_lost``, which is not set on that way).
    """
    return transport.get_protocol() is None


class _Lingering(asyncio.Protocol):
    """Ends a connection: sends no more, and throws away what comes until the peer has closed.

    Closing while bytes are unread makes TCP reset the connection, and who is still sending never
    sees what we said last. Of a peer that broke the protocol no Close can be read any more: it is
    done when it has been quiet for a while.
    """

    def __init__(self, transport: asyncio.Transport, quiet_seconds: float) -> None:
        self.lost = asyncio.Event()
        self._transport = transport
        self._before = transport.get_protocol()
        self._quiet_seconds = quiet_seconds
        transport.set_protocol(self)
        if not transport.is_closing():
            transport.resume_reading()
        self._send_eof_when_quiet()

    def _send_eof_when_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._quiet_seconds, self._send_eof)

    def _send_eof(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def data_received(self, _data: bytes) -> None:
        self._timer.cancel()
        self._send_eof_when_quiet()

    def pause_writing(self) -> None:
        self._before.pause_writing()

    def resume_writing(self) -> None:
        self._before.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._before.connection_lost(exc)
        self.lost.set()


class _Watch:
    """Calls back when a transport's buffer has not shrunk for so many seconds."""

    LOOKS = 4
    """How often it looks in that time."""

    def __init__(
        self,
        transport: asyncio.Transport,
        waiting_bytes: int,
        patience: Patience,
        stopped: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._waiting_bytes = waiting_bytes
        self._interval_seconds = patience.slow_seconds / self.LOOKS
        self._stopped = stopped
        self._idle_looks = 0
        self._look_later()

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_seconds, self._look)

    def _look(self) -> None:
        waiting_bytes = self._transport.get_write_buffer_size()
        shrunk = waiting_bytes < self._waiting_bytes
        self._waiting_bytes = waiting_bytes
        self._idle_looks = 0 if shrunk else self._idle_looks + 1
        if self._idle_looks < self.LOOKS:
            self._look_later()
        else:
            self._stopped()

    def cancel(self) -> None:
        self._timer.cancel()


def _is_utf8(data: bytes) -> bool:
    """Tell whether the text of a message is UTF-8 (RFC 6455 8.1); nearly all of it is ASCII."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _nothing() -> None:
    """Do nothing."""
