"""One end of a session: an open WebSocket, client or upstream, after its opening handshake.

aiohttp does the opening handshake and parses frames; the connection itself is ours. The relay acts
on a message in the very call that read it. Closing, liveness and slow readers are written once, for
both legs. aiohttp has these problems:

- ``close()`` is not bounded against a peer that does not read, does not wait for the peer's Close
  while a task receives, and always answers a Close with 1000. aiohttp itself calls it when a
  message is too big, and closes while bytes are unread: then TCP resets, and the 1009 is lost.
- It accepts a Close with an illegal code (Autobahn 7.9.5).
- Cancelling a send that waits for room makes the next send fail, and every other send that waits
  (aiohttp 3.14.0 to 3.14.5, ``_drain_helper`` without a shield).
- Its heartbeat closes the transport, which waits until a lost peer reads.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from relay.core.close import CloseCode, sendable
from relay.core.rates import FrameRate
from relay.wire.frame_reader import FrameReader, read_close
from relay.wire.frame_writer import FrameWriter, do_nothing
from relay.wire.frames import CLOSE, PING
from relay.wire.hang_up import HangUp
from relay.wire.inbox import Inbox, MessageHandler
from relay.wire.intake import Intake, IntakeState
from relay.wire.liveness import PING_SECONDS, SILENCE_SECONDS, Liveness
from relay.wire.slow_reader import SlowReader
from relay.wire.state import ConnectionEvent, ConnectionState, Lifecycle
from relay.wire.waiting_data import WaitingData

CLOSE_SECONDS = 1.0
"""How long a peer has to answer a Close."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a peer may take, in seconds, and how much may wait for it, in bytes.

    Attributes:
        frames_per_second: Control frames and small fragments that it may send.
        waiting_data: Limits the data that waits for several peers together; None for no limit.
    """

    slow_seconds: float = 10.0
    max_buffered_bytes: int = 4 * 1024 * 1024
    ping_seconds: float = PING_SECONDS
    silence_seconds: float = SILENCE_SECONDS
    close_seconds: float = CLOSE_SECONDS
    frames_per_second: float = 200.0
    waiting_data: WaitingData | None = None


class Peer(asyncio.Protocol):
    """Sends and receives messages, and closes the connection.

    One task listens or receives; any task sends. Attributes:
        intake: Takes the bytes that came before the connection was taken over.
        data_received: The method of a protocol, which is that of the intake.
        send_at_once: Sends a message if there is room for it and for more; returns whether there
            was.
        on_gone: Called once, if the peer closed or was lost while earlier messages of it are still
            being handled; the listener learns it later.
    """

    __slots__ = (  # read for every message
        "__weakref__",
        "_close_seconds",
        "_hang_up",
        "_http",
        "_inbox",
        "_life",
        "_liveness",
        "_release",
        "_transport",
        "_writer",
        "data_received",
        "intake",
        "on_gone",
        "send_at_once",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        patience: Patience,
        *,
        max_message_bytes: int,
        masks: bool = False,
        release: Callable[[], None] = do_nothing,
    ) -> None:
        """Take over a connection after its handshake.

        ``masks`` is for the side that dialled; ``release`` is called once the connection is closed.
        """
        self.on_gone: Callable[[], None] = do_nothing
        self._transport = transport
        self._release = release
        self._close_seconds = patience.close_seconds
        self._life = Lifecycle()
        self._hang_up = HangUp(transport, self._life)
        frames = FrameReader(
            FrameRate(patience.frames_per_second),
            max_message_bytes=max_message_bytes,
            is_masked=not masks,
        )
        self.intake = Intake(
            transport,
            self._life,
            frames,
            fail=self._fail,
            on_discarded=self._hang_up.postpone,
            waiting_data=patience.waiting_data,
        )
        self._inbox = Inbox(self._life, self.intake)
        frames.on_message, frames.on_control = self._inbox.deliver, self._read_control
        self._writer = FrameWriter(
            transport,
            self._life,
            SlowReader(
                slow_seconds=patience.slow_seconds,
                away_seconds=patience.silence_seconds,
                max_buffered_bytes=patience.max_buffered_bytes,
            ),
            masks=masks,
            waiting_data=patience.waiting_data,
        )
        self._liveness = Liveness(
            self.intake.received_at,
            ping_seconds=patience.ping_seconds,
            silence_seconds=patience.silence_seconds,
        )
        # Not methods that call these: a call more for every message costs more than a look.
        self.data_received = self.intake.feed_data  # type: ignore[method-assign,assignment]
        self.send_at_once = self._writer.send_at_once
        self._http = transport.get_protocol()
        transport.set_protocol(self)

    @property
    def close_code(self) -> int:
        """The code that the peer closed with; 1006 when the connection was lost."""
        return self._life.close_code

    @property
    def close_reason(self) -> str:
        """The reason in the Close of the peer."""
        return self._life.close_reason

    @property
    def read_at(self) -> float:
        """When the message that is handled now was read.

        It is a time of `time.monotonic`: uvloop's clock is the same, in whole milliseconds.
        """
        return self._inbox.read_at

    @property
    def messages_sent(self) -> int:
        """Messages that were written."""
        return self._writer.messages_sent

    @property
    def bytes_sent(self) -> int:
        """Payload bytes of the messages that were written."""
        return self._writer.bytes_sent

    @property
    def on_slow(self) -> Callable[[], None]:
        """Called once or more, when the peer stopped reading."""
        return self._writer.on_slow

    @on_slow.setter
    def on_slow(self, on_slow: Callable[[], None]) -> None:
        self._writer.on_slow = on_slow

    # From the peer.

    async def listen(self, handle: MessageHandler) -> None:
        """Give each message to ``handle``, in the call that reads it, until the peer is gone.

        The remainder that ``handle`` returns is awaited before the next message is taken.
        """
        await self._inbox.listen(handle)

    async def receive(self) -> bytes | None:
        """Return the next message; None once the peer has closed or is lost.

        Cancelling is safe: no message is lost.
        """
        return await self._inbox.receive()

    def _read_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._writer.pong(payload)
        elif opcode == CLOSE:
            self._end(ConnectionEvent.CLOSE_RECEIVED, *read_close(payload))

    def _fail(self, code: int) -> None:
        """Note that the peer broke the protocol; nothing more from it can be read."""
        self._life.failure_code = code
        self._end(ConnectionEvent.FAILED, code)

    def _end(self, event: ConnectionEvent, code: int, reason: str = "") -> None:
        """Note an event after which no message comes; the first of them gives code and reason."""
        life = self._life
        is_first = life.is_receiving
        if is_first:
            life.close_code, life.close_reason = code, reason
        life.take(event)
        if is_first and not self._inbox.wake():
            self.on_gone()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing is left of the connection."""
        self._writer.stop()
        self._hang_up.cancel()
        self._end(ConnectionEvent.TCP_CLOSED, CloseCode.ABNORMAL_CLOSURE)
        self._http.connection_lost(exc)
        self.intake.end()

    # To the peer.

    async def send(self, message: bytes) -> None:
        """Send a message; return when there is room for the next.

        Does nothing when the peer is gone.
        """
        if not self.send_at_once(message):
            await self._writer.send_and_wait(message)

    def pause_writing(self) -> None:
        """Note that many bytes wait for the peer."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """Note that there is room again."""
        self._writer.resume()

    def keep_alive(self, now: float) -> bool:
        """Ping the peer when it is time; return whether it is alive.

        Behind bytes that wait, no ping is sent.
        """
        if not self._liveness.is_alive(now, self._received_at()):
            return False
        if self._liveness.is_ping_due(now) and not self._writer.waiting_bytes():
            self._liveness.pinged(now)
            self._writer.write(PING, b"")
        return True

    def note_pause(self, now: float) -> None:
        """Count the silence of the peer from now on: the relay could not read before."""
        self.intake.received_at = now

    def next_look(self, now: float) -> float:
        """Return when ``keep_alive`` wants to be called again."""
        return self._liveness.next_look(now, self._received_at())

    def _received_at(self) -> float | None:
        """Return when the last bytes came; None while the relay does not read from the peer."""
        intake = self.intake
        return None if intake.state is IntakeState.FULL else intake.received_at

    # The end.

    async def close(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Send a Close, wait for the peer's Close within a bound, and free the connection.

        ``farewell`` is a message that is sent before. A task should go on listening and discard the
        messages, or the peer's Close is not seen. Code and reason become ones that may be sent; a
        peer that broke the protocol gets the code for this.
        """
        life = self._life
        try:
            if farewell is not None:
                self._writer.send(farewell)
            if life.is_sending:
                legal, cut = sendable(life.failure_code or code, reason)
                self._writer.write(CLOSE, struct.pack("!H", legal) + cut)
                life.take(ConnectionEvent.CLOSE_SENT)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._close_seconds):
                    await asyncio.shield(life.peer_ended)
                    if life.state is not ConnectionState.CLOSED:
                        self.intake.drain()
                        self._hang_up.schedule()
                        await asyncio.shield(life.tcp_closed)
        finally:
            if life.state is not ConnectionState.CLOSED:
                self._transport.abort()  # wakes the tasks that wait for room
            self.on_slow = self.on_gone = do_nothing  # they hold the session, which holds this peer
            self._release()

    async def leave(self, code: int, reason: str, farewell: bytes | None = None) -> None:
        """Close a connection that no task listens to; read little more from it."""
        self.intake.leave()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.listen(_discard))
            await self.close(code, reason, farewell)


def _discard(_message: bytes) -> None:
    """Discard a message."""
