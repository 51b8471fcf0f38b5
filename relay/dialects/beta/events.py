"""Events of clients and servers, translated between the beta interface and GA.

``..._up`` translates from the beta interface to GA, ``..._down`` from GA to the beta interface. Up,
an unknown part passes as it is, since the reader decides about it. Down, nothing passes that the
types of the beta interface do not know.
"""

from collections.abc import Callable, Collection, Mapping

from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.recent import Recent
from relay.dialects.beta import fields
from relay.dialects.beta.fields import RESPONSE, RESPONSE_CREATE, SESSION, Convert
from relay.dialects.beta.shapes import OMITTED, Shape
from relay.dialects.beta.vocabulary import client_events, server_events

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
"""Server events that have another name in the beta interface, except the updates of sessions."""


def _convert(event: Event, converts: Mapping[str, Convert]) -> Event:
    """Convert the objects in the fields of an event."""
    found = {name: event[name] for name in converts if isinstance(event.get(name), dict)}
    return event | {name: converts[name](value) for name, value in found.items()}


# Client events.

_CLIENT_UP: Mapping[str, Convert] = {
    "session": lambda session: fields.up(session, SESSION),
    "response": lambda response: fields.up(response, RESPONSE_CREATE),
    "item": fields.item_up,
}
_CLIENT_DOWN: Mapping[str, Convert] = {
    "session": lambda session: fields.down(session, SESSION),
    "response": lambda response: fields.down(response, RESPONSE_CREATE),
    "item": fields.item_down,
}


def client_up(event: Event) -> Event:
    """Return an event of a beta client in GA."""
    kind, converted = event["type"], _convert(event, _CLIENT_UP)
    if kind == "transcription_session.update":
        return _typed(converted | {"type": "session.update"}, "transcription")
    return _typed(converted, "realtime") if kind == "session.update" else converted


def unflattened(event: Event) -> Event:
    """Return an event of a GA client in GA, even if it has a session of the beta interface."""
    is_flat = event["type"] == "session.update" and fields.is_flat(event.get("session"))
    return client_up(event) if is_flat else event


def client_down(event: Event, extra_session_fields: Collection[str] = ()) -> Event | None:
    """Return a client event of GA for a beta upstream; None if the types have no such event.

    ``extra_session_fields`` are fields that this upstream knows in addition: they pass as they are.
    """
    converted, session = _convert(event, _CLIENT_DOWN), event.get("session")
    if not isinstance(session, dict):
        return _known_part(converted, client_events())
    known = _known_part(converted | {"type": _update_of(session)}, client_events())
    extra = {name: session[name] for name in extra_session_fields if name in session}
    return known and known | {"session": known["session"] | extra}


def _update_of(session: Event) -> str:
    """Return the name of the event that updates a session of GA."""
    transcribes = session.get("type") == "transcription"
    return "transcription_session.update" if transcribes else "session.update"


def _typed(event: Event, kind: str) -> Event:
    """Add the type to a session that has none."""
    session = event.get("session")
    return event | {"session": {"type": kind} | session} if isinstance(session, dict) else event


def _known_part(event: Event, shapes: Mapping[str, Shape]) -> Event | None:
    """Return the part of an event that the types know; None if they do not know the event."""
    shape = shapes.get(event["type"])
    part: Json = OMITTED if shape is None else shape(event)
    return None if part is OMITTED else part


# Server events.

_SERVER_DOWN: Mapping[str, Convert] = {
    "session": fields.session_down,
    "response": lambda response: fields.down(response, RESPONSE),
    "item": fields.item_down,
    "part": fields.part_down,
    "error": fields.error_down,
}
_SERVER_UP: Mapping[str, Convert] = {
    "session": lambda session: fields.up(session, SESSION),
    "response": lambda response: fields.up(response, RESPONSE),
    "item": fields.item_up,
    "error": fields.error_up,
}


def server_down(event: Event, update: str | None = None) -> Event | None:
    """Return a server event of GA for a beta client; None if the types have no such event.

    ``update`` is the name of the last update that the client sent: its answer has the same name.
    """
    kind = NAMES_DOWN.get(event["type"], event["type"])
    if kind == "session.updated":
        kind = f"{update or _update_of(object_or_empty(event, 'session'))}d"
    return _known_part(_convert({**event, "type": kind}, _SERVER_DOWN), server_events())


class ServerUp:
    """Translates the events of a beta upstream to GA.

    Some events of GA have more in them, so this remembers the names of calls, and the items that
    are not complete when they are created.
    """

    def __init__(self) -> None:
        self._call_names: Recent[Json] = Recent()
        self._incomplete: Recent[Event] = Recent()

    def translate(self, event: Event) -> tuple[Event, ...]:
        """Return one event, or two where GA has two."""
        kind = event["type"]
        converted = _convert({**event, "type": _NAMES_UP.get(kind, kind)}, _SERVER_UP)
        match kind.partition("."):
            case "session", _, _:
                return (_typed(converted, "realtime"),)
            case "transcription_session", _, change:
                return (_typed(converted | {"type": f"session.{change}"}, "transcription"),)
        react = _REACTIONS.get(kind)
        return (converted,) if react is None else react(self, converted)

    def _created(self, event: Event) -> tuple[Event, ...]:
        """Report that an item was added, and that it is done; remember an incomplete item."""
        added, item = event | {"type": "conversation.item.added"}, object_or_empty(event, "item")
        if item.get("status") != "in_progress":
            return (added, _done(event, item))
        self._incomplete.note(str(item.get("id")), event)
        return (added,)

    def _output_added(self, event: Event) -> tuple[Event, ...]:
        item = object_or_empty(event, "item")
        if item.get("type") == "function_call":
            self._call_names.note(str(item.get("id")), item.get("name"))
        return (event,)

    def _output_done(self, event: Event) -> tuple[Event, ...]:
        item = object_or_empty(event, "item")
        created = self._incomplete.pop(str(item.get("id")), None)
        return (event,) if created is None else (_done(created, item), event)

    def _arguments_done(self, event: Event) -> tuple[Event, ...]:
        name = self._call_names.pop(str(event.get("item_id")), None)
        return (event,) if name is None else ({"name": name} | event,)


_REACTIONS: Mapping[str, Callable[[ServerUp, Event], tuple[Event, ...]]] = {
    "conversation.item.created": ServerUp._created,  # noqa: SLF001  # its own table
    "response.output_item.added": ServerUp._output_added,  # noqa: SLF001  # the same
    "response.output_item.done": ServerUp._output_done,  # noqa: SLF001  # the same
    "response.function_call_arguments.done": ServerUp._arguments_done,  # noqa: SLF001  # the same
}


def _done(created: Event, item: Event) -> Event:
    """Return the event of GA that reports a complete item."""
    event_id = f"{created.get('event_id')}_done"
    return created | {"type": "conversation.item.done", "event_id": event_id, "item": item}
