"""The messages of the client, and the commands that follow from them.

Audio is counted and passed on as the bytes it came in. Any other client event is read strictly,
judged by the policy and encoded again from the value that the policy judged.
"""

from relay.core.audio import audio_bytes
from relay.core.binary_audio import cut_audio
from relay.core.commands import NOTHING, Commands, End, Pause, Send, Side
from relay.core.errors import EventNotAllowed, InvalidEvent, RelayError
from relay.core.events import CLIENT_EVENTS, MAX_ID_CHARS, Event, Json, decode_client, read_append
from relay.core.messages import Binary
from relay.core.policy import AnswerUpdate, Forward
from relay.core.rates import Pace
from relay.core.session_state import SessionState

CLIENT, UPSTREAM = Side  # a member of an enumeration takes a call to be read from its class

MAX_BINARY_BYTES = 1024 * 1024
"""The longest binary message of a client: 20 s of PCM at 24 kHz. The search in it takes 50 ms."""


class ClientEvents:
    """Decides on the messages of the client."""

    __slots__ = ("_confirmed", "_counts", "_pace", "_refused", "_state", "_terms")

    def __init__(self, state: SessionState) -> None:
        terms = state.terms
        self._state = state
        self._terms = terms
        self._counts = state.counts
        self._confirmed = state.confirmed
        self._pace = Pace(
            terms.limits.audio_rate,
            terms.limits.audio_burst_seconds,
            terms.limits.events_per_second,
        )
        self._refused = 0

    def receive(self, raw: bytes, now: float) -> Commands:
        """Decide on a message."""
        counts = self._counts
        before = counts.audio_seconds_to_upstream
        if type(raw) is Binary or (audio := read_append(raw)) is None:
            receive = self._receive_binary if isinstance(raw, Binary) else self._decide
            commands = receive(raw, now)
            audio_seconds = counts.audio_seconds_to_upstream - before
            text_bytes = max(0, len(raw) - self._base64_chars(audio_seconds))
        else:
            counts.audio_seconds_to_upstream += len(audio) / self._confirmed.input_bytes_per_second
            commands = (Send(UPSTREAM, raw),)
            audio_seconds, text_bytes = counts.audio_seconds_to_upstream - before, 0
        ahead = self._pace.wait_seconds(now, audio_seconds, text_bytes)
        return (*commands, Pause(ahead)) if ahead else commands

    def _receive_binary(self, raw: bytes, now: float) -> Commands:
        """Pass on binary audio; refuse a message that may be anything else."""
        may_be_audio = CLIENT in self._terms.binary_audio and len(raw) <= MAX_BINARY_BYTES
        pieces = cut_audio(raw) if may_be_audio else None
        if pieces is None:
            return self._decide(raw, now)
        seconds = len(raw) / self._confirmed.input_bytes_per_second
        self._counts.audio_seconds_to_upstream += seconds
        return tuple(Send(UPSTREAM, piece) for piece in pieces)

    def _base64_chars(self, seconds: float) -> int:
        return int(seconds * self._confirmed.input_bytes_per_second) * 4 // 3

    def _decide(self, raw: bytes, now: float) -> Commands:
        event: Event = {}
        try:
            event = self._terms.to_ga(decode_client(raw))
            decision = self._terms.policy.decide(event, self._state.conversation)
            if isinstance(decision, Forward):
                self._state.meter.check_price(decision.event, now)
        except (InvalidEvent, EventNotAllowed) as refusal:
            return self._refuse(refusal, event)
        if isinstance(decision, AnswerUpdate):
            return self._answer_update(event, now)
        self._note_sent(decision.event, now)
        commands = self._state.calls.forward(decision.event)
        if commands:  # otherwise the relay requests the response itself
            self._state.meter.sent(decision.event)
        return (*commands, *self._report_stripped(event, decision.event))

    def _answer_update(self, event: Event, now: float) -> Commands:
        """Answer a ``session.update`` that has only closed fields: SDKs wait for an answer."""
        self._note_activity(event, now)
        stripped = self._report_stripped(event, {"type": event["type"]})
        session = self._confirmed.shown()
        return (*stripped, self._state.messages.event("session.updated", session=session))

    def _refuse(self, refusal: RelayError, event: Event) -> Commands:
        self._refused += 1
        self._counts.blocked[_label(event.get("type")), refusal.code] += 1
        event_id = event.get("event_id")
        usable = isinstance(event_id, str) and len(event_id) <= MAX_ID_CHARS
        answer = self._state.messages.error(refusal, event_id if usable else None)
        if self._refused <= self._terms.limits.max_blocked_events:
            return (answer,)
        return (End.because(refusal, farewell=answer.message),)

    def _report_stripped(self, asked: Event, kept: Event) -> Commands:
        """Count an event that lost closed fields, and name the fields."""
        if asked == kept:
            return NOTHING
        names = self._terms.policy.stripped(asked, kept)
        self._counts.strip(_label(asked["type"]), names)
        return self._state.messages.fields_ignored(asked["type"], names)

    def _note_sent(self, event: Event, now: float) -> None:
        self._state.conversation.note_sent(event)
        if event["type"] == "input_audio_buffer.append":
            self._count_base64(event["audio"])
            return
        self._note_activity(event, now)

    def _note_activity(self, event: Event, now: float) -> None:
        self._state.activity.at = now
        match event["type"]:
            case "response.create":
                self._state.request_response(now)
            case "response.cancel" | "conversation.item.truncate":
                self._state.activity.interrupt(now)

    def _count_base64(self, audio: str) -> None:
        sent_bytes = audio_bytes(len(audio), audio[-2:].count("="))
        self._counts.audio_seconds_to_upstream += (
            sent_bytes / self._confirmed.input_bytes_per_second
        )


def _label(event_type: Json) -> str:
    """Return an event type as a label: one of a closed set."""
    return event_type if isinstance(event_type, str) and event_type in CLIENT_EVENTS else "other"
