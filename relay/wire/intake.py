"""How much is read from a peer: a bounded part in each turn of the event loop.

::

    READING ── TURN_USED ──> TURN_OVER ── NEXT_TURN ──> READING
       │                         ^
    FILLED                    DRAINED
       └────────> FULL ──────────┘

LEAVE leads from each of them to LEAVING, and STOP from every state to STOPPED. The transport reads
in the states READING and LEAVING.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum, auto
from time import monotonic
from typing import Final

from relay.core.close import CloseCode
from relay.core.states import step
from relay.wire.broken_protocol import BrokenProtocol
from relay.wire.frame_reader import TURN_BYTES, FrameReader
from relay.wire.state import ConnectionState, Lifecycle
from relay.wire.waiting_data import WaitingData


class IntakeState(Enum):
    """Whether the relay reads from a peer.

    TURN_OVER: it goes on in the next turn of the loop. FULL: too many messages wait to be taken.
    LEAVING: it reads a bounded number of bytes more, to find the Close of the peer.
    """

    READING = auto()
    TURN_OVER = auto()
    FULL = auto()
    LEAVING = auto()
    STOPPED = auto()


class IntakeEvent(Enum):
    """An event that changes whether the relay reads."""

    TURN_USED = auto()
    NEXT_TURN = auto()
    FILLED = auto()
    DRAINED = auto()
    LEAVE = auto()
    STOP = auto()


_ENDS: Final = {
    IntakeEvent.LEAVE: IntakeState.LEAVING,
    IntakeEvent.STOP: IntakeState.STOPPED,
}

STEPS: Final[Mapping[IntakeState, Mapping[IntakeEvent, IntakeState]]] = {
    IntakeState.READING: _ENDS
    | {IntakeEvent.TURN_USED: IntakeState.TURN_OVER, IntakeEvent.FILLED: IntakeState.FULL},
    IntakeState.TURN_OVER: _ENDS | {IntakeEvent.NEXT_TURN: IntakeState.READING},
    IntakeState.FULL: _ENDS | {IntakeEvent.DRAINED: IntakeState.TURN_OVER},
    IntakeState.LEAVING: {IntakeEvent.STOP: IntakeState.STOPPED},
    IntakeState.STOPPED: {
        IntakeEvent.LEAVE: IntakeState.STOPPED,
        IntakeEvent.STOP: IntakeState.STOPPED,
    },
}
"""Every legal step."""

READING: Final = IntakeState.READING  # to read a member from its enumeration takes a call


class Intake:
    """Passes the bytes of a peer to its reader of frames.

    It has the interface of aiohttp's parsers, for the bytes that came with the handshake.

    Attributes:
        state: Changed by the methods only.
        received_at: When the last bytes came, or when reading was resumed, by `time.monotonic`.
    """

    __slots__ = (
        "_fail",
        "_frames",
        "_leave_bytes",
        "_life",
        "_on_discarded",
        "_transport",
        "_waiting_data",
        "received_at",
        "state",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        life: Lifecycle,
        frames: FrameReader,
        *,
        fail: Callable[[CloseCode], None],
        on_discarded: Callable[[], None],
        waiting_data: WaitingData | None = None,
    ) -> None:
        """Call ``fail`` with the close code when the peer breaks the protocol.

        Call ``on_discarded`` when bytes come behind the last frame of the peer.
        """
        self.state = READING
        self.received_at = monotonic()
        self._transport = transport
        self._life = life
        self._frames = frames
        self._fail = fail
        self._on_discarded = on_discarded
        self._leave_bytes = TURN_BYTES
        self._waiting_data = waiting_data

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes of the peer; return that the parser goes on, and that none are left."""
        self.received_at = monotonic()
        if self.state is not READING:
            self._feed_later(data)
            return False, b""
        frames = self._frames
        try:
            frames.read(data, self.received_at)
        except BrokenProtocol as broken:
            self._break(broken)
        if frames.holds_much:
            self._note_waiting()
        if frames.has_more or len(data) > TURN_BYTES:
            self._use_turn()
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: the peer notices the end of the connection itself."""

    def _read(self, data: bytes) -> None:
        try:
            self._frames.read(data, self.received_at)
        except BrokenProtocol as broken:
            self._break(broken)

    def _break(self, broken: BrokenProtocol) -> None:
        self._frames.is_stopped = True
        self._fail(broken.code)

    def _feed_later(self, data: bytes) -> None:
        """Take bytes that come though the relay does not read, or while it leaves."""
        if self.state is not IntakeState.LEAVING:
            # After the handshake, aiohttp resumes reading.
            self._transport.pause_reading()
            self._frames.keep(data)
            return
        self._leave_bytes -= len(data)
        if self._leave_bytes < 0:
            self._take(IntakeEvent.STOP)
            self._transport.pause_reading()
        else:
            self._read(data)

    def _use_turn(self) -> None:
        """Go on in the next turn; behind the last frame of the peer, discard the bytes."""
        if not self._life.is_receiving:
            self._frames.discard()
            self._on_discarded()
        if self.state is READING:
            self._end_turn(IntakeEvent.TURN_USED)

    def _end_turn(self, event: IntakeEvent) -> None:
        self._take(event)
        self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        if self.state is not IntakeState.TURN_OVER or self._life.state is ConnectionState.CLOSED:
            return
        self._take(IntakeEvent.NEXT_TURN)
        self._read(b"")
        if self._frames.has_more:
            self._use_turn()
        elif self._is_reading():
            self._transport.resume_reading()

    def _is_reading(self) -> bool:
        return self.state is READING

    def waiting_bytes(self) -> int:
        """Return the bytes of a message that wait for its rest."""
        return self._frames.held_bytes()

    def on_slow(self) -> None:
        """Break with the peer: all peers together hold too much, and this one the most.

        A peer that has closed is discarded already.
        """
        if self._life.is_receiving:
            self._break(BrokenProtocol(CloseCode.MESSAGE_TOO_BIG))

    def _note_waiting(self) -> None:
        frames, waiting_data = self._frames, self._waiting_data
        frames.holds_much = frames.held_bytes() > TURN_BYTES
        if waiting_data is None:
            return
        if frames.holds_much and self._life.is_receiving:
            waiting_data.note(self)
        else:
            waiting_data.discard(self)

    def fill(self) -> None:
        """Read no more: too many messages wait."""
        self._frames.is_stopped = True
        if self.state is READING:
            self._take(IntakeEvent.FILLED)
            self._transport.pause_reading()

    def drain(self) -> None:
        """Read again from the next turn on, if it was full: the messages were taken."""
        if self.state is IntakeState.FULL and self._life.state is not ConnectionState.CLOSED:
            self._frames.is_stopped = not self._life.is_receiving
            self.received_at = monotonic()
            self._end_turn(IntakeEvent.DRAINED)

    def leave(self) -> None:
        """Read a bounded number of bytes more: no message of the peer is wanted."""
        self._take(IntakeEvent.LEAVE)
        if self.state is IntakeState.LEAVING and self._life.state is not ConnectionState.CLOSED:
            self._frames.is_stopped = False
            self._transport.resume_reading()
            self._read(b"")

    def end(self) -> None:
        """Forget the reader: it leads back here, and TLS would stay in memory with it."""
        self._take(IntakeEvent.STOP)
        if self._waiting_data is not None:
            self._waiting_data.discard(self)
        self._frames.on_message = self._frames.on_control = _ignore
        self._fail = self._on_discarded = _ignore

    def _take(self, event: IntakeEvent) -> None:
        self.state = step("intake", STEPS, self.state, event)


def _ignore(*_values: object) -> None:
    """Do nothing."""
