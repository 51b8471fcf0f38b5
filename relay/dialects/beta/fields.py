"""Where a field of the beta interface is in GA, and what its value becomes on the way.

One table a kind of object is read in both directions. Nothing is judged here: a field that has no
row keeps its name and its value, and a value that cannot be converted stays, for whoever knows
better to refuse. What the beta interface cannot say at all, its vocabulary leaves out afterwards.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from relay.core.events import Event, Json
from relay.dialects.beta.shapes import UNSAID

Convert = Callable[[Json], Json]
Path = tuple[str, ...]

TEMPERATURE: Final = 0.8
"""What the models sample at; GA no longer tells, and no longer lets anybody choose."""

GONE: Final = frozenset({"temperature", "client_secret"})
"""Fields of a session, or a response, that GA does not have."""


def _same(value: Json) -> Json:
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the beta interface.

    Attributes:
        beta: its name there.
        ga: its path in GA.
        up: makes GA's value of it.
        down: makes its value of GA's.
    """

    beta: str
    ga: Path
    up: Convert = _same
    down: Convert = _same


Fields = tuple[Field, ...]


def up(flat: Event, fields: Fields) -> Event:
    """Return an object of the beta interface as GA has it."""
    moved = {field.beta for field in fields}
    nested = {name: value for name, value in flat.items() if name not in moved | GONE}
    for field in fields:
        if field.beta in flat:
            _put(nested, field.ga, field.up(flat[field.beta]))
    return nested


def down(nested: Event, fields: Fields) -> Event:
    """Return an object of GA as the beta interface has it, with what that does not know."""
    moved = {field.ga[0] for field in fields}
    flat = {name: value for name, value in nested.items() if name not in moved}
    found = ((field, _at(nested, field.ga)) for field in fields)
    return flat | {field.beta: field.down(value) for field, value in found if value is not UNSAID}


def _put(nested: Event, path: Path, value: Json) -> None:
    """Put a value at a path; what is there of objects on the way is copied, not changed."""
    for name in path[:-1]:
        inner = nested.get(name)
        nested[name] = nested = dict(inner) if isinstance(inner, dict) else {}
    nested[path[-1]] = value


def _at(nested: Json, path: Path) -> Json:
    for name in path:
        if not isinstance(nested, dict) or name not in nested:
            return UNSAID
        nested = nested[name]
    return nested


# Values.


def _modalities_up(value: Json) -> Json:
    """Speak where audio was among what was asked for: GA does not do both."""
    if not isinstance(value, list):
        return value
    return ["audio"] if "audio" in value else ["text"]


def _modalities_down(value: Json) -> Json:
    """Say that audio comes with a transcript: that is how old servers and clients know it."""
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
"""Fields of the one flat type of turn detection that GA has only with the other."""


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
    """Return a session that a server tells of as the beta interface has it."""
    return down(session, SESSION) | {"temperature": TEMPERATURE}


def is_flat(session: Json) -> bool:
    """Tell whether a session is of the beta interface: it says no ``type``, and names of its."""
    return (
        isinstance(session, dict) and "type" not in session and not FLAT_NAMES.isdisjoint(session)
    )


# What an error says is wrong.


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
