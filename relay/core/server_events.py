"""The messages of the upstream, and the commands that follow from them.

Events of the types in ``passing_events`` pass as they came. The relay reads any other event, hides
its hidden items, and redacts it by its structure. If nothing is hidden, it passes as it came too.
"""

from collections.abc import Callable, Mapping
from typing import Final

from relay.core.binary_audio import cut_audio
from relay.core.commands import (
    NOTHING,
    CallTool,
    Commands,
    End,
    ObserveFirstAudio,
    Record,
    Send,
    Side,
)
from relay.core.deltas import TEXT_DELTAS, audio_length_bytes, text_length
from relay.core.errors import BudgetExhausted, UpstreamLost
from relay.core.events import (
    MAX_SERVER_VALUES,
    Event,
    decode_server,
    encode,
    error_of,
    is_short,
    peek,
)
from relay.core.first_audio import Wait
from relay.core.messages import Binary
from relay.core.objects import object_or_empty
from relay.core.passing_events import PASSING, has_object
from relay.core.redaction import HIDDEN_EVENTS, redact_error
from relay.core.redactor import Redactor
from relay.core.reports import Report
from relay.core.session_state import SessionState

CLIENT, UPSTREAM = Side  # a member of an enumeration takes a call to be read from its class
WAITING = Wait.WAITING  # likewise

ACTIVITY = ("response.", "conversation.item.input_audio_transcription.")
"""The starts of the server events that count as activity."""


class ServerEvents:
    """Decides on the messages of the upstream."""

    __slots__ = (
        "_activity",
        "_confirmed",
        "_conversation",
        "_counts",
        "_first_audio",
        "_last_responses",
        "_meter",
        "_redactor",
        "_state",
        "_terms",
    )

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._terms = state.terms
        self._counts = state.counts
        self._confirmed = state.confirmed
        self._conversation = state.conversation
        self._activity = state.activity
        self._first_audio = state.first_audio
        self._meter = state.meter
        self._redactor = Redactor(state.terms, state.confirmed)
        self._last_responses: tuple[str, ...] | None = None

    def receive(self, raw: bytes, now: float) -> Commands:
        """Decide on a message."""
        seen = None if isinstance(raw, Binary) else peek(raw)
        if seen is None:
            return self._binary(raw, now)
        if seen.type == "response.output_audio.delta":
            return (Send(CLIENT, raw), *self._audio(audio_length_bytes(seen), now))
        if seen.type.startswith(ACTIVITY):
            self._activity.at = now
        if seen.type.startswith(HIDDEN_EVENTS):
            return NOTHING
        if seen.type in TEXT_DELTAS:
            self._meter.underway.wrote(text_length(seen))
        if seen.type in PASSING and not has_object(raw):
            return (Send(CLIENT, raw),)
        react = REACTIONS.get(seen.type)
        if react is None and not is_short(raw, MAX_SERVER_VALUES):
            return NOTHING
        event = decode_server(raw)
        if event is None:
            return self._unreadable()
        return self._react(react or ServerEvents._on_item, event, raw, now)

    def exhaust_budget(self) -> Commands:
        """End the session when the responses that are under way were delivered.

        The begin of another response ends it too: an upstream may never report one of these.
        """
        if self._last_responses is None:
            self._last_responses = self._meter.underway.ids
        return self._end_if_exhausted()

    def _react(self, react: "Reaction", event: Event, raw: bytes, now: float) -> Commands:
        """Return the commands for tools first, then those for the client.

        The output of another tool may come at any moment after the event.
        """
        shown, followed = self._state.calls.receive(event)
        started = self._announce_started(followed)
        if shown is None:
            return (*followed, *started)
        redacted = self._redactor.redact(shown)
        raw = raw if redacted is event else encode(redacted)
        return (*followed, *started, *react(self, shown, raw, now))

    def _announce_started(self, followed: Commands) -> Commands:
        """Return the events that tell the client which tools start."""
        names = [command.name for command in followed if isinstance(command, CallTool)]
        self._counts.tool_calls += len(names)
        return tuple(
            event for name in names for event in self._state.messages.tool("started", name)
        )

    def _unreadable(self) -> Commands:
        """End the session: the relay cannot redact a message that it cannot read."""
        return self._broken("a message that is no event")

    def _end_if_flooded(self) -> Commands:
        """End the session of an upstream that begins more than it reports."""
        return self._broken("too much usage without a report") if self._meter.is_flooded else ()

    def _broken(self, detail: str) -> Commands:
        error = UpstreamLost(detail=detail)
        farewell = self._state.messages.error(error).message
        return (End.because(error, by="upstream", farewell=farewell),)

    def _binary(self, raw: bytes, now: float) -> Commands:
        """Pass on binary audio; end the session for any other unreadable message."""
        may_be_audio = isinstance(raw, Binary) and UPSTREAM in self._terms.binary_audio
        pieces = cut_audio(raw) if may_be_audio else None
        if pieces is None:
            return self._unreadable()
        return (*(Send(CLIENT, piece) for piece in pieces), *self._audio(len(raw), now))

    def _audio(self, length_bytes: int, now: float) -> Commands:
        """Count audio of the upstream."""
        seconds = length_bytes / self._confirmed.output_bytes_per_second
        self._counts.audio_seconds_to_client += seconds
        self._meter.underway.sent(seconds)
        self._activity.play(now, seconds)
        if self._first_audio.state is not WAITING:
            return NOTHING
        waited = self._first_audio.audio(now)
        self._counts.first_audio_seconds.append(waited)
        return (ObserveFirstAudio(waited),)

    def _on_session(self, event: Event, _raw: bytes, _now: float) -> Commands:
        self._confirmed.update(object_or_empty(event, "session"))
        return (self._state.messages.rewritten(event, session=self._confirmed.shown()),)

    def _on_speech_started(self, event: Event, raw: bytes, now: float) -> Commands:
        self._activity.interrupt(now)
        self._meter.read(event, now)
        return self._on_item_id(event, raw, now)

    def _on_speech_stopped(self, event: Event, raw: bytes, now: float) -> Commands:
        self._activity.at = now
        self._state.request_response(now)
        self._meter.read(event, now)
        return self._on_item_id(event, raw, now)

    def _on_committed(self, event: Event, raw: bytes, now: float) -> Commands:
        self._meter.read(event, now)
        return (*self._on_item_id(event, raw, now), *self._end_if_flooded())

    def _on_cleared(self, event: Event, raw: bytes, now: float) -> Commands:
        self._meter.read(event, now)
        return (Send(CLIENT, raw),)

    def _on_item_id(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.add_item(event.get("item_id"))
        return (Send(CLIENT, raw),)

    def _on_item(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.show(event.get("item"))
        return (Send(CLIENT, raw),)

    def _on_arguments(self, _event: Event, raw: bytes, _now: float) -> Commands:
        return (Send(CLIENT, raw),)

    def _on_item_deleted(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.forget(event.get("item_id"))
        return (Send(CLIENT, raw),)

    def _on_call(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.delegate(event.get("call_id"))
        return (Send(CLIENT, raw),)

    def _on_response_created(self, event: Event, raw: bytes, now: float) -> Commands:
        response = object_or_empty(event, "response")
        response_id = response.get("id")
        if isinstance(response_id, str):
            self._conversation.add_response(response_id)
        self._meter.read(event, now)
        self._first_audio.began()
        return (Send(CLIENT, raw), *self._end_if_flooded(), *self._end_if_exhausted())

    def _on_response_done(self, event: Event, raw: bytes, now: float) -> Commands:
        self._first_audio.ended()
        report = self._meter.read(event, now)
        return (
            *_record(report),
            Send(CLIENT, raw),
            *self._state.messages.usage(report, self._counts),
            *self._end_if_exhausted(),
        )

    def _end_if_exhausted(self) -> Commands:
        last, underway = self._last_responses, self._meter.underway
        if last is None or (underway and set(underway.ids) <= set(last)):
            return NOTHING
        error = BudgetExhausted()
        return (End.because(error, farewell=self._state.messages.error(error).message),)

    def _on_transcription(self, event: Event, raw: bytes, now: float) -> Commands:
        return (*_record(self._meter.read(event, now)), Send(CLIENT, raw))

    def _on_transcription_failed(self, event: Event, raw: bytes, now: float) -> Commands:
        self._meter.count_error(object_or_empty(event, "error"))
        self._meter.read(event, now)
        return (Send(CLIENT, raw),)

    def _on_error(self, event: Event, _raw: bytes, now: float) -> Commands:
        error = {"type": "server_error", **error_of(event)}
        self._meter.count_error(error)
        self._meter.read(event, now)
        if error.get("event_id") is None:
            self._conversation.unnamed_creation_failed()
        else:
            self._conversation.creation_failed(error["event_id"])
        if str(error.get("event_id")).startswith(self._terms.relay_ids):
            return NOTHING
        return (self._state.messages.rewritten(event, error=redact_error(error)),)


Reaction = Callable[[ServerEvents, Event, bytes, float], Commands]

REACTIONS: Final[Mapping[str, Reaction]] = {
    "session.created": ServerEvents._on_session,
    "session.updated": ServerEvents._on_session,
    "transcription_session.created": ServerEvents._on_session,
    "transcription_session.updated": ServerEvents._on_session,
    "input_audio_buffer.speech_started": ServerEvents._on_speech_started,
    "input_audio_buffer.speech_stopped": ServerEvents._on_speech_stopped,
    "input_audio_buffer.committed": ServerEvents._on_committed,
    "input_audio_buffer.cleared": ServerEvents._on_cleared,
    "conversation.created": ServerEvents._on_item,
    "conversation.item.created": ServerEvents._on_item,
    "conversation.item.added": ServerEvents._on_item,
    "conversation.item.done": ServerEvents._on_item,
    "conversation.item.retrieved": ServerEvents._on_item,
    "conversation.item.deleted": ServerEvents._on_item_deleted,
    "conversation.item.input_audio_transcription.completed": ServerEvents._on_transcription,
    "conversation.item.input_audio_transcription.failed": ServerEvents._on_transcription_failed,
    "response.created": ServerEvents._on_response_created,
    "response.done": ServerEvents._on_response_done,
    "response.output_item.added": ServerEvents._on_item,
    "response.output_item.done": ServerEvents._on_item,
    "response.function_call_arguments.delta": ServerEvents._on_arguments,
    "response.function_call_arguments.done": ServerEvents._on_call,
    "error": ServerEvents._on_error,
}
"""The reactions to server events that change the state of the session."""


def _record(report: Report | None) -> Commands:
    return NOTHING if report is None else (Record(report),)
