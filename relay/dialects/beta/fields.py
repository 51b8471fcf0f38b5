"""The place of each field of the beta interface in GA, and the conversion of its value.

Each kind of object has one table, which is read in both directions. This module refuses nothing: a
field without a row keeps its name and its value, and a value that cannot be converted stays, so
that the policy or the upstream can refuse it. The vocabulary of the beta interface removes the rest
afterwards.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from relay.core.events import Event, Json
from relay.dialects.beta.shapes import OMITTED

Convert = Callable[[Json], Json]
Path = tuple[str, ...]

TEMPERATURE: Final = 0.8
"""The temperature of the models. GA does not report it, and a client cannot choose it."""

GONE: Final = frozenset({"temperature", "client_secret"})
"""Fields of a session or a response that GA does not have."""


def _same(value: Json) -> Json:
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the beta interface.

    Attributes:
        beta: its name in the beta interface.
        ga: its path in GA.
        up: converts its value to GA.
        down: converts its value from GA.
    """

    beta: str
    ga: Path
    up: Convert = _same
    down: Convert = _same


Fields = tuple[Field, ...]


def up(flat: Event, fields: Fields) -> Event:
    """Return an object of the beta interface in GA."""
    moved = {field.beta for field in fields}
    nested = {name: value for name, value in flat.items() if name not in moved | GONE}
    for field in fields:
        if field.beta in flat:
            _put(nested, field.ga, field.up(flat[field.beta]))
    return nested


def down(nested: Event, fields: Fields) -> Event:
    """Return an object of GA in the beta interface, with the fields that it does not know."""
    moved = {field.ga[0] for field in fields}
    flat = {name: value for name, value in nested.items() if name not in moved}
    found = ((field, _at(nested, field.ga)) for field in fields)
    return flat | {field.beta: field.down(value) for field, value in found if value is not OMITTED}


def _put(nested: Event, path: Path, value: Json) -> None:
    """Put a value at a path. The objects on the path are copied, not changed."""
    for name in path[:-1]:
        inner = nested.get(name)
        nested[name] = nested = dict(inner) if isinstance(inner, dict) else {}
    nested[path[-1]] = value


def _at(nested: Json, path: Path) -> Json:
    for name in path:
        if not isinstance(nested, dict) or name not in nested:
            return OMITTED
        nested = nested[name]
    return nested


# Values.


def _modalities_up(value: Json) -> Json:
    """Choose audio if the list has it: GA does not do both."""
    if not isinstance(value, list):
        return value
    return ["audio"] if "audio" in value else ["text"]


def _modalities_down(value: Json) -> Json:
    """Add the text to audio: in the beta interface, audio always comes with a transcript."""
    return ["audio", "text"] if value == ["audio"] else value


_FORMATS: Mapping[str, Event] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_BETA_FORMATS = {known["type"]: name for name, known in _FORMATS.items()}


def _format_up(value: Json) -> Json:
    return _FORMATS.get(value, value) if isinstance(value, str) else value


def _format_down(value: Json) -> Json:
    kind = value.get("type") if isinstance(value, dict) else None
    return _BETA_FORMATS.get(kind, value) if isinstance(kind, str) else value


_NOT_OF: Mapping[str, Collection[str]] = {
    "server_vad": {"eagerness"},
    "semantic_vad": {"threshold", "prefix_padding_ms", "silence_duration_ms"},
}
"""Fields of turn detection that GA does not have with this ``type``."""


def _turn_detection_up(value: Json) -> Json:
    if not isinstance(value, dict):
        return value
    typed = value if value.get("type") is not None else value | {"type": "server_vad"}
    foreign = _NOT_OF.get(str(typed["type"]), ())
    return {name: setting for name, setting in typed.items() if name not in foreign}


def _tool_choice_up(value: Json) -> Json:
    match value:
        case {"type": "function", "function": {"name": name}}:
            return {"type": "function", "name": name}
    return value


def _tool_choice_down(value: Json) -> Json:
    match value:
        case {"type": "function", "name": name}:
            return {"type": "function", "function": {"name": name}}
    return value


# Items.

_PARTS_DOWN: Mapping[Json, str] = {"output_text": "text", "output_audio": "audio"}
_PARTS_UP: Mapping[Json, str] = {beta: ga for ga, beta in _PARTS_DOWN.items()}


def _part(names: Mapping[Json, str]) -> Convert:
    def convert(part: Json) -> Json:
        kind = part.get("type") if isinstance(part, dict) else None
        return part | {"type": names[kind]} if isinstance(kind, str) and kind in names else part

    return convert


def _each(convert: Convert) -> Convert:
    return lambda value: list(map(convert, value)) if isinstance(value, list) else value


def _content(part: Convert) -> Convert:
    def convert(item: Json) -> Json:
        content = item.get("content") if isinstance(item, dict) else None
        return item | {"content": _each(part)(content)} if content is not None else item

    return convert


part_down = _part(_PARTS_DOWN)
item_up, item_down = _content(_part(_PARTS_UP)), _content(part_down)

# Objects.

_MODALITIES = Field("modalities", ("output_modalities",), _modalities_up, _modalities_down)
_VOICE = Field("voice", ("audio", "output", "voice"))
_OUTPUT_FORMAT = Field(
    "output_audio_format", ("audio", "output", "format"), _format_up, _format_down
)
_MAX_TOKENS = Field("max_response_output_tokens", ("max_output_tokens",))
_TOOL_CHOICE = Field("tool_choice", ("tool_choice",), _tool_choice_up, _tool_choice_down)

SESSION: Fields = (
    _MODALITIES,
    _VOICE,
    Field("speed", ("audio", "output", "speed")),
    Field("input_audio_format", ("audio", "input", "format"), _format_up, _format_down),
    _OUTPUT_FORMAT,
    Field("input_audio_transcription", ("audio", "input", "transcription")),
    Field("input_audio_noise_reduction", ("audio", "input", "noise_reduction")),
    Field("turn_detection", ("audio", "input", "turn_detection"), _turn_detection_up),
    _MAX_TOKENS,
    _TOOL_CHOICE,
)
RESPONSE_CREATE: Fields = (
    _MODALITIES,
    _VOICE,
    _OUTPUT_FORMAT,
    _MAX_TOKENS,
    _TOOL_CHOICE,
    Field("input", ("input",), _each(item_up), _each(item_down)),
)
RESPONSE: Fields = (
    _MODALITIES,
    _VOICE,
    _OUTPUT_FORMAT,
    Field("output", ("output",), _each(item_up), _each(item_down)),
)

FLAT_NAMES = frozenset({*GONE, *(field.beta for field in SESSION if field.ga != (field.beta,))})
"""Fields that only a session of the beta interface has."""


def session_down(session: Event) -> Event:
    """Return a session that a server reports, in the beta interface."""
    return down(session, SESSION) | {"temperature": TEMPERATURE}


def is_flat(session: Json) -> bool:
    """Return whether a session has no ``type``, and names that only the beta interface has."""
    return (
        isinstance(session, dict) and "type" not in session and not FLAT_NAMES.isdisjoint(session)
    )


# The field that an error names.


def _params(prefix: str, fields: Fields) -> Mapping[str, str]:
    return {f"{prefix}.{field.beta}": ".".join((prefix, *field.ga)) for field in fields}


_PARAMS_UP = {**_params("session", SESSION), **_params("response", RESPONSE_CREATE)}
_PARAMS_DOWN = {ga: beta for beta, ga in _PARAMS_UP.items()}


def _param(names: Mapping[str, str]) -> Convert:
    def convert(error: Json) -> Json:
        param = error.get("param") if isinstance(error, dict) else None
        return error | {"param": _renamed(param, names)} if isinstance(param, str) else error

    return convert


def _renamed(param: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if param == old or param.startswith((f"{old}.", f"{old}[")):
            return new + param[len(old) :]
    return param


error_up, error_down = _param(_PARAMS_UP), _param(_PARAMS_DOWN)
