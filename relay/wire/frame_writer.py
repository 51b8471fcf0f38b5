"""Frames to a peer: whether there is room for more, and whether the peer reads them."""

import asyncio
from collections.abc import Callable

from relay.core.messages import Binary
from relay.wire.frames import BINARY, CLOSE, PONG, TEXT, encode, mask_keys
from relay.wire.slow_reader import SlowReader
from relay.wire.state import ConnectionState, Lifecycle
from relay.wire.tcp_info import acknowledged_bytes, is_unreachable
from relay.wire.waiting_data import WaitingData


class FrameWriter:
    """Writes frames to the transport of a peer.

    Attributes:
        at_once_bytes: The longest message that `Peer.send_at_once` sends.
        room: Done when there is room again; None while there is room.
        on_slow: Called once or more, when the peer stopped reading.
        messages_sent: Messages that were written to the transport.
        bytes_sent: Their payload bytes.
    """

    __slots__ = (
        "_due_pong",
        "_keys",
        "_life",
        "_look_timer",
        "_slow_reader",
        "_transport",
        "_waiting_data",
        "_written_bytes",
        "at_once_bytes",
        "bytes_sent",
        "messages_sent",
        "on_slow",
        "room",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        life: Lifecycle,
        slow_reader: SlowReader,
        *,
        masks: bool,
        waiting_data: WaitingData | None = None,
    ) -> None:
        self.at_once_bytes = transport.get_write_buffer_limits()[1]
        self.room: asyncio.Future[None] | None = None
        self.on_slow: Callable[[], None] = do_nothing
        self.messages_sent = self.bytes_sent = self._written_bytes = 0
        self._transport = transport
        self._life = life
        self._slow_reader = slow_reader
        self._keys = mask_keys() if masks else None
        self._waiting_data = waiting_data
        self._due_pong: bytes | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    def send_at_once(self, message: bytes) -> bool:
        """Send a message if there is room for it and for more; return whether there was."""
        if self.room is not None or len(message) > self.at_once_bytes:
            return False
        self.write(BINARY if type(message) is Binary else TEXT, message)
        return True

    def send(self, message: bytes) -> None:
        """Write a message, whether there is room or not."""
        self.write(BINARY if type(message) is Binary else TEXT, message)

    async def send_and_wait(self, message: bytes) -> None:
        """Write a message and wait for room; call `on_slow` if too much waits for the peer."""
        slow_reader = self._slow_reader
        if slow_reader.has_piled_up(self.waiting_bytes()):
            self.on_slow()
        slow_reader.in_flight_bytes = max(slow_reader.in_flight_bytes, len(message))
        try:
            self.send(message)
            if self.room is not None:
                self._note_waiting()
                await asyncio.shield(self.room)  # other tasks wait for it too
        finally:
            slow_reader.in_flight_bytes = 0

    def write(self, opcode: int, payload: bytes) -> None:
        """Write a frame; write nothing after our Close (RFC 6455 5.5.1)."""
        transport = self._transport
        if not self._life.is_sending or transport.is_closing():
            return
        frame = encode(opcode, payload, next(self._keys) if self._keys is not None else None)
        is_waiting = transport.get_write_buffer_size() > 0
        transport.write(frame)
        self._written_bytes += len(frame)
        if opcode < CLOSE:
            self.messages_sent += 1
            self.bytes_sent += len(payload)
        if is_waiting:
            self._begin_looks()

    def pong(self, payload: bytes) -> None:
        """Answer a ping; without room, only the last of several (RFC 6455 5.5.3)."""
        self._due_pong = None if self.room is None else payload
        if self._due_pong is None:
            self.write(PONG, payload)

    def waiting_bytes(self) -> int:
        """Return the bytes that wait; asyncio's TLS cannot answer once the connection is lost."""
        if self._life.state is ConnectionState.CLOSED:
            return 0
        return self._transport.get_write_buffer_size()

    def pause(self) -> None:
        """Note that there is no room: many bytes wait for the peer."""
        self.room = self.room or asyncio.get_running_loop().create_future()
        self._begin_looks()
        self._note_waiting()

    def resume(self) -> None:
        """Note that there is room again."""
        self._make_room()
        if self._due_pong is not None:
            self.pong(self._due_pong)

    def stop(self) -> None:
        """Wake the tasks that wait for room, and look no more: the connection is lost."""
        self._make_room()
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None  # it leads back here

    def _note_waiting(self) -> None:
        if self._waiting_data is not None:
            self._waiting_data.note(self)

    def _make_room(self) -> None:
        if self._waiting_data is not None:
            self._waiting_data.discard(self)
        if self.room is not None:
            self.room.set_result(None)
            self.room = None

    def _begin_looks(self) -> None:
        if self._look_timer is None:
            # As if nothing waited: the peer has to read more than this by the first look.
            read_bytes = self._written_bytes + acknowledged_bytes(self._transport)
            loop = asyncio.get_running_loop()
            self._slow_reader.begin(loop.time(), read_bytes=read_bytes)
            self._look_later(loop)

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        look_at = self._slow_reader.next_look
        self._look_timer = None if look_at is None else loop.call_at(look_at, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        waiting_bytes = self.waiting_bytes()
        sent_bytes = self._written_bytes - waiting_bytes
        read_bytes = sent_bytes + acknowledged_bytes(self._transport)
        is_slow = self._slow_reader.look(
            loop.time(),
            waiting_bytes=waiting_bytes,
            read_bytes=read_bytes,
            is_away=is_unreachable(self._transport),
        )
        self._look_later(loop)
        if is_slow:
            self.on_slow()


def do_nothing() -> None:
    """Do nothing."""
