"""The client events of the Realtime API, and the readers that make events of messages.

The relay and the upstream must read the same in a message, with any JSON parser at the upstream.
Therefore the reader of client events is strict: it refuses a message that two parsers could read
differently. Of an upstream's message, the relay reads only the parts that it needs.
"""

import binascii
import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pybase64 import b64decode

from relay.core.errors import InvalidEvent

Json = Any
"""A decoded JSON value."""

Event = dict[str, Json]
"""A decoded event: an object with a ``type``."""

CLIENT_EVENTS = frozenset(
    {
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "output_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.retrieve",
        "conversation.item.truncate",
        "conversation.item.delete",
        "response.create",
        "response.cancel",
    }
)
"""The client events of the GA interface (``openai.types.realtime.RealtimeClientEvent``)."""

MAX_DEPTH = 32
MAX_VALUES = 20_000
MAX_SAFE_INTEGER = 2**53
MAX_ID_CHARS = 512

_APPEND_QUOTES = {False: 8, True: 12}
"""Number of quotation marks in an append with each key once, without and with ``event_id``."""

_APPEND_STARTS = (
    b'{"type":"input_audio_buffer.append","audio":"',
    b'{"type": "input_audio_buffer.append", "audio": "',
)
"""The text before the audio, as JavaScript and Python write it."""

_SEPARATORS = (b",", b"[", b"{")
_MAX_QUOTES = 4 * MAX_VALUES
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Binary(bytes):
    """A binary message. OpenAI's API has only text messages; in some dialects, this is audio."""

    __slots__ = ()


class _Append(msgspec.Struct, forbid_unknown_fields=True):
    """Client audio without any other field."""

    type: Literal["input_audio_buffer.append"]
    audio: bytes
    event_id: str | None = None


class ServerPeek(msgspec.Struct):
    """The fields that the relay reads of every server event.

    ``delta`` is not decoded, since the relay needs only the length of audio.
    """

    type: str
    delta: msgspec.Raw = msgspec.Raw()


_append = msgspec.json.Decoder(_Append)
_peek = msgspec.json.Decoder(ServerPeek)
encode = msgspec.json.Encoder().encode


def read_append(raw: bytes) -> bytes | None:
    """Return the audio of a message that every JSON parser reads as this append, else None.

    Only then may the relay forward the same bytes. Nearly all appends have a known start and end
    with nothing but base64 between them, so they cannot have another field.
    """
    for start in _APPEND_STARTS:
        if raw.startswith(start) and raw.endswith(b'"}', len(start)):
            try:
                return b64decode(raw[len(start) : -2], None, True)  # keywords cost more
            except binascii.Error:
                break
    return _read_append(raw)


def _read_append(raw: bytes) -> bytes | None:
    """Return the same for an append in another notation.

    The struct allows three exact keys and checks each ``type``. If there are no escapes, the number
    of quotation marks shows that no key comes twice.
    """
    try:
        append = _append.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    quotes = _APPEND_QUOTES[append.event_id is not None]
    if raw.count(b'"') != quotes or b"\\" in raw or len(append.event_id or "") > MAX_ID_CHARS:
        return None
    return append.audio


def decode_client(raw: bytes) -> Event:
    """Return the client's event.

    Raises:
        InvalidEvent: the message is not one JSON object with a ``type``, or two parsers could read
            it differently: a key that comes twice (also in another case), a number that a double
            cannot hold exactly, half a surrogate pair.
    """
    if isinstance(raw, Binary):
        raise InvalidEvent("The message must be text, not binary.")
    if not _is_short(raw):
        raise InvalidEvent(f"The event has more than {MAX_VALUES} values.")
    try:
        event = _read_json(raw.decode())
    except InvalidEvent:
        raise
    except RecursionError:
        raise InvalidEvent(f"The event is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError:
        raise InvalidEvent("The message must be one JSON document.") from None
    if not isinstance(event, dict):
        raise InvalidEvent("The event must be a JSON object.")
    _check(event)
    if not isinstance(event.get("type"), str):
        raise InvalidEvent("The event must have a 'type' that is a string.")
    return event


def _is_short(raw: bytes) -> bool:
    """Return whether a document has at most ``MAX_VALUES`` values.

    The first count includes the text in strings, and is enough for most documents. The second one
    leaves it out.
    """
    if sum(map(raw.count, _SEPARATORS)) <= MAX_VALUES:
        return True
    bare = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > _MAX_QUOTES:
        return False
    outside = b"".join(bare.split(b'"')[::2])
    return sum(map(outside.count, _SEPARATORS)) <= MAX_VALUES


def _read_json(text: str) -> Json:
    return json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_no_constant,
        parse_float=_finite,
        parse_int=_safe_integer,
    )


def _unique(pairs: Sequence[tuple[str, Json]]) -> Event:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise InvalidEvent("An object has the same key twice.")
    return dict(pairs)


def _no_constant(name: str) -> Json:
    raise InvalidEvent(f"{name} is not JSON.")


def _finite(digits: str) -> float:
    value = float(digits)
    if abs(value) > MAX_SAFE_INTEGER:
        raise InvalidEvent("A number is too large.")
    return value


def _safe_integer(digits: str) -> int:
    if len(digits) > len(str(MAX_SAFE_INTEGER)) + 1 or abs(int(digits)) > MAX_SAFE_INTEGER:
        raise InvalidEvent("A number is too large.")
    return int(digits)


def _check(value: Json, depth: int = 1) -> None:
    """Refuse too deep nesting, and half surrogate pairs, which UTF-8 cannot encode."""
    if depth > MAX_DEPTH:
        raise InvalidEvent(f"The event is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value):
            raise InvalidEvent("A string has half a surrogate pair.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def peek(raw: bytes) -> ServerPeek | None:
    """Return the fields that the relay reads of every server event; None if it is not an event."""
    try:
        return _peek.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_server(raw: bytes) -> Event | None:
    """Return a server event; None if the message is not an event."""
    try:
        event = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


def error_of(event: Event) -> Event:
    """Return the error object of an ``error`` event.

    In some servers the error is a string, with the code beside it (vLLM's ``/v1/realtime``).
    """
    error = event.get("error")
    if isinstance(error, dict):
        return error
    return {"code": event.get("code"), "message": error}
