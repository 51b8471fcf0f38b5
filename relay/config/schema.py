"""What the Realtime API accepts, as the ``openai`` package's types say it.

The package's models let unknown fields pass, so that old programs survive new fields. A persona
must not: one misspelt field, and the upstream discards the whole update, instructions included. So
their JSON Schema is walked here, and what it does not name is a fault.

It is a file, ``session.json``, since to import the package would take half of the time of a start.
``docs/generate_session.py`` writes it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from relay.yaml.source import KeyPath

MOVED: Mapping[str, str] = {
    "modalities": "output_modalities",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "max_response_output_tokens": "max_output_tokens",
}
"""Fields of the beta interface that have another name in GA; the rest moved under their own."""

MAX_PLACES = 2
"""A name that stands in more places (``type``) says nothing about what was meant."""

Schema = Mapping[str, Any]
"""A part of the JSON Schema."""

_MODELS: Mapping[str, Schema] = msgspec.json.decode(
    Path(__file__).with_name("session.json").read_bytes()
)["$defs"]
_SESSION: Schema = _MODELS["SessionUpdateEvent"]["properties"]["session"]

_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "text"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "boolean": ((bool,), "true or false"),
    "object": ((dict,), "a mapping"),
    "array": ((list,), "a list"),
    "null": ((type(None),), ""),
}
"""The types of JSON Schema: what they are in Python, and in words."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a session that the API would refuse."""

    path: KeyPath
    message: str


def session_faults(session: Mapping[str, Any], extra_fields: Iterable[str] = ()) -> list[Fault]:
    """Return what the API would refuse in a session object.

    Args:
        session: The object as it is sent.
        extra_fields: Dotted paths that the server knows and the types do not.
    """
    extra = frozenset(extra_fields)
    faults = _faults(session, _SESSION, ())
    return [fault for fault in faults if extra.isdisjoint(_prefixes(fault.path))]


@cache
def session_fields() -> frozenset[str]:
    """Return the dotted path of every field of a conversation's session, lists not entered."""
    return frozenset(_field_paths(_MODELS["RealtimeSessionCreateRequest"]))


@cache
def transcription_fields() -> frozenset[str]:
    """Return the same of a session that only transcribes."""
    return frozenset(_field_paths(_MODELS["RealtimeTranscriptionSessionCreateRequest"]))


@cache
def response_fields() -> frozenset[str]:
    """Return the names of the fields of a ``response.create``'s response."""
    return frozenset(_MODELS["RealtimeResponseCreateParams"]["properties"])


def _prefixes(path: KeyPath) -> set[str]:
    names = [part for part in path if isinstance(part, str)]
    return {".".join(names[:count]) for count in range(1, len(names) + 1)}


def _faults(value: Any, schema: Schema, path: KeyPath) -> list[Fault]:
    """Compare with the alternative that fits best, so that one slip is one fault."""
    kinds = _kinds(schema)
    fitting = [kind for kind in kinds if _fits(value, kind)]
    if not fitting:
        return [_misfit(value, kinds, path)]
    return min((list(_inside(value, kind, path)) for kind in fitting), key=len)


def _inside(value: Any, kind: Schema, path: KeyPath) -> Iterator[Fault]:
    """Compare the parts of a value whose own kind is right."""
    if _is_model(kind):
        yield from _model_faults(value, kind, path)
    elif "items" in kind:
        for index, item in enumerate(value):
            yield from _faults(item, kind["items"], (*path, index))
    elif isinstance(kind.get("additionalProperties"), Mapping):
        for key, item in value.items():
            yield from _faults(item, kind["additionalProperties"], (*path, key))


def _model_faults(value: Mapping[str, Any], model: Schema, path: KeyPath) -> Iterator[Fault]:
    fields = model["properties"]
    for name, item in value.items():
        if name in fields:
            yield from _faults(item, fields[name], (*path, name))
        else:
            yield Fault((*path, name), _unknown((*path, name), fields))
    for name in model.get("required", ()):
        if name not in value:
            yield Fault((*path, name), "is required")


def _unknown(path: KeyPath, fields: Iterable[str]) -> str:
    """Say that there is no such field, and which one was probably meant."""
    unknown = "is not a field of the Realtime API"
    name = str(path[-1])
    if ".".join(map(str, path)) in session_fields():
        return f"{unknown} here: it goes with another `type`"
    if name == "temperature":
        return f"{unknown}: the beta interface had it, leave it out"
    suffix = f".{MOVED.get(name, name)}"
    places = sorted(field for field in session_fields() if f".{field}".endswith(suffix))
    if 0 < len(places) <= MAX_PLACES:
        return f"{unknown} here: it belongs at {' or '.join(places)}"
    close = get_close_matches(name, fields, n=1)
    return f"{unknown}: did you mean {close[0]}?" if close else unknown


def _misfit(value: Any, kinds: list[Schema], path: KeyPath) -> Fault:
    """Say what would have been accepted; of a mapping only its ``type`` can be wrong as a whole."""
    models = [kind for kind in kinds if _is_model(kind)]
    if isinstance(value, dict) and models:
        tags = [repr(tag) for model in models for tag in _tags(model)]
        return Fault((*path, "type"), f"must be {' or '.join(tags)}")
    words = dict.fromkeys(word for kind in kinds for word in _words(kind, among=kinds))
    return Fault(path, f"must be {' or '.join(words)}")


def _words(kind: Schema, among: list[Schema]) -> list[str]:
    if values := _values(kind):
        # Beside any text, the values are only examples of what is known today.
        any_text = any(other["type"] == "string" and not _values(other) for other in among)
        return [] if any_text else [repr(value) for value in values]
    _, word = _TYPES[kind["type"]]
    return [word] if word else []


def _kinds(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema."""
    if "$ref" in schema:
        return _kinds(_MODELS[schema["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in schema:
        return [kind for member in schema["anyOf"] for kind in _kinds(member)]
    return [schema]


def _fits(value: Any, kind: Schema) -> bool:
    """Tell whether a value is of a kind, its parts not looked at."""
    if "type" not in kind:
        return True
    if values := _values(kind):
        return any(type(value) is type(known) and value == known for known in values)
    if _is_model(kind):
        return isinstance(value, dict) and _has_tag(value, kind)
    types, _ = _TYPES[kind["type"]]
    return bool in types if isinstance(value, bool) else isinstance(value, types)


def _has_tag(value: Mapping[str, Any], model: Schema) -> bool:
    tags = _tags(model)
    return not tags or value.get("type", tags[0]) in tags


def _tags(model: Schema) -> list[str]:
    """Return what the ``type`` of such an object may say; empty if it has none."""
    return [tag for kind in _kinds(model["properties"].get("type", {})) for tag in _values(kind)]


def _values(kind: Schema) -> list[Any]:
    """Return the only values that are of a kind; empty if it is not told by its values."""
    return [kind["const"]] if "const" in kind else list(kind.get("enum", ()))


def _field_paths(model: Schema, prefix: str = "") -> Iterator[str]:
    for name, field in model["properties"].items():
        path = f"{prefix}{name}"
        yield path
        for kind in filter(_is_model, _kinds(field)):
            yield from _field_paths(kind, f"{path}.")


def _is_model(kind: Schema) -> bool:
    return "properties" in kind
