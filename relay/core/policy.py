"""The policy for client events: an allow-list of events, and of fields in them.

An event for the upstream is built here from values that were checked, so an unchecked value cannot
pass. Closed fields are removed and counted, since SDKs and agent frameworks send them by habit.
Closed events and items are refused with an answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pybase64 import b64decode

from relay.core.conversation import Conversation
from relay.core.errors import EventNotAllowed, InvalidEvent
from relay.core.events import CLIENT_EVENTS, MAX_ID_CHARS, Event, Json
from relay.core.objects import object_or_empty, optional_object, require_object
from relay.core.paths import Path, keep
from relay.core.stripped_fields import stripped_fields

ALWAYS_OPEN = CLIENT_EVENTS - {"output_audio_buffer.clear"}
"""Events that any client may send. WebSocket sessions have no output buffer to clear."""

OPEN_IN: Mapping[str, frozenset[str]] = {
    "realtime": ALWAYS_OPEN,
    "transcription": frozenset(
        {
            "session.update",
            "input_audio_buffer.append",
            "input_audio_buffer.commit",
            "input_audio_buffer.clear",
            "conversation.item.retrieve",
            "conversation.item.delete",
        }
    ),
}
"""The same by the type of the session: a transcription session has no responses."""

MEANING_FIELDS = ("conversation", "input")
"""Fields that change the meaning of a ``response.create``. If they are closed, it is refused."""

MAX_ITEM_ID_CHARS = 64
MAX_METADATA_PAIRS, MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS = 16, 64, 512


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this event to the upstream: the open part of the client's event."""

    event: Event


@dataclass(frozen=True, slots=True)
class AnswerUpdate:
    """Answer this ``session.update`` as if it had been applied: it has no open field."""


Decision = Forward | AnswerUpdate


@dataclass(frozen=True, slots=True)
class Policy:
    """The events and fields that a persona opens to clients, in addition to the safe default.

    Attributes:
        session_type: ``realtime`` or ``transcription``.
        events: types of client events.
        session: paths of session fields that a client may set.
        response: paths of ``response.create`` fields that a client may set.
    """

    session_type: str = "realtime"
    events: frozenset[str] = frozenset()
    session: frozenset[Path] = frozenset()
    response: frozenset[Path] = frozenset()

    def decide(self, event: Event, conversation: Conversation) -> Decision:
        """Return the decision on a client event.

        Raises:
            EventNotAllowed: the event or an item in it is closed to this client.
            InvalidEvent: a field that the relay reads has not the type or size of the API.
        """
        kind = event["type"]
        if kind not in OPEN_IN[self.session_type] and kind not in self.events:
            raise EventNotAllowed("Events of this type are not allowed here.")
        if kind == "session.update":
            return self._update(event)
        if kind == "response.create":
            return self._response(event)
        if kind == "conversation.item.create":
            return _item(event, conversation)
        return _plain(event, conversation)

    def stripped(self, asked: Event, kept: Event) -> tuple[str, ...]:
        """Return the names of the fields that a client event lost on its way."""
        if asked["type"] == "session.update":
            typed = {"type": self.session_type} | object_or_empty(kept, "session")
            kept = kept | {"session": typed}
        return stripped_fields(asked, kept, {"session": self.session, "response": self.response})

    def _update(self, event: Event) -> Decision:
        session = require_object(event, "session")
        kept = keep({k: v for k, v in session.items() if k != "type"}, self.session)
        if not kept:
            return AnswerUpdate()
        return Forward(_head(event) | {"session": {"type": self.session_type} | kept})

    def _response(self, event: Event) -> Forward:
        response = optional_object(event, "response")
        for field in MEANING_FIELDS:
            if field in response and (field,) not in self.response:
                raise EventNotAllowed(f"'response.{field}' is not allowed here.")
        kept = keep(response, self.response | {("metadata",)})
        if kept.get("metadata") is not None:
            _check_metadata(kept["metadata"])
        return Forward(_head(event) | ({"response": kept} if kept else {}))


def _plain(event: Event, conversation: Conversation) -> Forward:
    """Decide on an event that has only the fields of one table."""
    read = {name: check(event, name) for name, check in _FIELDS[event["type"]].items()}
    picked = {name: value for name, value in read.items() if value is not None}
    if "item_id" in picked and picked["item_id"] not in conversation.items:
        raise EventNotAllowed("No item of this client has this 'item_id'.")
    if "response_id" in picked and picked["response_id"] not in conversation.responses:
        raise EventNotAllowed("No response of this client has this 'response_id'.")
    return Forward(_head(event) | picked)


def _item(event: Event, conversation: Conversation) -> Forward:
    """Decide on an item: a message of the user, or the output of one of the client's own calls."""
    item = require_object(event, "item")
    build = _ITEMS.get(f"{item.get('type')}:{item.get('role')}")
    if build is None:
        raise EventNotAllowed(
            "Only user messages and outputs of the client's own calls are allowed here."
        )
    item_id = {} if item.get("id") is None else {"id": _new_id(item, conversation)}
    return Forward(_head(event) | {"item": item_id | build(item, conversation)})


def _message(item: Event, _conversation: Conversation) -> Event:
    parts = item.get("content")
    if not isinstance(parts, list):
        raise InvalidEvent("'item.content' must be a list of parts.")
    return {"type": "message", "role": "user", "content": [_part(part) for part in parts]}


def _part(part: Json) -> Event:
    if not isinstance(part, dict):
        raise InvalidEvent("A part of 'item.content' must be an object.")
    match part.get("type"):
        case "input_text":
            return {"type": "input_text", "text": _string(part, "text")}
        case "input_audio":
            return {"type": "input_audio", "audio": _base64(part, "audio")}
    raise EventNotAllowed("Only 'input_text' and 'input_audio' are allowed here.")


def _output(item: Event, conversation: Conversation) -> Event:
    call_id, output = _id(item, "call_id"), _string(item, "output")
    if not conversation.may_answer(call_id):
        raise EventNotAllowed("The client has no open call with this 'call_id'.")
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _head(event: Event) -> Event:
    """Return the first fields of the event for the upstream: the type, and the client's id."""
    if event.get("event_id") is None:
        return {"type": event["type"]}
    return {"type": event["type"], "event_id": _id(event, "event_id")}


def _string(event: Event, name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str):
        raise InvalidEvent(f"'{name}' must be a string.")
    return value


def _id(event: Event, name: str) -> str:
    value = _string(event, name)
    if not 0 < len(value) <= MAX_ID_CHARS:
        raise InvalidEvent(f"'{name}' must have 1 to {MAX_ID_CHARS} characters.")
    return value


def _optional_id(event: Event, name: str) -> str | None:
    return None if event.get(name) is None else _id(event, name)


def _new_id(item: Event, conversation: Conversation) -> str:
    item_id = _id(item, "id")
    if len(item_id) > MAX_ITEM_ID_CHARS:
        raise InvalidEvent(f"'item.id' may have at most {MAX_ITEM_ID_CHARS} characters.")
    if conversation.has_item(item_id):
        raise EventNotAllowed("An item with this id exists already.")
    return item_id


def _natural(event: Event, name: str) -> int:
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidEvent(f"'{name}' must be a whole number, at least 0.")
    return value


def _base64(event: Event, name: str) -> str:
    value = _string(event, name)
    try:
        b64decode(value, validate=True)
    except ValueError:
        raise InvalidEvent(f"'{name}' must be base64.") from None
    return value


def _check_metadata(metadata: Json) -> None:
    fits = (
        isinstance(metadata, dict)
        and len(metadata) <= MAX_METADATA_PAIRS
        and all(
            isinstance(value, str)
            and len(key) <= MAX_METADATA_KEY_CHARS
            and len(value) <= MAX_METADATA_VALUE_CHARS
            for key, value in metadata.items()
        )
    )
    if not fits:
        raise InvalidEvent(
            f"'response.metadata' may have {MAX_METADATA_PAIRS} pairs of strings, with keys of "
            f"{MAX_METADATA_KEY_CHARS} and values of {MAX_METADATA_VALUE_CHARS} characters."
        )


_FIELDS: Mapping[str, Mapping[str, Callable[[Event, str], Json]]] = {
    "input_audio_buffer.append": {"audio": _base64},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "output_audio_buffer.clear": {},
    "response.cancel": {"response_id": _optional_id},
    "conversation.item.retrieve": {"item_id": _id},
    "conversation.item.delete": {"item_id": _id},
    "conversation.item.truncate": {
        "item_id": _id,
        "content_index": _natural,
        "audio_end_ms": _natural,
    },
}
_ITEMS: Mapping[str, Callable[[Event, Conversation], Event]] = {
    "message:user": _message,
    "function_call_output:None": _output,
}
