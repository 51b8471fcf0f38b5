"""What a client may say: an allow-list of events, and of fields in them.

Whatever goes on to the upstream is built here from the values that were looked at; nothing
travels because nobody objected. Closed fields are left out and counted, since SDKs and agent
frameworks send them as a habit; closed events and items are refused and answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pybase64 import b64decode

from relay.core.conversation import Conversation
from relay.core.errors import EventNotAllowed, InvalidEvent
from relay.core.events import CLIENT_EVENTS, MAX_ID_CHARS, Event, Json

ALWAYS_OPEN = CLIENT_EVENTS - {"output_audio_buffer.clear"}
"""What any client may send; WebSocket sessions have no output buffer to clear."""

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
"""The same by the type of the session: where nobody answers, nothing is asked or written."""

DECIDES_WHAT_IT_IS = ("conversation", "input")
"""Fields that make another request of a ``response.create``: closed, they refuse the event."""

MAX_ITEM_ID_CHARS = 64
MAX_METADATA_PAIRS, MAX_METADATA_KEY_CHARS, MAX_METADATA_VALUE_CHARS = 16, 64, 512

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this event to the upstream: what of the client's event is open to it."""

    event: Event


@dataclass(frozen=True, slots=True)
class AnswerUpdate:
    """Nothing of this ``session.update`` is open: answer it as if it had been applied."""


Decision = Forward | AnswerUpdate


@dataclass(frozen=True, slots=True)
class Policy:
    """What a persona opens to clients beyond the safe default.

    Attributes:
        session_type: what its sessions are, ``realtime`` or ``transcription``.
        events: more client event types.
        session: paths of session fields that a client may set.
        response: paths of ``response.create`` fields that a client may set.
    """

    session_type: str = "realtime"
    events: frozenset[str] = frozenset()
    session: frozenset[Path] = frozenset()
    response: frozenset[Path] = frozenset()

    def decide(self, event: Event, conversation: Conversation) -> Decision:
        """Decide what becomes of a client event.

        Raises:
            EventNotAllowed: it is closed to this client.
            InvalidEvent: a field that matters is not what the API says.
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

    def _update(self, event: Event) -> Decision:
        asked = {key: value for key, value in _object(event, "session").items() if key != "type"}
        kept = keep(asked, self.session)
        if not kept:
            return AnswerUpdate()
        return Forward(_head(event) | {"session": {"type": self.session_type} | kept})

    def _response(self, event: Event) -> Forward:
        asked = {} if event.get("response") is None else _object(event, "response")
        for field in DECIDES_WHAT_IT_IS:
            if field in asked and (field,) not in self.response:
                raise EventNotAllowed(f"'response.{field}' is not allowed here.")
        kept = keep(asked, self.response | {("metadata",)})
        if kept.get("metadata") is not None:
            _check_metadata(kept["metadata"])
        return Forward(_head(event) | ({"response": kept} if kept else {}))


def keep(asked: Mapping[str, Json], opened: frozenset[Path], at: Path = ()) -> Event:
    """Return the opened fields of what was asked for."""
    kept: Event = {}
    for key, value in asked.items():
        path = (*at, key)
        if path in opened:
            kept[key] = value
        elif isinstance(value, dict) and any(p[: len(path)] == path for p in opened):
            inner = keep(value, opened, path)
            kept |= {key: inner} if inner else {}
    return kept


def _plain(event: Event, conversation: Conversation) -> Forward:
    """Decide on an event whose fields are all named in one table."""
    read = {name: check(event, name) for name, check in _FIELDS[event["type"]].items()}
    picked = {name: value for name, value in read.items() if value is not None}
    if "item_id" in picked and picked["item_id"] not in conversation.items:
        raise EventNotAllowed("There is no such item, or not for you.")
    if "response_id" in picked and picked["response_id"] not in conversation.responses:
        raise EventNotAllowed("There is no such response, or not for you.")
    return Forward(_head(event) | picked)


def _item(event: Event, conversation: Conversation) -> Forward:
    """Decide on an item: a user's message, or the output of a call delegated to this client."""
    item = _object(event, "item")
    build = _ITEMS.get(f"{item.get('type')}:{item.get('role')}")
    if build is None:
        raise EventNotAllowed("Only user messages and outputs of your own calls are allowed here.")
    item_id = {} if item.get("id") is None else {"id": _new_id(item, conversation)}
    return Forward(_head(event) | {"item": item_id | build(item, conversation)})


def _message(item: Event, _conversation: Conversation) -> Event:
    parts = item.get("content")
    if not isinstance(parts, list):
        raise InvalidEvent("'item.content' is a list of parts.")
    return {"type": "message", "role": "user", "content": [_part(part) for part in parts]}


def _part(part: Json) -> Event:
    if not isinstance(part, dict):
        raise InvalidEvent("A part of 'item.content' is an object.")
    match part.get("type"):
        case "input_text":
            return {"type": "input_text", "text": _string(part, "text")}
        case "input_audio":
            return {"type": "input_audio", "audio": _base64(part, "audio")}
    raise EventNotAllowed("Only 'input_text' and 'input_audio' are allowed here.")


def _output(item: Event, conversation: Conversation) -> Event:
    call_id, output = _id(item, "call_id"), _string(item, "output")
    if not conversation.may_answer(call_id):
        raise EventNotAllowed("That call is not yours to answer, or it is answered.")
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _head(event: Event) -> Event:
    """Return the start of the event that goes on: its type, and the client's id for it."""
    if event.get("event_id") is None:
        return {"type": event["type"]}
    return {"type": event["type"], "event_id": _id(event, "event_id")}


def _object(event: Event, name: str) -> Event:
    value = event.get(name)
    if not isinstance(value, dict):
        raise InvalidEvent(f"'{name}' is an object.")
    return value


def _string(event: Event, name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str):
        raise InvalidEvent(f"'{name}' is a string.")
    return value


def _id(event: Event, name: str) -> str:
    value = _string(event, name)
    if not 0 < len(value) <= MAX_ID_CHARS:
        raise InvalidEvent(f"'{name}' has 1 to {MAX_ID_CHARS} characters.")
    return value


def _optional_id(event: Event, name: str) -> str | None:
    return None if event.get(name) is None else _id(event, name)


def _new_id(item: Event, conversation: Conversation) -> str:
    item_id = _id(item, "id")
    if len(item_id) > MAX_ITEM_ID_CHARS:
        raise InvalidEvent(f"'item.id' has at most {MAX_ITEM_ID_CHARS} characters.")
    if item_id in conversation.items:
        raise EventNotAllowed("There is an item with this id.")
    return item_id


def _natural(event: Event, name: str) -> int:
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidEvent(f"'{name}' is a whole number, not below 0.")
    return value


def _base64(event: Event, name: str) -> str:
    value = _string(event, name)
    try:
        b64decode(value, validate=True)
    except ValueError:
        raise InvalidEvent(f"'{name}' is base64.") from None
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
            f"'response.metadata' has at most {MAX_METADATA_PAIRS} pairs of strings, with keys of "
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
