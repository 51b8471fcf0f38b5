"""Events from one interface into the other: what a client says, and what a server says.

``..._up`` is from the beta interface into GA, ``..._down`` from GA into the beta interface. Up,
what is not known passes as it is, since whoever reads it judges it anyway. Down, nothing passes
that the types of the beta interface do not know.
"""

from collections.abc import Callable, Collection, Mapping

from relay.core.events import Event, Json
from relay.dialects.beta import fields
from relay.dialects.beta.fields import RESPONSE, RESPONSE_CREATE, SESSION, Convert
from relay.dialects.beta.shapes import UNSAID
from relay.dialects.beta.vocabulary import CLIENT_EVENTS, SERVER_EVENTS

_SERVER_NAMES: Mapping[str, str] = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
_NAMES_UP = {beta: ga for ga, beta in _SERVER_NAMES.items()}
NAMES_DOWN = {**_SERVER_NAMES, "conversation.item.added": "conversation.item.created"}
"""Server events that the beta interface calls otherwise; the updates of sessions apart."""


def _inside(event: Event, converts: Mapping[str, Convert]) -> Event:
    """Convert the objects that an event carries."""
    found = {name: event[name] for name in converts if isinstance(event.get(name), dict)}
    return event | {name: converts[name](value) for name, value in found.items()}


# What a client says.

_REQUEST_UP: Mapping[str, Convert] = {
    "session": lambda session: fields.up(session, SESSION),
    "response": lambda response: fields.up(response, RESPONSE_CREATE),
    "item": fields.item_up,
}
_REQUEST_DOWN: Mapping[str, Convert] = {
    "session": lambda session: fields.down(session, SESSION),
    "response": lambda response: fields.down(response, RESPONSE_CREATE),
    "item": fields.item_down,
}


def client_up(event: Event) -> Event:
    """Return what a client of the beta interface says, in GA."""
    kind, named = event["type"], _inside(event, _REQUEST_UP)
    if kind == "transcription_session.update":
        return _typed(named | {"type": "session.update"}, "transcription")
    return _typed(named, "realtime") if kind == "session.update" else named


def unflattened(event: Event) -> Event:
    """Return an event of a GA client in GA, should it hold a session of the beta interface."""
    is_flat = event["type"] == "session.update" and fields.is_flat(event.get("session"))
    return client_up(event) if is_flat else event


def client_down(event: Event, extra_session_fields: Collection[str] = ()) -> Event | None:
    """Return what a client says in GA as an upstream of the beta interface reads it.

    ``extra_session_fields`` it knows besides: they pass as they are. None: it cannot be said.
    """
    named, session = _inside(event, _REQUEST_DOWN), event.get("session")
    if not isinstance(session, dict):
        return _said(named, CLIENT_EVENTS)
    said = _said(named | {"type": _update_of(session)}, CLIENT_EVENTS)
    extra = {name: session[name] for name in extra_session_fields if name in session}
    return said and said | {"session": said["session"] | extra}


def _update_of(session: Json) -> str:
    """Return what an update of a session of GA is called."""
    transcribes = isinstance(session, dict) and session.get("type") == "transcription"
    return "transcription_session.update" if transcribes else "session.update"


def _typed(event: Event, kind: str) -> Event:
    """Say of a session what it is, unless it does."""
    session = event.get("session")
    return event | {"session": {"type": kind} | session} if isinstance(session, dict) else event


def _said(event: Event, vocabulary: Mapping[str, Callable[[Json], Json]]) -> Event | None:
    shape = vocabulary.get(event["type"])
    said: Json = UNSAID if shape is None else shape(event)
    return None if said is UNSAID else said


# What a server says.

_TOLD_DOWN: Mapping[str, Convert] = {
    "session": fields.session_down,
    "response": lambda response: fields.down(response, RESPONSE),
    "item": fields.item_down,
    "part": fields.part_down,
    "error": fields.error_down,
}
_TOLD_UP: Mapping[str, Convert] = {
    "session": lambda session: fields.up(session, SESSION),
    "response": lambda response: fields.up(response, RESPONSE),
    "item": fields.item_up,
    "error": fields.error_up,
}


def server_down(event: Event, asked: str | None = None) -> Event | None:
    """Return what a server says in GA, in the beta interface; None: it cannot be said.

    ``asked`` is the name of the update that the client sent last: it waits for that one's answer.
    """
    kind = NAMES_DOWN.get(event["type"], event["type"])
    if kind == "session.updated":
        kind = f"{asked or _update_of(event.get('session'))}d"
    return _said(_inside({**event, "type": kind}, _TOLD_DOWN), SERVER_EVENTS)


class ServerUp:
    """Says in GA what an upstream of the beta interface says.

    GA says more, so what is missing is remembered: the names of calls, and the items that are
    not finished when they are created.
    """

    def __init__(self) -> None:
        self._names: dict[str, Json] = {}
        self._unfinished: dict[str, Event] = {}

    def say(self, event: Event) -> tuple[Event, ...]:
        """Return one event, or two where GA has two."""
        kind = event["type"]
        named = _inside({**event, "type": _NAMES_UP.get(kind, kind)}, _TOLD_UP)
        match kind.partition("."):
            case "session", _, _:
                return (_typed(named, "realtime"),)
            case "transcription_session", _, did:
                return (_typed(named | {"type": f"session.{did}"}, "transcription"),)
        react = _REACTIONS.get(kind)
        return (named,) if react is None else react(self, named)

    def _created(self, event: Event) -> tuple[Event, ...]:
        """Tell that an item is there; and that it is done, or remember that it is not."""
        added, item = event | {"type": "conversation.item.added"}, _item(event)
        if item.get("status") != "in_progress":
            return (added, _done(event, item))
        self._unfinished[str(item.get("id"))] = event
        return (added,)

    def _output_added(self, event: Event) -> tuple[Event, ...]:
        item = _item(event)
        if item.get("type") == "function_call":
            self._names[str(item.get("id"))] = item.get("name")
        return (event,)

    def _output_done(self, event: Event) -> tuple[Event, ...]:
        item = _item(event)
        created = self._unfinished.pop(str(item.get("id")), None)
        return (event,) if created is None else (_done(created, item), event)

    def _arguments_done(self, event: Event) -> tuple[Event, ...]:
        name = self._names.pop(str(event.get("item_id")), None)
        return (event,) if name is None else ({"name": name} | event,)


_REACTIONS: Mapping[str, Callable[[ServerUp, Event], tuple[Event, ...]]] = {
    "conversation.item.created": ServerUp._created,  # noqa: SLF001  # its own table
    "response.output_item.added": ServerUp._output_added,  # noqa: SLF001  # the same
    "response.output_item.done": ServerUp._output_done,  # noqa: SLF001  # the same
    "response.function_call_arguments.done": ServerUp._arguments_done,  # noqa: SLF001  # the same
}


def _item(event: Event) -> Event:
    item = event.get("item")
    return item if isinstance(item, dict) else {}


def _done(created: Event, item: Event) -> Event:
    """Tell that an item is finished, in an event of its own."""
    event_id = f"{created.get('event_id')}_done"
    return created | {"type": "conversation.item.done", "event_id": event_id, "item": item}
