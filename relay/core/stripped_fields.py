"""The fields that the relay removes from a client event: their names, and never their values.

A name is a dotted path as in ``client.session`` and ``client.response`` of a persona. A field of
any other object has its path in the event (``previous_item_id``, ``item.status``).
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.paths import Path, is_above

OTHER: Final = "other"
"""The name of all fields that the API does not know: a client chooses their names."""

MAX_NAMES = 50

_SESSION_FIELDS = """
    audio audio.input audio.input.format audio.input.format.rate audio.input.format.type
    audio.input.noise_reduction audio.input.noise_reduction.strength
    audio.input.noise_reduction.type audio.input.transcription audio.input.transcription.delay
    audio.input.transcription.keywords audio.input.transcription.language
    audio.input.transcription.languages audio.input.transcription.model
    audio.input.transcription.prompt audio.input.turn_detection
    audio.input.turn_detection.create_response audio.input.turn_detection.eagerness
    audio.input.turn_detection.idle_timeout_ms audio.input.turn_detection.interrupt_response
    audio.input.turn_detection.prefix_padding_ms audio.input.turn_detection.silence_duration_ms
    audio.input.turn_detection.threshold audio.input.turn_detection.type audio.output
    audio.output.format audio.output.format.rate audio.output.format.type audio.output.speed
    audio.output.voice audio.output.voice.id include instructions max_output_tokens model
    output_modalities parallel_tool_calls prompt prompt.id prompt.variables prompt.version
    reasoning reasoning.effort tool_choice tool_choice.name tool_choice.server_label
    tool_choice.type tools tracing tracing.group_id tracing.metadata tracing.workflow_name
    truncation truncation.retention_ratio truncation.token_limits
    truncation.token_limits.post_instructions truncation.type type
"""
_RESPONSE_FIELDS = "conversation input metadata"
_ITEM_FIELDS = """
    item item.arguments item.call_id item.content item.content.audio item.content.detail
    item.content.image_url item.content.text item.content.transcript item.content.type item.id
    item.name item.object item.output item.role item.status item.type previous_item_id
"""
API_FIELDS: Final = frozenset(f"{_SESSION_FIELDS} {_RESPONSE_FIELDS} {_ITEM_FIELDS}".split())
"""The names that the API knows: fields of a session, of a response, and of the item of a user."""

_SEGMENTS = frozenset(segment for name in API_FIELDS for segment in name.split("."))

_SECTIONS = frozenset({("audio",), ("audio", "input"), ("audio", "output")})
"""Objects that are no setting: their fields are."""

Opened = Mapping[str, frozenset[Path]]
"""The paths of the opened fields, of ``session`` and of ``response``."""

_NONE_OPENED: Opened = {"session": frozenset(), "response": frozenset()}


def stripped_fields(asked: Event, kept: Event, opened: Opened = _NONE_OPENED) -> tuple[str, ...]:
    """Return the names of the fields of a client event that are not in the event for the upstream.

    Each name is in the result once, in the order of the event, and there are at most
    ``MAX_NAMES``.
    """
    names = (
        name if (name := ".".join(path)) in API_FIELDS else OTHER
        for path in _stripped_paths(asked, kept, opened)
    )
    return tuple(islice(dict.fromkeys(names), MAX_NAMES))


def _stripped_paths(asked: Event, kept: Event, opened: Opened) -> Iterator[Path]:
    for name, value in asked.items():
        if name in opened and isinstance(value, dict):
            yield from _lost(value, object_or_empty(kept, name), opened[name])
        elif name == "item" and name in kept:
            yield from _lost_of_item(value, kept[name], (name,))
        elif name not in kept and value is not None:
            yield (name,)


def _lost(
    asked: Mapping[str, Json], kept: Mapping[str, Json], opened: frozenset[Path], at: Path = ()
) -> Iterator[Path]:
    """Yield the paths of the settings in one object that are not in another."""
    others = 0
    for name, value in asked.items():
        is_other = name not in _SEGMENTS and not isinstance(value, dict)
        if is_other and others:  # one of thousands is enough
            continue
        path, left = (*at, name), kept.get(name)
        if name in kept and left == value:
            continue
        others += is_other
        if isinstance(value, dict) and value and (path in _SECTIONS or is_above(path, opened)):
            yield from _lost(value, left if isinstance(left, dict) else {}, opened, path)
        else:
            yield path


def _lost_of_item(asked: Json, kept: Json, at: Path) -> Iterator[Path]:
    """Yield the paths of the fields of an item and of its parts that were not kept."""
    if isinstance(asked, dict):
        for name, value in asked.items():
            if name in kept:
                yield from _lost_of_item(value, kept[name], (*at, name))
            elif value is not None:
                yield (*at, name)
    elif isinstance(asked, list):
        for value, left in zip(asked, kept, strict=True):
            yield from _lost_of_item(value, left, at)
