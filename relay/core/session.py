"""One relayed conversation as a state machine: messages in, commands out.

The session knows what the upstream confirmed, what the client made and heard, and when somebody
last spoke. It owns no socket and no clock: ``now`` is an argument, in seconds of a monotonic
clock, and what is to be done is returned.

Audio is looked at, counted and passed on as the bytes it came in. Any other client event is read
strictly, decided on by the policy and encoded anew; server events pass as they came unless their
type is one of those in the tables at the end.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import ClassVar

from relay.core.calls import Calls
from relay.core.close import SENDABLE, CloseCode
from relay.core.commands import (
    CallTool,
    Command,
    End,
    ObserveFirstAudio,
    Pause,
    Record,
    Send,
    Side,
)
from relay.core.conversation import Conversation
from relay.core.counts import Counts
from relay.core.errors import (
    BudgetExhausted,
    ClientLost,
    EventNotAllowed,
    InvalidEvent,
    MessageTooBig,
    RelayError,
    SessionExpired,
    SessionIdle,
    UpstreamLost,
)
from relay.core.events import (
    CLIENT_EVENTS,
    MAX_ID_CHARS,
    Binary,
    Event,
    Json,
    ServerPeek,
    decode_client,
    decode_server,
    encode,
    error_of,
    holds_event,
    peek,
    read_append,
)
from relay.core.metering import audio_bytes, bytes_per_second
from relay.core.policy import AnswerUpdate
from relay.core.rates import Pace
from relay.core.redaction import (
    HIDDEN_EVENTS,
    KNOWN_ERRORS,
    redact_error,
    redact_response,
    redact_session,
)
from relay.core.reports import Report, Reports
from relay.core.terms import Terms

Commands = tuple[Command, ...]
NOTHING: Commands = ()

CLIENT, UPSTREAM = Side  # a member of an enumeration takes a call to be read from its class

REPORTS_USAGE = frozenset(
    {"response.done", "conversation.item.input_audio_transcription.completed"}
)
"""Server events that tell what was used."""

UNKNOWN = "unknown"
"""What transcribes, when nobody says."""

SPEECH = ("response.", "conversation.item.input_audio_transcription.")
"""How server events start that show that somebody speaks."""


class Session:
    """Decides what becomes of each message, from the confirmed persona to the end."""

    __slots__ = (  # read for every message
        "_active",
        "_asked_at",
        "_began",
        "_calls",
        "_confirmed",
        "_conversation",
        "_expires",
        "_input_bytes_per_second",
        "_is_still_answering",
        "_made",
        "_output_bytes_per_second",
        "_overdrawn",
        "_pace",
        "_playing_until",
        "_refused",
        "_reports",
        "_terms",
        "counts",
    )

    def __init__(self, terms: Terms, confirmed: Event, *, now: float) -> None:
        """Start with the session object that the upstream confirmed."""
        self.counts = Counts()
        self._terms = terms
        self._pace = Pace(terms.audio_rate, terms.audio_burst_seconds, terms.events_per_second)
        self._conversation = Conversation()
        self._calls = Calls(
            relay_ids=terms.relay_ids,
            served=terms.served,
            delegated=terms.delegated,
            follow_up=terms.follow_up,
        )
        self._confirmed = confirmed
        self._refused = 0
        self._made = 0
        self._expires = now + terms.max_session_seconds
        self._active = now
        self._playing_until = now
        self._asked_at: float | None = None
        self._is_still_answering = False
        self._began = now
        self._reports = Reports(terms.model, terms.prices)
        self._overdrawn = False
        self._read_formats()

    def open(self, now: float) -> Commands:
        """Show the client the confirmed session, and let the persona speak first if it does."""
        created = self._tell("session.created", session=self._shown_session())
        if self._terms.greeting is None:
            return (created,)
        self._ask(now)
        event_id = f"{self._terms.relay_ids}greeting"
        asked = {"type": "response.create", "event_id": event_id, **self._terms.greeting}
        return (created, Send(UPSTREAM, encode(asked)))

    def receive(self, side: Side, raw: bytes, now: float) -> Commands:
        """Decide what becomes of a message."""
        return self._from_client(raw, now) if side is CLIENT else self._from_upstream(raw, now)

    def closed(self, side: Side, code: int) -> Commands:
        """Decide what follows when one side has closed with this code."""
        if side is UPSTREAM:
            return self.end(UpstreamLost(received=code), by="upstream")
        if code == CloseCode.ABNORMAL_CLOSURE:
            return self.end(ClientLost(), by="client")
        fault = _CLIENT_FAULTS.get(code)
        outcome, reason = (fault.code, fault.message) if fault else ("completed", "client closed")
        answer = code if code in SENDABLE else CloseCode.NORMAL_CLOSURE
        return (End("client", outcome, answer, CloseCode.NORMAL_CLOSURE, reason),)

    def end(self, error: RelayError, *, by: str = "relay", upstream_code: int = 1000) -> Commands:
        """Return what tells the client why the session ends, and ends it."""
        farewell = None if error.silent else self._error(error).message
        return (End.because(error, by=by, upstream_code=upstream_code, farewell=farewell),)

    @property
    def deadline(self) -> float:
        """When ``tick`` is due, if nothing happens until then."""
        return min(self._expires, self._idle_at)

    @property
    def _idle_at(self) -> float:
        return max(self._active, self._playing_until) + self._terms.idle_seconds

    def tick(self, now: float) -> Commands:
        """Decide what follows from the time alone."""
        if now >= self._expires:
            return self.end(SessionExpired())
        if now >= self._idle_at:
            return self.end(SessionIdle())
        return NOTHING

    # What the client says.

    def _from_client(self, raw: bytes, now: float) -> Commands:
        counts = self.counts
        heard = counts.audio_seconds_to_upstream
        audio = self._audio_in(raw)
        if audio is None:
            commands = self._decide(raw, now)
        else:
            counts.audio_seconds_to_upstream += len(audio) / self._input_bytes_per_second
            commands = (Send(UPSTREAM, raw),)
        ahead = self._pace.wait_seconds(now, counts.audio_seconds_to_upstream - heard)
        return (*commands, Pause(ahead)) if ahead else commands

    def _audio_in(self, raw: bytes) -> bytes | None:
        """Return the audio that a message is; None if it may be anything else."""
        if type(raw) is not Binary:
            return read_append(raw)
        is_audio = CLIENT in self._terms.binary_audio and not holds_event(raw)
        return raw if is_audio else None

    def _decide(self, raw: bytes, now: float) -> Commands:
        event: Event = {}
        try:
            event = self._terms.to_ga(decode_client(raw))
            decision = self._terms.policy.decide(event, self._conversation)
        except (InvalidEvent, EventNotAllowed) as refusal:
            return self._refuse(refusal, event)
        if isinstance(decision, AnswerUpdate):
            self._note_activity(event, now)
            self._note_stripped(event, {"type": event["type"]})
            return (self._tell("session.updated", session=self._shown_session()),)
        self._note_stripped(event, decision.event)
        self._note_sent(decision.event, now)
        return self._calls.forward(decision.event)

    def _refuse(self, refusal: RelayError, event: Event) -> Commands:
        self._refused += 1
        self.counts.blocked[_label(event.get("type"), CLIENT_EVENTS), refusal.code] += 1
        theirs = event.get("event_id")
        known = isinstance(theirs, str) and len(theirs) <= MAX_ID_CHARS
        answer = self._error(refusal, theirs if known else None)
        if self._refused <= self._terms.max_blocked_events:
            return (answer,)
        return (End.because(refusal, farewell=answer.message),)

    def _note_stripped(self, asked: Event, kept: Event) -> None:
        """Count an event of which closed fields were left out."""
        if asked != kept:
            self.counts.blocked[_label(asked["type"], CLIENT_EVENTS), "field_stripped"] += 1

    def _note_sent(self, event: Event, now: float) -> None:
        self._conversation.note_sent(event)
        if event["type"] == "input_audio_buffer.append":
            self._count_base64(event["audio"])
            return
        self._note_activity(event, now)
        if event["type"] == "conversation.item.create":
            for part in event["item"].get("content", ()):
                self._count_base64(part.get("audio", ""))

    def _note_activity(self, event: Event, now: float) -> None:
        self._active = now
        match event["type"]:
            case "response.create":
                self._ask(now)
            case "response.cancel" | "conversation.item.truncate":
                self._playing_until = now

    def _ask(self, now: float) -> None:
        """Note that an answer is waited for: the next, not one that is being given already."""
        self._asked_at = now
        self._is_still_answering = bool(self._reports.underway)

    def _count_base64(self, audio: str) -> None:
        heard_bytes = audio_bytes(len(audio), audio.count("="))
        self.counts.audio_seconds_to_upstream += heard_bytes / self._input_bytes_per_second

    # What the upstream says.

    def _from_upstream(self, raw: bytes, now: float) -> Commands:
        seen = None if isinstance(raw, Binary) else peek(raw)
        if seen is None:
            return self._unread(raw, now)
        if seen.type == "response.output_audio.delta":
            return (Send(CLIENT, raw), *self._heard_audio(seen, now))
        if seen.type.startswith(SPEECH):
            self._active = now
        if seen.type.startswith(HIDDEN_EVENTS):
            return NOTHING
        react = self._reactions.get(seen.type)
        if react is None:
            return (Send(CLIENT, raw),)
        try:
            event = decode_server(raw)
            return self._unreadable() if event is None else self._react(react, event, raw, now)
        except RecursionError:
            return self._unreadable()

    def _react(self, react: "Reaction", event: Event, raw: bytes, now: float) -> Commands:
        """Do what an event asks for: first what follows for tools, then what the client sees.

        What follows comes first, since the output of another tool may come at any moment after.
        """
        shown, followed = self._calls.show(event), self._news(self._calls.hear(event))
        if shown is None:
            return followed
        return (*followed, *react(self, shown, raw if shown is event else encode(shown), now))

    def _news(self, followed: Commands) -> Commands:
        """Tell a client that wants to know of the tools that begin."""
        begun = [command.name for command in followed if isinstance(command, CallTool)]
        self.counts.tool_calls += len(begun)
        return (*followed, *(news for name in begun for news in self._announce("started", name)))

    def _announce(self, what: str, name: str) -> Commands:
        if not self._terms.announces or name not in self._terms.announced:
            return NOTHING
        return (self._tell(f"relay.tool_{what}", name=name),)

    def tool_finished(self, call: CallTool, output: str) -> Commands:
        """Decide what follows when a tool has put out its text."""
        return (*self._calls.finish(call.call_id, output), *self._announce("finished", call.name))

    @property
    def running_tools(self) -> tuple[str, ...]:
        """The names of the tools that run now; ``other`` is one that only the model knows."""
        served = self._terms.served
        return tuple(name if name in served else "other" for name in self._calls.running)

    def _unreadable(self) -> Commands:
        """End: what cannot be read cannot be redacted, so it never passes."""
        return self.end(UpstreamLost(detail="a message that is no event"), by="upstream")

    def _unread(self, raw: bytes, now: float) -> Commands:
        """Pass on what is audio as it is; nothing else that cannot be read."""
        may_be_audio = isinstance(raw, Binary) and UPSTREAM in self._terms.binary_audio
        if not may_be_audio or holds_event(raw):
            return self._unreadable()
        return (Send(CLIENT, raw), *self._spoke(len(raw), now))

    def _heard_audio(self, delta: ServerPeek, now: float) -> Commands:
        quoted = memoryview(delta.delta)
        chars, padding = len(quoted) - len('""'), bytes(quoted[-4:]).count(b"=")
        return self._spoke(audio_bytes(chars, padding), now)

    def _spoke(self, length_bytes: int, now: float) -> Commands:
        """Count audio of the upstream's."""
        self._active = now
        seconds = length_bytes / self._output_bytes_per_second
        self.counts.audio_seconds_to_client += seconds
        self._reports.underway.sent(seconds)
        self._playing_until = max(now, self._playing_until) + seconds
        if self._asked_at is None or self._is_still_answering:
            return NOTHING
        waited, self._asked_at = now - self._asked_at, None
        self.counts.first_audio_seconds.append(waited)
        return (ObserveFirstAudio(waited),)

    def _on_session(self, event: Event, _raw: bytes, _now: float) -> Commands:
        self._confirmed = _object(event, "session")
        self._read_formats()
        return (self._retell(event, session=self._shown_session()),)

    def _on_speech_started(self, event: Event, raw: bytes, now: float) -> Commands:
        self._active = self._playing_until = now
        self._reports.untranscribed.began(event)
        return self._on_item_id(event, raw, now)

    def _on_speech_stopped(self, event: Event, raw: bytes, now: float) -> Commands:
        self._active = now
        self._ask(now)
        self._reports.untranscribed.ended(event)
        return self._on_item_id(event, raw, now)

    def _on_committed(self, event: Event, raw: bytes, now: float) -> Commands:
        if self._transcriber is not None:
            self._reports.untranscribed.committed(event, self.counts.audio_seconds_to_upstream)
        return self._on_item_id(event, raw, now)

    def _on_cleared(self, _event: Event, raw: bytes, _now: float) -> Commands:
        self._reports.untranscribed.cleared(self.counts.audio_seconds_to_upstream)
        return (Send(CLIENT, raw),)

    def _on_item_id(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.heard(event.get("item_id"))
        return (Send(CLIENT, raw),)

    def _on_item(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.show(event.get("item"))
        return (Send(CLIENT, raw),)

    def _on_nothing(self, _event: Event, raw: bytes, _now: float) -> Commands:
        return (Send(CLIENT, raw),)

    def _on_item_deleted(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.forget(event.get("item_id"))
        return (Send(CLIENT, raw),)

    def _on_call(self, event: Event, raw: bytes, _now: float) -> Commands:
        self._conversation.delegate(event.get("call_id"))
        return (Send(CLIENT, raw),)

    def _on_response_created(self, event: Event, raw: bytes, _now: float) -> Commands:
        response = _object(event, "response")
        response_id = response.get("id")
        if isinstance(response_id, str):
            self._conversation.responded(response_id)
            self._reports.underway.began(response_id, self.counts.audio_seconds_to_upstream)
        self._is_still_answering = False
        return (self._response(event, response, raw),)

    def _on_response_done(self, event: Event, raw: bytes, now: float) -> Commands:
        response = _object(event, "response")
        self._asked_at = self._asked_at if self._is_still_answering else None
        self._is_still_answering = False
        if response.get("status") == "failed":
            self._count_error(_object(_object(response, "status_details"), "error"))
        report = self._reports.response(response, self._today(now))
        done = self._response(event, response, raw)
        return (*self._record(report), done, *self._tell_usage(report), *self._end_if_overdrawn())

    def _record(self, report: Report | None) -> Commands:
        if report is None:
            return NOTHING
        self.counts.add(report)
        return (Record(report),)

    def _tell_usage(self, report: Report | None) -> Commands:
        """Tell a client that wants to know what a response used, and the session so far."""
        if report is None or not self._terms.announces:
            return NOTHING
        usage = self._tell(
            "relay.usage",
            response_id=report.report_id,
            tokens=report.tokens.by_kind(),
            cost_usd=_decimal(report.cost_usd),
            estimated=report.estimated,
            total={
                "tokens": self.counts.tokens.by_kind(),
                "cost_usd": _decimal(self.counts.cost_usd),
            },
        )
        return (usage,)

    def overdraw(self) -> Commands:
        """Let the session end for want of budget, when what is under way was delivered."""
        self._overdrawn = True
        return self._end_if_overdrawn()

    def _end_if_overdrawn(self) -> Commands:
        if not self._overdrawn or self._reports.underway:
            return NOTHING
        return self.end(BudgetExhausted())

    def overhear(self, raw: bytes, now: float) -> Commands:
        """Take from what the upstream says after the end what it tells of usage, and only that.

        Nobody hears it any more, so it is not audio that was carried, nor a tool that is called.
        """
        seen = None if isinstance(raw, Binary) else peek(raw)
        if seen is None or seen.type not in REPORTS_USAGE:
            return NOTHING
        commands = self._from_upstream(raw, now)
        return tuple(command for command in commands if isinstance(command, Record))

    def settle(self, now: float) -> Commands:
        """Record what will not be told of any more: what was cut off."""
        reports = self._reports.cut_off(self._transcriber or UNKNOWN, self._today(now))
        return tuple(command for report in reports for command in self._record(report))

    def _today(self, now: float) -> date:
        return (self._terms.started_at + timedelta(seconds=now - self._began)).date()

    def _response(self, event: Event, response: Event, raw: bytes) -> Send:
        """Pass a response on as it came, unless something in it is not for the client."""
        shown = redact_response(response, self._terms.persona_words)
        return Send(CLIENT, raw if shown == response else encode(event | {"response": shown}))

    def _on_transcription(self, event: Event, raw: bytes, now: float) -> Commands:
        model = self._transcriber or UNKNOWN
        report = self._reports.transcription(event, model, self._today(now))
        return (*self._record(report), Send(CLIENT, raw))

    @property
    def _transcriber(self) -> str | None:
        """The model that transcribes, which has a price of its own; None if nothing is."""
        given = _object(_object(self._confirmed, "audio"), "input")
        if given.get("transcription", {}) is None:
            return None
        model = _object(given, "transcription").get("model")
        return model if isinstance(model, str) else self._terms.transcriber

    def _on_transcription_failed(self, event: Event, _raw: bytes, _now: float) -> Commands:
        error = _object(event, "error")
        self._count_error(error)
        self._reports.untranscribed.reported(event)
        return (Send(CLIENT, encode(event | {"error": self._redacted(error)})),)

    def _on_error(self, event: Event, _raw: bytes, _now: float) -> Commands:
        error = {"type": "server_error", **error_of(event)}
        self._count_error(error)
        if str(error.get("event_id")).startswith(self._terms.relay_ids):
            return NOTHING
        return (self._retell(event, error=self._redacted(error)),)

    def _count_error(self, error: Mapping[str, Json]) -> None:
        self.counts.upstream_errors[_label(error.get("code"), KNOWN_ERRORS)] += 1

    def _redacted(self, error: Mapping[str, Json]) -> Event:
        return redact_error(error, self._terms.persona_words)

    # What the relay says itself.

    def _error(self, error: RelayError, event_id: str | None = None) -> Send:
        return self._tell("error", error=error.body() | {"event_id": event_id})

    def _tell(self, kind: str, **fields: Json) -> Send:
        return Send(CLIENT, encode({"type": kind, "event_id": self._new_event_id(), **fields}))

    def _retell(self, event: Event, **fields: Json) -> Send:
        """Tell the client of an event of the upstream with these fields and no other."""
        theirs = event.get("event_id")
        event_id = theirs if isinstance(theirs, str) else self._new_event_id()
        return Send(CLIENT, encode({"type": event["type"], "event_id": event_id, **fields}))

    def _new_event_id(self) -> str:
        self._made += 1
        return f"relay_{self._made}"

    def _shown_session(self) -> Event:
        return redact_session(
            self._confirmed,
            session_id=self._terms.session_id,
            expires_at=self._terms.expires_at,
            persona_words=self._terms.persona_words,
        )

    def _read_formats(self) -> None:
        self._input_bytes_per_second = bytes_per_second(self._confirmed, "input")
        self._output_bytes_per_second = bytes_per_second(self._confirmed, "output")

    _reactions: ClassVar[Mapping[str, "Reaction"]] = {
        "session.created": _on_session,
        "session.updated": _on_session,
        "transcription_session.created": _on_session,
        "transcription_session.updated": _on_session,
        "input_audio_buffer.speech_started": _on_speech_started,
        "input_audio_buffer.speech_stopped": _on_speech_stopped,
        "input_audio_buffer.committed": _on_committed,
        "conversation.item.created": _on_item,
        "conversation.item.added": _on_item,
        "conversation.item.done": _on_item,
        "conversation.item.retrieved": _on_item,
        "conversation.item.deleted": _on_item_deleted,
        "conversation.item.input_audio_transcription.completed": _on_transcription,
        "conversation.item.input_audio_transcription.failed": _on_transcription_failed,
        "response.created": _on_response_created,
        "response.done": _on_response_done,
        "response.output_item.added": _on_item,
        "response.output_item.done": _on_item,
        "input_audio_buffer.cleared": _on_cleared,
        "response.function_call_arguments.delta": _on_nothing,
        "response.function_call_arguments.done": _on_call,
        "error": _on_error,
    }
    """Server events that the relay reads; all others pass as they came."""


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.6f}"


def _object(event: Mapping[str, Json], name: str) -> Event:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _label(value: Json, known: frozenset[str]) -> str:
    """Return a label: one of a closed set."""
    return value if isinstance(value, str) and value in known else "other"


_CLIENT_FAULTS: Mapping[int, type[RelayError]] = {
    CloseCode.MESSAGE_TOO_BIG: MessageTooBig,
    CloseCode.PROTOCOL_ERROR: InvalidEvent,
    CloseCode.INVALID_DATA: InvalidEvent,
}

Reaction = Callable[[Session, Event, bytes, float], Commands]
