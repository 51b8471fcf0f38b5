"""What the Realtime API accepts, as the ``openai`` package's types say it.

The package's models let unknown fields pass, so that old programs survive new fields. A persona
must not: one misspelt field, and the upstream discards the whole update, instructions included. So
the annotations are walked here, and what they do not name is a fault.

Importing this module imports ``openai``, which takes half a second.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from openai.types.realtime.realtime_response_create_params import RealtimeResponseCreateParams
from openai.types.realtime.realtime_session_create_request import RealtimeSessionCreateRequest
from openai.types.realtime.realtime_transcription_session_create_request import (
    RealtimeTranscriptionSessionCreateRequest,
)
from openai.types.realtime.session_update_event import Session
from pydantic import BaseModel

from relay.source import KeyPath

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

_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


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
    faults = _faults(session, Session, ())
    return [fault for fault in faults if extra.isdisjoint(_prefixes(fault.path))]


@cache
def session_fields() -> frozenset[str]:
    """Return the dotted path of every field of a conversation's session, lists not entered."""
    return frozenset(_field_paths(RealtimeSessionCreateRequest))


@cache
def transcription_fields() -> frozenset[str]:
    """Return the same of a session that only transcribes."""
    return frozenset(_field_paths(RealtimeTranscriptionSessionCreateRequest))


@cache
def response_fields() -> frozenset[str]:
    """Return the names of the fields of a ``response.create``'s response."""
    return frozenset(RealtimeResponseCreateParams.model_fields)


def _prefixes(path: KeyPath) -> set[str]:
    names = [part for part in path if isinstance(part, str)]
    return {".".join(names[:count]) for count in range(1, len(names) + 1)}


def _faults(value: Any, annotation: Any, path: KeyPath) -> list[Fault]:
    """Compare with the alternative that fits best, so that one slip is one fault."""
    kinds = _kinds(annotation)
    fitting = [kind for kind in kinds if _fits(value, kind)]
    if not fitting:
        return [_misfit(value, kinds, path)]
    return min((list(_inside(value, kind, path)) for kind in fitting), key=len)


def _inside(value: Any, kind: Any, path: KeyPath) -> Iterator[Fault]:
    """Compare the parts of a value whose own kind is right."""
    if _is_model(kind):
        yield from _model_faults(value, kind, path)
    elif get_origin(kind) is list:
        for index, item in enumerate(value):
            yield from _faults(item, get_args(kind)[0], (*path, index))
    elif get_origin(kind) is dict:
        for key, item in value.items():
            yield from _faults(item, get_args(kind)[1], (*path, key))


def _model_faults(
    value: Mapping[str, Any], model: type[BaseModel], path: KeyPath
) -> Iterator[Fault]:
    fields = model.model_fields
    for name, item in value.items():
        if name in fields:
            yield from _faults(item, fields[name].annotation, (*path, name))
        else:
            yield Fault((*path, name), _unknown((*path, name), fields))
    for name, field in fields.items():
        if field.is_required() and name not in value:
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


def _misfit(value: Any, kinds: list[Any], path: KeyPath) -> Fault:
    """Say what would have been accepted; of a mapping only its ``type`` can be wrong as a whole."""
    models = [kind for kind in kinds if _is_model(kind)]
    if isinstance(value, dict) and models:
        tags = [repr(tag) for model in models for tag in _tags(model)]
        return Fault((*path, "type"), f"must be {' or '.join(tags)}")
    words = dict.fromkeys(word for kind in kinds for word in _words(kind, among=kinds))
    return Fault(path, f"must be {' or '.join(words)}")


def _words(kind: Any, among: list[Any]) -> list[str]:
    if _is_model(kind) or get_origin(kind) is dict:
        return ["a mapping"]
    if get_origin(kind) is list:
        return ["a list"]
    if get_origin(kind) is Literal:
        # Beside `str`, the values are only examples of what is known today.
        return [] if str in among else [repr(value) for value in get_args(kind)]
    return [_WORDS[kind]] if kind in _WORDS else []


def _kinds(annotation: Any) -> list[Any]:
    """Return the alternatives of an annotation, its metadata left away."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) is Union:
        return [kind for member in get_args(annotation) for kind in _kinds(member)]
    return [annotation]


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a kind, its parts not looked at."""
    if _is_model(kind):
        return isinstance(value, dict) and _has_tag(value, kind)
    if get_origin(kind) is Literal:
        return any(type(value) is type(known) and value == known for known in get_args(kind))
    if get_origin(kind) is not None:
        return isinstance(value, get_origin(kind))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _has_tag(value: Mapping[str, Any], model: type[BaseModel]) -> bool:
    tags = _tags(model)
    return not tags or value.get("type", tags[0]) in tags


def _tags(model: type[BaseModel]) -> list[str]:
    """Return what the ``type`` of such an object may say; empty if it has none."""
    field = model.model_fields.get("type")
    kinds = _kinds(field.annotation) if field else []
    return [tag for kind in kinds if get_origin(kind) is Literal for tag in get_args(kind)]


def _field_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        for kind in filter(_is_model, _kinds(field.annotation)):
            yield from _field_paths(kind, f"{path}.")


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
