"""The configuration of a session: its defaults, and updates that apply completely or not at all.

A configuration is never changed in place: an update makes a new one.
"""

from typing import Any

from relay.simulator.api_names import REASONING_MODELS, TURNLESS_TRANSCRIPTION_MODEL
from relay.simulator.errors import RequestRefused
from relay.simulator.json_text import Json
from relay.simulator.schema import Choice
from relay.simulator.session_shapes import REALTIME_SESSION, TRANSCRIPTION_SESSION

DEFAULT_INSTRUCTIONS = (
    "You are a helpful, witty, and friendly AI. Act like a human, but remember that you are not "
    "one. Talk quickly. These are the default instructions: no others are set yet."
)
_PCM: Json = {"type": "audio/pcm", "rate": 24000}
# The documentation says 500 ms of silence; a session.created of the API had 200.
_SERVER_VAD: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
}
_ANSWERING: Json = {"create_response": True, "interrupt_response": True}
_TURN_DETECTION: dict[str, Json] = {
    "server_vad": {**_SERVER_VAD, "idle_timeout_ms": None, **_ANSWERING},
    "semantic_vad": {"type": "semantic_vad", "eagerness": "auto", **_ANSWERING},
}
# The type decides which other fields an object has, so a new type starts from these defaults.
_DEFAULTS_BY_TYPE: dict[str | None, Json] = {
    "server_vad": _TURN_DETECTION["server_vad"],
    "semantic_vad": _TURN_DETECTION["semantic_vad"],
    "audio/pcm": _PCM,
    "audio/pcmu": {},
    "audio/pcma": {},
}
_SHAPES = {"realtime": REALTIME_SESSION, "transcription": TRANSCRIPTION_SESSION}
_REASONING_ONLY = ("reasoning", "parallel_tool_calls")


def new_realtime(session_id: str, model: str, *, expires_at: int) -> Json:
    """Return the default configuration of a conversation."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": _new_input(_TURN_DETECTION["server_vad"]),
            "output": {"format": _PCM, "voice": "alloy", "speed": 1.0},
        },
        "include": None,
    }


def new_transcription(session_id: str, *, expires_at: int) -> Json:
    """Return the default configuration of a transcription session."""
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session_id,
        "expires_at": expires_at,
        "audio": {"input": _new_input(_SERVER_VAD)},
        "include": None,
    }


def _new_input(turn_detection: Json) -> Json:
    return {
        "format": _PCM,
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": turn_detection,
    }


def updated(current: Json, update: Json, *, has_assistant_audio: bool, is_responding: bool) -> Json:
    """Return the configuration with the update applied; nested objects merge.

    Args:
        current: The configuration before; it is not changed.
        update: The ``session`` of the client event.
        has_assistant_audio: Assistant audio exists, so the voice is fixed.
        is_responding: A response is running, so the speed is fixed.

    Raises:
        RequestRefused: A part of the update is wrong, so no part of it applies.
    """
    _check_kind(current, update)
    _SHAPES[current["type"]].check(update, "session")
    changed = {**current, **update}
    changed["audio"] = _merge(current["audio"], update.get("audio", {}))
    if current["type"] == "realtime":
        _check_realtime(current, changed, update)
        _check_output(
            current, changed, has_assistant_audio=has_assistant_audio, is_responding=is_responding
        )
    _check_turnless(changed)
    return changed


def _check_kind(current: Json, update: object) -> None:
    if not isinstance(update, dict):
        raise RequestRefused("invalid_value", param="session", problem="expected an object")
    if "type" not in update:
        raise RequestRefused("missing_required_parameter", param="session.type")
    Choice(tuple(_SHAPES)).check(update["type"], "session.type")
    if update["type"] != current["type"]:
        raise RequestRefused(
            "invalid_parameter",
            param="session.type",
            problem=f"Passing a {update['type']} session update event to a {current['type']} "
            "session is not allowed.",
        )


def _merge(old: object, new: object) -> Any:
    """Return ``new``; for objects, ``old`` with the fields of ``new``."""
    if not isinstance(new, dict):
        return new
    base = _base(old if isinstance(old, dict) else {}, new)
    return {**base, **{key: _merge(base.get(key), new[key]) for key in new}}


def _base(old: Json, new: Json) -> Json:
    """Return the values of fields that ``new`` does not have: the old ones, or a new type's."""
    kind = new.get("type", old.get("type"))
    return old if kind == old.get("type") else _DEFAULTS_BY_TYPE.get(kind, old)


def _check_realtime(current: Json, changed: Json, update: Json) -> None:
    if changed["model"] != current["model"]:
        raise RequestRefused(
            "invalid_value", param="session.model", problem="the model of a session is fixed"
        )
    if current["model"] not in REASONING_MODELS:
        for name in _REASONING_ONLY:
            if name in update:
                raise RequestRefused(
                    "invalid_value",
                    param=f"session.{name}",
                    problem="Unsupported option for this model",
                )
    if current["tracing"] is not None and changed["tracing"] != current["tracing"]:
        raise RequestRefused(
            "invalid_value",
            param="session.tracing",
            problem="tracing cannot be changed once it is enabled",
        )


def _check_output(
    current: Json, changed: Json, *, has_assistant_audio: bool, is_responding: bool
) -> None:
    before, after = current["audio"]["output"], changed["audio"]["output"]
    if has_assistant_audio and after["voice"] != before["voice"]:
        raise RequestRefused("cannot_update_voice", param="session.audio.output.voice")
    if is_responding and after["speed"] != before["speed"]:
        raise RequestRefused(
            "invalid_value",
            param="session.audio.output.speed",
            problem="the speed cannot be changed while a response is in progress",
        )


def _check_turnless(changed: Json) -> None:
    audio_input = changed["audio"]["input"]
    model = (audio_input["transcription"] or {}).get("model")
    if model == TURNLESS_TRANSCRIPTION_MODEL and audio_input["turn_detection"] is not None:
        raise RequestRefused(
            "invalid_value",
            param="session.audio.input.turn_detection",
            problem="Turn detection is not supported for this transcription model",
        )
