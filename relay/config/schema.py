"""Checks a session against the types of the Realtime API in the ``openai`` package.

The models of the package accept unknown fields, so that old programs accept new fields. A persona
may not have them: for one misspelt field, the upstream discards the whole update with the
instructions. Therefore, this module compares a session with the JSON Schema of the models, and
reports each field that the schema does not have.

The schema is in the file ``session.json``, because the import of the package would take half of
the time of a start. ``docs/generate_session.py`` writes the file with the keywords that this module
reads.
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
"""Fields of the beta interface with another name in GA; the others keep their names in GA."""

MAX_SUGGESTIONS = 2
"""A name with more places in the session (``type``) does not indicate the intended place."""

Schema = Mapping[str, Any]
"""A node of the JSON Schema."""

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
"""The types of JSON Schema, as Python types and in words."""


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """A part of a session that the API would refuse."""

    path: KeyPath
    message: str


def session_problems(
    session: Mapping[str, Any], extra_fields: Iterable[str] = ()
) -> list[SchemaProblem]:
    """Return the parts of a session object that the API would refuse.

    Args:
        session: The object as the relay sends it.
        extra_fields: Dotted paths that the server accepts and the types do not have.
    """
    extra = frozenset(extra_fields)
    problems = _problems(session, _SESSION, ())
    return [problem for problem in problems if extra.isdisjoint(_prefixes(problem.path))]


@cache
def session_fields() -> frozenset[str]:
    """Return the dotted paths of all fields of a session that answers, except inside lists."""
    return frozenset(_field_paths(_MODELS["RealtimeSessionCreateRequest"]))


@cache
def transcription_fields() -> frozenset[str]:
    """Return the dotted paths of all fields of a session that only transcribes."""
    return frozenset(_field_paths(_MODELS["RealtimeTranscriptionSessionCreateRequest"]))


@cache
def response_fields() -> frozenset[str]:
    """Return the names of the fields of ``response`` in a ``response.create``."""
    return frozenset(_MODELS["RealtimeResponseCreateParams"]["properties"])


def _prefixes(path: KeyPath) -> set[str]:
    names = [part for part in path if isinstance(part, str)]
    return {".".join(names[:count]) for count in range(1, len(names) + 1)}


def _problems(value: Any, schema: Schema, path: KeyPath) -> list[SchemaProblem]:
    """Compare with the alternative that fits best, so that one mistake is one problem."""
    alternatives = _alternatives(schema)
    fitting = [alternative for alternative in alternatives if _fits(value, alternative)]
    if not fitting:
        return [_wrong_type(value, alternatives, path)]
    return min((list(_part_problems(value, schema, path)) for schema in fitting), key=len)


def _part_problems(value: Any, schema: Schema, path: KeyPath) -> Iterator[SchemaProblem]:
    """Compare the parts of a value that fits a schema without them."""
    if _is_model(schema):
        yield from _field_problems(value, schema, path)
    elif "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(item, schema["items"], (*path, index))
    elif "additionalProperties" in schema:
        for key, item in value.items():
            yield from _problems(item, schema["additionalProperties"], (*path, key))


def _field_problems(
    value: Mapping[str, Any], model: Schema, path: KeyPath
) -> Iterator[SchemaProblem]:
    fields = model["properties"]
    for name, item in value.items():
        if name in fields:
            yield from _problems(item, fields[name], (*path, name))
        else:
            yield SchemaProblem((*path, name), _unknown((*path, name), fields))
    for name in model.get("required", ()):
        if name not in value:
            yield SchemaProblem((*path, name), "is required")


def _unknown(path: KeyPath, fields: Iterable[str]) -> str:
    """Return the message for an unknown field, with the name or place that is most similar."""
    unknown = "is not a field of the Realtime API"
    name = str(path[-1])
    if ".".join(map(str, path)) in session_fields():
        return f"{unknown} here: it goes with another `type`"
    if name == "temperature":
        return f"{unknown}: the beta interface had it, leave it out"
    suffix = f".{MOVED.get(name, name)}"
    places = sorted(field for field in session_fields() if f".{field}".endswith(suffix))
    if 0 < len(places) <= MAX_SUGGESTIONS:
        return f"{unknown} here: it belongs at {' or '.join(places)}"
    close = get_close_matches(name, fields, n=1)
    return f"{unknown}: did you mean {close[0]}?" if close else unknown


def _wrong_type(value: Any, alternatives: list[Schema], path: KeyPath) -> SchemaProblem:
    """Return the problem of a value that fits no alternative, with the accepted types or values.

    Of a mapping in place of a model, only the ``type`` can be wrong here.
    """
    models = list(filter(_is_model, alternatives))
    if isinstance(value, dict) and models:
        tags = [repr(tag) for model in models for tag in _tags(model)]
        return SchemaProblem((*path, "type"), f"must be {' or '.join(tags)}")
    words = dict.fromkeys(word for schema in alternatives for word in _words(schema, alternatives))
    return SchemaProblem(path, f"must be {' or '.join(words)}")


def _words(schema: Schema, alternatives: list[Schema]) -> list[str]:
    if values := _values(schema):
        # If any text is accepted too, the values are only examples.
        any_text = any(other["type"] == "string" and not _values(other) for other in alternatives)
        return [] if any_text else [repr(value) for value in values]
    _, word = _TYPES[schema["type"]]
    return [word] if word else []


def _alternatives(schema: Schema) -> list[Schema]:
    """Return the alternative schemas of a value, without references."""
    if "$ref" in schema:
        return _alternatives(_MODELS[schema["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in schema:
        return [inner for member in schema["anyOf"] for inner in _alternatives(member)]
    return [schema]


def _fits(value: Any, schema: Schema) -> bool:
    """Return whether a value fits a schema, without a look at its parts."""
    if "type" not in schema:
        return True
    if values := _values(schema):
        return any(type(value) is type(known) and value == known for known in values)
    if _is_model(schema):
        return isinstance(value, dict) and _has_tag(value, schema)
    types, _ = _TYPES[schema["type"]]
    return bool in types if isinstance(value, bool) else isinstance(value, types)


def _has_tag(value: Mapping[str, Any], model: Schema) -> bool:
    tags = _tags(model)
    return not tags or value.get("type", tags[0]) in tags


def _tags(model: Schema) -> list[str]:
    """Return the values that ``type`` may have in a model; empty without such a field."""
    field = model["properties"].get("type", {})
    return [tag for schema in _alternatives(field) for tag in _values(schema)]


def _values(schema: Schema) -> list[Any]:
    """Return the only values that fit a schema; empty if it does not list them."""
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _field_paths(model: Schema, prefix: str = "") -> Iterator[str]:
    for name, field in model["properties"].items():
        path = f"{prefix}{name}"
        yield path
        for inner in filter(_is_model, _alternatives(field)):
            yield from _field_paths(inner, f"{path}.")


def _is_model(schema: Schema) -> bool:
    return "properties" in schema
