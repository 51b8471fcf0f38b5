"""The client events of the Realtime API, and the readers that make events of messages.

The relay and the upstream must read the same in a message, with any JSON parser at the upstream.
Therefore the reader of client events is strict: it refuses a message that two parsers could read
differently. Of an upstream's message, the relay reads only the parts that it needs.
"""

import binascii
import json
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
from pybase64 import b64decode

from relay.core.errors import InvalidEvent
from relay.core.messages import Append, Binary, ServerPeek

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
MAX_SERVER_VALUES = 50_000
"""Of a server event that the relay reads: each value takes one or two microseconds."""

MAX_SERVER_DEPTH = 128
"""Of the same: the relay walks through it with functions that call themselves."""

MAX_TEXT_BYTES = 512 * 1024
"""The largest client event, without its audio: it takes some milliseconds to read."""

MAX_SAFE_INTEGER = 2**53
MAX_ID_CHARS = 512

_APPEND_QUOTES = {False: 8, True: 12}
"""Number of quotation marks in an append with each key once, without and with ``event_id``."""

_APPEND_STARTS = (
    b'{"type":"input_audio_buffer.append","audio":"',
    b'{"type": "input_audio_buffer.append", "audio": "',
)
"""The text before the audio, as JavaScript and Python write it."""

_DIFFERENT_AT = len(b'{"type":')
_AUDIO_AT = {start[_DIFFERENT_AT]: len(start) for start in _APPEND_STARTS}
"""The place of the audio, by the byte in which the starts differ."""

_CONTAINERS, _NUMBERS = (dict, list), (int, float)
_TOO_LARGE = "A number is too large."
_TOO_DEEP = f"The event is nested deeper than {MAX_DEPTH} levels."
_SEPARATORS = (b",", b"[", b"{")
_QUOTES_PER_VALUE = 4  # of a key and its value
_MAX_COUNTED_BYTES = 1_048_576
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

_MAX_STRINGS = 4_096
"""The relay looks for audio in this number of strings of a message."""

_MIN_AUDIO_CHARS = 4_096
"""A shorter audio counts as text."""

_append = msgspec.json.Decoder(Append)
_peek = msgspec.json.Decoder(ServerPeek)
encode = msgspec.json.Encoder().encode


def read_append(raw: bytes) -> bytes | None:
    """Return the audio of a message that every JSON parser reads as this append, else None.

    Only then may the relay forward the same bytes. Nearly all appends have a known start and end
    with nothing but base64 between them, so they cannot have another field.
    """
    if raw.startswith(_APPEND_STARTS):
        begin = _AUDIO_AT[raw[_DIFFERENT_AT]]
        if raw.endswith(b'"}', begin):
            try:
                return b64decode(raw[begin:-2], None, True)  # keywords cost more
            except binascii.Error:
                return _read_append(raw)
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
    text = raw if len(raw) <= MAX_TEXT_BYTES else _without_audio(raw)
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidEvent(f"The event has more than {MAX_TEXT_BYTES} bytes without its audio.")
    if not is_short(text):
        raise InvalidEvent(f"The event has more than {MAX_VALUES} values.")
    try:
        event = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except InvalidEvent:
        raise
    except RecursionError:
        raise InvalidEvent(_TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InvalidEvent("The message must be one JSON document.") from None
    except ValueError:  # Python reads no integer of thousands of digits
        raise InvalidEvent(_TOO_LARGE) from None
    if not isinstance(event, dict):
        raise InvalidEvent("The event must be a JSON object.")
    _check_values(event)
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(event)
    if not isinstance(event.get("type"), str):
        raise InvalidEvent("The event must have a 'type' that is a string.")
    return event


def _without_audio(raw: bytes) -> bytes:
    """Return a message with ``""`` for each long base64 under the key ``audio``.

    A string of base64 has no escape and no quotation mark, so one read proves it.
    """
    pieces = raw.split(b'"', 2 * _MAX_STRINGS)
    for at in range(2, len(pieces)):
        is_audio = pieces[at - 2] == b"audio" and pieces[at - 1].strip() == b":"
        if is_audio and len(pieces[at]) >= _MIN_AUDIO_CHARS and _is_base64(pieces[at]):
            pieces[at] = b""
    return b'"'.join(pieces)


def _is_base64(text: bytes) -> bool:
    try:
        b64decode(text, None, True)
    except binascii.Error:
        return False
    return True


def is_short(raw: bytes, max_values: int = MAX_VALUES) -> bool:
    """Return whether a document has at most ``max_values`` values.

    The first count includes the text in strings, and is enough for most documents. The second one
    leaves it out; it takes 10 ms for a mebibyte, so a longer document counts with its text.
    """
    if len(raw) <= max_values or sum(map(raw.count, _SEPARATORS)) <= max_values:
        return True
    if len(raw) > _MAX_COUNTED_BYTES:
        return False
    bare = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') > _QUOTES_PER_VALUE * max_values:
        return False
    outside = b"".join(bare.split(b'"')[::2])
    return sum(map(outside.count, _SEPARATORS)) <= max_values


def _unique(pairs: Sequence[tuple[str, Json]]) -> Event:
    found = dict(pairs)
    if len(pairs) > 1 and len(set(map(str.casefold, found))) != len(pairs):
        raise InvalidEvent("An object has the same key twice.")
    return found


def _no_constant(name: str) -> Json:
    raise InvalidEvent(f"{name} is not JSON.")


def _check_values(event: Event) -> None:
    """Refuse values below ``MAX_DEPTH`` levels, and numbers that a double cannot hold exactly."""
    level: list[Json] = [event]
    for _ in range(MAX_DEPTH - 1):
        values = _values_in(level)
        numbers = [value for value in values if type(value) in _NUMBERS]
        if numbers and max(map(abs, numbers)) > MAX_SAFE_INTEGER:
            raise InvalidEvent(_TOO_LARGE)
        level = [value for value in values if type(value) in _CONTAINERS]
        if not level:
            return
    if any(level):
        raise InvalidEvent(_TOO_DEEP)


def _values_in(level: list[Json]) -> list[Json]:
    """Return the values of these objects and lists."""
    inner = (value.values() if type(value) is dict else value for value in level)
    return list(chain.from_iterable(inner))


def _check_surrogates(value: Json) -> None:
    """Refuse half surrogate pairs, which UTF-8 cannot encode."""
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value):
            raise InvalidEvent("A string has half a surrogate pair.")
    elif isinstance(value, dict):
        _check_surrogates(list(value))
        _check_surrogates(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item)


def peek(raw: bytes) -> ServerPeek | None:
    """Return the fields that the relay reads of every server event; None if it is not an event."""
    try:
        return _peek.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_server(raw: bytes) -> Event | None:
    """Return a server event; None if the message is not an event, or has too many values."""
    if not is_short(raw, MAX_SERVER_VALUES):
        return None
    try:
        event = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        return None
    # The count includes the text in strings, and is enough for most events.
    is_flat = raw.count(b"{") + raw.count(b"[") <= MAX_SERVER_DEPTH
    return event if is_flat or not _is_deep(event) else None


def _is_deep(event: Event) -> bool:
    """Return whether an event has values below ``MAX_SERVER_DEPTH`` levels."""
    level: list[Json] = [event]
    for _ in range(MAX_SERVER_DEPTH):
        level = [value for value in _values_in(level) if type(value) in _CONTAINERS]
        if not level:
            return False
    return True


def error_of(event: Event) -> Event:
    """Return the error object of an ``error`` event.

    In some servers the error is a string, with the code beside it (vLLM's ``/v1/realtime``).
    """
    error = event.get("error")
    if isinstance(error, dict):
        return error
    return {"code": event.get("code"), "message": error}
