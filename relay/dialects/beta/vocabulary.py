"""The vocabulary of the beta interface: the shapes of its events.

They come from the types in ``openai.types.beta.realtime``. ``docs/generate_beta.py`` writes the
JSON Schema of these types to ``vocabulary.json``. A shape keeps only the parts of an event that the
types list, so a client that checks its events strictly finds nothing unknown in them. The tables
below are the differences from the types.
"""

from collections.abc import Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any, Final

import msgspec

from relay.core.events import Json
from relay.dialects.beta.shapes import (
    Shape,
    anything,
    either,
    flag,
    listed,
    mapped,
    number,
    one_of,
    otherwise,
    record,
    text,
    whole,
)

Schema = Mapping[str, Any]
"""A part of the JSON Schema."""

UNNAMED: Final = "relay_0"
"""The id of an event that came without an id."""

_DEFAULTS: Mapping[str, Json] = {
    "event_id": UNNAMED,
    "content_index": 0,
    "message": "",
    "usage": {"type": "duration", "seconds": 0},
    "client_secret": {"value": "", "expires_at": 0},
}
"""Fields that the types require and some servers leave out, with the value that the relay adds."""

_TYPED = frozenset(
    {
        "ConversationItem",
        "ConversationItemContent",
        "ConversationItemWithReference",
        "Content",
        "Part",
        "Tool",
        "SessionTool",
        "ResponseTool",
    }
)
"""Types whose objects mean nothing without their ``type``, which the types do not require.

An object of an unknown ``type`` is omitted as a whole."""

_NEVER_SENT = frozenset(
    {
        # The model is in the URL of the upstream, and GA has no secret in a session.
        ("session_update_event__Session", "model"),
        ("session_update_event__Session", "client_secret"),
        ("transcription_session_update__Session", "client_secret"),
    }
)
"""Fields of client events that the relay does not send."""

_FORMAT = one_of("pcm16", "g711_ulaw", "g711_alaw")
_VAD = one_of("server_vad", "semantic_vad")
_TOOL_CHOICE = either(
    text, record({}, {"type": one_of("function"), "function": record({}, {"name": text})})
)
_OTHER_SHAPES: Mapping[tuple[str, str], Shape] = {
    # Some servers leave it out.
    ("error_event__Error", "type"): otherwise(text, "server_error"),
    # The API accepts an object here, and an upstream may know newer models.
    ("session_update_event__Session", "tool_choice"): _TOOL_CHOICE,
    ("Response", "tool_choice"): _TOOL_CHOICE,
    ("transcription_session_update__SessionInputAudioTranscription", "model"): text,
    # The types allow any text here. The API has these names.
    ("TranscriptionSession", "input_audio_format"): _FORMAT,
    ("SessionCreateResponse", "input_audio_format"): _FORMAT,
    ("SessionCreateResponse", "output_audio_format"): _FORMAT,
    ("transcription_session__TurnDetection", "type"): _VAD,
    ("session_create_response__TurnDetection", "type"): _VAD,
}
"""Fields that have another shape than in the types."""

_FIRST = ("type", "event_id")
"""The API writes these fields first."""

_PLAIN: Mapping[str, Shape] = {
    "string": text,
    "integer": whole,
    "number": number,
    "boolean": flag,
}
_NULL = {"type": "null"}


def server_events() -> Mapping[str, Shape]:
    """Return the shape of each server event."""
    return _shapes("server_events")


def client_events() -> Mapping[str, Shape]:
    """Return the shapes of the client events that have another shape in GA."""
    return _shapes("client_events")


def minted_sessions() -> Mapping[str, Shape]:
    """Return the shapes of the sessions in the answers of the REST API, by their type."""
    return _shapes("minted_sessions")


@cache
def _shapes(table: str) -> Mapping[str, Shape]:
    return {name: _shape(schema) for name, schema in _file()[table].items()}


@cache
def _file() -> Schema:
    """Read the file, once, when the first peer that uses the beta interface needs it."""
    schema: Schema = msgspec.json.decode(Path(__file__).with_name("vocabulary.json").read_bytes())
    return schema


def _shape(schema: Schema) -> Shape:
    """Return the shape of a schema."""
    match schema:
        case {"$ref": reference}:
            return _model(reference.removeprefix("#/$defs/"))
        case {"anyOf": kinds}:
            # Null is not a shape: any optional field may be null.
            return reduce(either, [_shape(kind) for kind in kinds if kind != _NULL])
        case {"const": name}:
            return one_of(name)
        case {"enum": names}:
            return one_of(*names)
        case {"items": member}:
            return listed(_shape(member))
        case {"additionalProperties": member}:
            return mapped(_shape(member))
        case {"type": name}:
            return _PLAIN[name]
    return anything


@cache
def _model(name: str) -> Shape:
    """Return the shape of a type."""
    model = _file()["$defs"][name]
    must = {*model.get("required", ()), *({"type"} if name in _TYPED else ())}
    optional, required = {}, {}
    for field in dict.fromkeys((*_FIRST, *model["properties"])):
        schema = model["properties"].get(field)
        if schema is None or (name, field) in _NEVER_SENT:
            continue
        shape = _OTHER_SHAPES.get((name, field)) or _shape(schema)
        if field not in must:
            optional[field] = shape
        elif field in _DEFAULTS:
            required[field] = otherwise(shape, _DEFAULTS[field])
        else:
            required[field] = shape
    return record(optional, required)
