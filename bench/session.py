"""One session of the load: it sends client events, and checks all messages that it receives."""

import asyncio
import json
import time
from collections.abc import Callable
from enum import Enum, auto

from events import (
    APPEND,
    APPEND_HEAD,
    APPENDS_PER_DELTA,
    DELTA,
    WrongAudio,
    delta_head,
    ends_response,
    is_answered,
)
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

TEXT, CLOSE = WSMsgType.TEXT, WSMsgType.CLOSE

CONFIGURE = json.dumps(
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief. " * 20}}
).encode()


class Measurements:
    """The measurements of all sessions.

    Attributes:
        received: Messages from the relay.
        answered: Deltas among them; each proves that all appends before it arrived, in order.
        since_ns: The beginning of the window, in ns of CLOCK_MONOTONIC.
        until_ns: The end of the window.
        latencies_ns: From an append to its delta, for the appends in the window.
        upgrades_ns: Of connections, the time until the 101.
        faults: Lost, late, reordered and changed messages, and lost connections.
    """

    def __init__(self) -> None:
        self.received = self.answered = 0
        self.since_ns = self.until_ns = 0
        self.latencies_ns: list[int] = []
        self.upgrades_ns: list[int] = []
        self.faults: list[str] = []

    @property
    def relayed(self) -> int:
        """The number of messages of both directions that were certainly relayed."""
        return self.received + APPENDS_PER_DELTA * self.answered


class ExpectedDelta:
    """The next delta of a session.

    Attributes:
        head: Its bytes before the audio.
        sequence: The number of the append that it answers.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._response = 0
        self.head = delta_head(session, 0)
        self.sequence = next(n for n in range(APPENDS_PER_DELTA) if is_answered(session, n))

    def accept(self, message: bytes) -> int:
        """Return the time at which the append was sent, and expect the delta after this one.

        Raises:
            WrongAudio: The message is not the expected delta.
        """
        sent_ns, session, sequence = DELTA.stamp(message, self.head)
        if session != self._session or sequence != self.sequence:
            raise WrongAudio(f"the answer to {sequence} of {session}, not to {self.sequence}")
        self.sequence += APPENDS_PER_DELTA
        if ends_response(session, sequence):
            self._response += 1
            self.head = delta_head(session, self._response)
        return sent_ns


class Phase(Enum):
    """The life of a session, in this order."""

    TALKING = auto()
    FINISHING = auto()  # sends no more appends, and waits for the last answers
    LEAVING = auto()  # closes the connection, or has lost it


class LoadSession(WSListener):
    """A client.

    Attributes:
        number: The number of the session in its stamps.
        upgraded_ns: The time of the 101.
        ready: Done when the upstream has confirmed the configuration.
        finished: Done when all appends are answered, after ``finish``.
        closed: Done when the connection has ended.
        on_answer: Called with the session for each delta.
    """

    def __init__(self, number: int, measurements: Measurements, *, configures: bool) -> None:
        """Make a session; with ``configures`` it sends a ``session.update``."""
        loop = asyncio.get_running_loop()
        self.number = number
        self.upgraded_ns = 0
        self.ready: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.on_answer: Callable[[LoadSession], None] = LoadSession.ignore_answer
        self._measurements = measurements
        self._configures = configures
        self._transport: WSTransport
        self._next = 0
        self._expected = ExpectedDelta(number)
        self._phase = Phase.TALKING

    # Sending.

    def append(self) -> bool:
        """Send 20 ms of audio; return whether a delta will answer it."""
        if self._phase is Phase.LEAVING:
            return True
        sequence = self._next
        self._next += 1
        stamp = (time.monotonic_ns(), self.number, sequence)
        self._transport.send(TEXT, APPEND.encode(APPEND_HEAD, stamp))
        return is_answered(self.number, sequence)

    def ask(self) -> None:
        """Send audio up to the next append that a delta will answer."""
        while not self.append():
            pass

    def ignore_answer(self) -> None:
        """Send nothing after an answer."""

    def finish(self) -> None:
        """Send the appends that are missing for a last answer, and no more."""
        if self._next and not is_answered(self.number, self._next - 1):
            self.ask()
        if self._phase is Phase.TALKING:
            self._phase = Phase.FINISHING
        self._check_finished()

    async def leave(self, seconds: float) -> None:
        """Close the connection; wait at most ``seconds`` for the close of the relay."""
        self._phase = Phase.LEAVING
        if not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode.OK)
        await asyncio.wait({self.closed}, timeout=seconds)
        self._transport.disconnect(graceful=False)

    # Receiving.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport, and the time."""
        self._transport = transport
        self.upgraded_ns = time.monotonic_ns()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Check a message."""
        if frame.msg_type == CLOSE:
            self._lose(f"closed with {frame.get_close_code()} {frame.get_close_reason()}")
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        self._measurements.received += 1
        try:
            if message.startswith(self._expected.head):
                self._receive_delta(message)
            else:
                self._receive_event(message)
        except (WrongAudio, ValueError, KeyError) as wrong:
            self._fault(str(wrong))

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Resolve ``closed``; the end of the connection is a fault before ``leave``."""
        self._lose("the connection was lost")
        self.closed.set_result(None)

    def _receive_event(self, message: bytes) -> None:
        event = json.loads(message)
        match event["type"]:
            case "session.created" if self._configures:
                self._transport.send(TEXT, CONFIGURE)
            case "session.created" | "session.updated":
                if not self.ready.done():
                    self.ready.set_result(None)
            case "response.output_audio.delta":
                self._receive_delta(message)
            case "error":
                self._fault(str(event["error"]))

    def _receive_delta(self, message: bytes) -> None:
        now_ns = time.monotonic_ns()
        sent_ns = self._expected.accept(message)
        measurements = self._measurements
        measurements.answered += 1
        if measurements.since_ns <= sent_ns < measurements.until_ns:
            measurements.latencies_ns.append(now_ns - sent_ns)
        self.on_answer(self)
        self._check_finished()

    def _check_finished(self) -> None:
        is_answered_completely = self._expected.sequence > self._next
        if self._phase is Phase.FINISHING and is_answered_completely and not self.finished.done():
            self.finished.set_result(None)

    def _lose(self, fault: str) -> None:
        if self._phase is Phase.LEAVING:
            return
        self._phase = Phase.LEAVING
        self._fault(fault)
        for future in (self.ready, self.finished):
            if not future.done():
                future.set_result(None)

    def _fault(self, description: str) -> None:
        self._measurements.faults.append(f"session {self.number}: {description}")
