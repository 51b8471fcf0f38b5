"""One session of the load: it says what a client says, and checks everything that comes back."""

import asyncio
import json
import time
from collections.abc import Callable

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


class Record:
    """What all sessions saw.

    Attributes:
        received: messages that came from the relay.
        answered: deltas among them; each proves that all appends before it arrived, in order.
        latencies_ns: from an append to its delta, of appends sent since ``since_ns``.
        upgrades_ns: of connections, how long each took until the 101.
        faults: what was lost, late, out of order or changed, and who was cut off.
    """

    def __init__(self) -> None:
        self.received = self.answered = 0
        self.since_ns = self.until_ns = 0
        self.latencies_ns: list[int] = []
        self.upgrades_ns: list[int] = []
        self.faults: list[str] = []

    @property
    def relayed(self) -> int:
        """Messages of both directions that are known to have been relayed."""
        return self.received + APPENDS_PER_DELTA * self.answered


class Session(WSListener):
    """A client.

    Attributes:
        upgraded_ns: when the 101 came.
        ready: done when the upstream has confirmed a configuration.
        finished: done when all that was said is answered, after ``finish``.
        gone: done when the connection is no more.
        on_answer: called with the session for each delta.
    """

    def __init__(self, number: int, record: Record, *, configures: bool) -> None:
        """Number a session; it ``configures`` itself where the relay does not."""
        loop = asyncio.get_running_loop()
        self.number = number
        self.ready: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.on_answer: Callable[[Session], None] = Session.be_quiet
        self._record = record
        self._configures = configures
        self.upgraded_ns = 0
        self._transport: WSTransport
        self._next = 0
        self._awaited = next(n for n in range(APPENDS_PER_DELTA) if is_answered(number, n))
        self._response = 0
        self._delta_head = delta_head(number, 0)
        self._finishing = self._leaving = False

    # What the client says.

    def append(self) -> bool:
        """Send 20 ms of audio; tell whether it will be answered."""
        if self._leaving:
            return True
        sequence = self._next
        self._next += 1
        stamp = (time.monotonic_ns(), self.number, sequence)
        self._transport.send(TEXT, APPEND.encode(APPEND_HEAD, stamp))
        return is_answered(self.number, sequence)

    def ask(self) -> None:
        """Send audio until it will be answered."""
        while not self.append():
            pass

    def be_quiet(self) -> None:
        """Say nothing more to an answer."""

    def finish(self) -> None:
        """Say what is missing for a last answer, and no more."""
        if self._next and not is_answered(self.number, self._next - 1):
            self.ask()
        self._finishing = True
        self._note_finished()

    async def leave(self, seconds: float) -> None:
        """Close, and wait so long until the relay has closed too."""
        self._leaving = True
        if not self._transport.is_disconnected:
            self._transport.send_close(WSCloseCode.OK)
        await asyncio.wait({self.gone}, timeout=seconds)
        self._transport.disconnect(graceful=False)

    # What it hears.

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin."""
        self._transport = transport
        self.upgraded_ns = time.monotonic_ns()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Check a message."""
        if frame.msg_type == CLOSE:
            self._closed(f"closed with {frame.get_close_code()} {frame.get_close_reason()}")
            transport.disconnect()
            return
        message = frame.get_payload_as_bytes()
        self._record.received += 1
        try:
            if message.startswith(self._delta_head):
                self._hear(message)
            else:
                self._hear_other(message)
        except (WrongAudio, ValueError, KeyError) as wrong:
            self._fault(str(wrong))

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Note that it is over."""
        self._closed("the connection was lost")
        self.gone.set_result(None)

    def _hear_other(self, message: bytes) -> None:
        event = json.loads(message)
        match event["type"]:
            case "session.created" if self._configures:
                self._transport.send(TEXT, CONFIGURE)
            case "session.created" | "session.updated":
                if not self.ready.done():
                    self.ready.set_result(None)
            case "response.output_audio.delta":
                self._hear(message)
            case "error":
                self._fault(str(event["error"]))

    def _hear(self, message: bytes) -> None:
        now_ns = time.monotonic_ns()
        sent_ns, session, sequence = DELTA.stamp(message, self._delta_head)
        if session != self.number or sequence != self._awaited:
            raise WrongAudio(f"the answer to {sequence} of {session}, not to {self._awaited}")
        self._awaited += APPENDS_PER_DELTA
        record = self._record
        record.answered += 1
        if record.since_ns <= sent_ns < record.until_ns:
            record.latencies_ns.append(now_ns - sent_ns)
        if ends_response(session, sequence):
            self._response += 1
            self._delta_head = delta_head(self.number, self._response)
        self.on_answer(self)
        self._note_finished()

    def _note_finished(self) -> None:
        if self._finishing and self._awaited > self._next and not self.finished.done():
            self.finished.set_result(None)

    def _closed(self, how: str) -> None:
        if self._leaving:
            return
        self._leaving = True
        self._fault(how)
        for future in (self.ready, self.finished):
            if not future.done():
                future.set_result(None)

    def _fault(self, what: str) -> None:
        self._record.faults.append(f"session {self.number}: {what}")
