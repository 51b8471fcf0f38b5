"""The end of a session at the upstream: the reports that are still awaited, and for how long.

::

    RELAYING --ended--> AWAITING   until all is reported, or until the deadline
        |
        +-----upstream lost-----> LOST

A client that leaves in the middle of an answer has used it. So the relay asks the upstream to
cancel, reads on until the upstream has reported the usage, and estimates the rest. No cancel exists
for a transcription: it is awaited. An upstream that is lost reports nothing more.
"""

from enum import Enum, auto

from relay.core.commands import NOTHING, Commands, Record, Send, Side
from relay.core.deltas import TEXT_DELTAS, audio_length_bytes, text_length
from relay.core.events import Event, decode_server, encode, peek
from relay.core.ids import EventIds
from relay.core.messages import Binary
from relay.core.meter import Meter
from relay.core.session_state import SessionState

SETTLE_SECONDS = 5.0
"""The longest wait for reports after the end of a session."""


class Phase(Enum):
    """The phases of a session for its usage."""

    RELAYING = auto()
    """The session has not ended."""
    AWAITING = auto()
    """The session has ended, and reports may be awaited."""
    LOST = auto()
    """The session has ended, and the upstream reports nothing more."""


class Settling:
    """Reads the reports that come after the end of a session.

    Attributes:
        deadline: the time at which the relay stops to wait.
    """

    __slots__ = ("_ids", "_phase", "_state", "deadline")

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._ids = EventIds(f"{state.terms.relay_ids}cancel_")
        self._phase = Phase.RELAYING
        self.deadline = 0.0

    def begin(self, now: float, *, upstream_is_lost: bool) -> Commands:
        """Return the events that cancel the responses in progress and those that are requested."""
        requests, underway = self._state.meter.requests, self._state.meter.underway
        if (requested := self._state.calls.requested) is not None:
            requests.request(requested)
        self.deadline = now + SETTLE_SECONDS
        self._phase = Phase.LOST if upstream_is_lost else Phase.AWAITING
        if upstream_is_lost:
            return NOTHING
        cancels = [self._cancel(response_id) for response_id in underway.ids]
        return (*cancels, *([self._cancel()] if requests.responses else []))

    @property
    def is_settled(self) -> bool:
        """Whether the session has ended, and the upstream has nothing more to report."""
        match self._phase:
            case Phase.RELAYING:
                return False
            case Phase.LOST:
                return True
            case Phase.AWAITING:  # pragma: no branch  # all phases
                return not self._state.meter.awaits_reports

    def receive(self, raw: bytes, now: float) -> Commands:
        """Return the commands that follow from a message after the end of the session.

        Only usage is read: nothing is sent to the client, and no tool is run.
        """
        if self._phase is Phase.LOST:
            return NOTHING
        if isinstance(raw, Binary):
            if Side.UPSTREAM in self._state.terms.binary_audio:
                self._count_audio(len(raw))
            return NOTHING
        seen = peek(raw)
        if seen is None:
            return NOTHING
        if seen.type == "response.output_audio.delta":
            self._count_audio(audio_length_bytes(seen))
        elif seen.type in TEXT_DELTAS:
            self._state.meter.underway.wrote(text_length(seen))
        elif Meter.reads(seen.type) and (event := decode_server(raw)) is not None:
            return self._read(event, now)
        return NOTHING

    def _read(self, event: Event, now: float) -> Commands:
        meter = self._state.meter
        if event["type"] != "response.created":
            report = meter.read(event, now)
            if meter.is_flooded:
                self._phase = Phase.LOST
            return NOTHING if report is None else (Record(report),)
        if not meter.requests.responses:
            return NOTHING  # it began after the end, and nothing in the session led to it
        known = meter.underway.ids
        meter.read(event, now)
        new = [response_id for response_id in meter.underway.ids if response_id not in known]
        return tuple(self._cancel(response_id) for response_id in new)

    def _count_audio(self, length_bytes: int) -> None:
        seconds = length_bytes / self._state.confirmed.output_bytes_per_second
        self._state.meter.underway.sent(seconds)

    def _cancel(self, response_id: str = "") -> Send:
        """Cancel a response; without an id, the one that the upstream makes now."""
        event = {"type": "response.cancel", "event_id": self._ids.new()}
        if response_id:
            event["response_id"] = response_id
        return Send(Side.UPSTREAM, encode(event))
