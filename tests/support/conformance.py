"""The events of the Realtime API: the types of ``openai`` check each event, a table their order."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel

Json = dict[str, Any]

# Fields that the API sends and that the types do not have.
_UNTYPED: Mapping[str, frozenset[str]] = {
    "RealtimeSessionCreateRequest": frozenset({"id", "object", "expires_at"}),
    "RealtimeTranscriptionSessionCreateRequest": frozenset({"id", "object", "expires_at"}),
    "ResponseTextDeltaEvent": frozenset({"obfuscation"}),
    "ResponseAudioTranscriptDeltaEvent": frozenset({"obfuscation"}),
    "ResponseFunctionCallArgumentsDeltaEvent": frozenset({"obfuscation"}),
}
_ID = re.compile(r"(event|sess|conv|item|resp|mcpl)_[0-9A-Za-z]{21}|call_[0-9A-Za-z]{16}", re.ASCII)

# The order of events, as regular expressions over their types, each followed by a space.
_SPOKEN = (
    "response.output_item.added (conversation.item.added )?response.content_part.added "
    "(response.output_audio_transcript.delta |response.output_audio.delta )*"
    "response.output_audio.done response.output_audio_transcript.done response.content_part.done "
    "(conversation.item.done )?response.output_item.done "
)
_WRITTEN = (
    "response.output_item.added (conversation.item.added )?response.content_part.added "
    "(response.output_text.delta )*response.output_text.done response.content_part.done "
    "(conversation.item.done )?response.output_item.done "
)
_CALL = (
    "response.output_item.added (conversation.item.added )?"
    "(response.function_call_arguments.delta )*response.function_call_arguments.done "
    "(conversation.item.done )?response.output_item.done "
)
_TRANSCRIBED = (
    r"(conversation.item.input_audio_transcription.delta )*"
    r"(conversation.item.input_audio_transcription.(completed|failed) )?"
)
_FOUND_BY_VAD = (
    "input_audio_buffer.speech_started input_audio_buffer.speech_stopped |"
    "input_audio_buffer.timeout_triggered "
)
_ORDER = {
    "response": f"response.created ({_SPOKEN}|{_WRITTEN}|{_CALL})*response.done ",
    "spoken item": f"({_FOUND_BY_VAD})?input_audio_buffer.committed "
    f"conversation.item.added conversation.item.done {_TRANSCRIBED}",
    "created item": "conversation.item.added conversation.item.done ",
}


def check_events(events: Iterable[Json]) -> None:
    """Check all events that one client received, from ``session.created`` on."""
    received = list(events)
    for event in received:
        check_event(event)
    assert len({event["event_id"] for event in received}) == len(received), "event ids differ"
    check_order(received)


def check_event(event: Json) -> None:
    """Check that an event has all required fields and no unknown field."""
    assert list(event)[:2] == ["type", "event_id"]
    assert _ID.fullmatch(event["event_id"])
    check_type(event, _MODELS[event["type"]], allowed=_UNTYPED)


def check_type(
    value: Json, model: type[BaseModel], *, allowed: Mapping[str, frozenset[str]] | None = None
) -> None:
    """Check that a value has the type, and no other fields except those in ``allowed``."""
    unknown = sorted(_unknown(model.model_validate(value, strict=True), "", allowed or {}))
    assert not unknown, f"unknown fields: {unknown}"


def check_order(received: list[Json]) -> None:
    """Check that the events of each response and each item have the order of the table."""
    if received and received[0]["type"] != "error":
        assert received[0]["type"] == "session.created"
    for name, sequence in _sequences(received):
        types = "".join(f"{event['type']} " for event in sequence)
        assert re.fullmatch(_ORDER[name], types), f"{name}: {types}"
    done = [event for event in received if event["type"] == "response.done"]
    limits = [event for event in received if event["type"] == "rate_limits.updated"]
    assert len(limits) <= len(done), "rate limits come after a response"


def events_of(annotation: Any) -> Mapping[str, type[BaseModel]]:
    """Return the models of a union of events by the value of their ``type``."""
    models: tuple[type[BaseModel], ...] = get_args(get_args(annotation)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in models}


_MODELS = events_of(RealtimeServerEvent)


def _unknown(value: object, path: str, allowed: Mapping[str, frozenset[str]]) -> Iterator[str]:
    if isinstance(value, BaseModel):
        known = allowed.get(type(value).__name__, frozenset())
        extra = value.model_extra or {}
        yield from (f"{path}.{name}" for name in extra if name not in known)
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}", allowed)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _unknown(member, f"{path}[{index}]", allowed)


def _sequences(received: list[Json]) -> Iterator[tuple[str, list[Json]]]:
    """Yield the events of each ended response, and of each item that is not a response's."""
    written: set[str] = set()
    for done in (event for event in received if event["type"] == "response.done"):
        response = done["response"]
        items = {item["id"] for item in response["output"]}
        written |= items
        yield "response", [e for e in received if _belongs_to(e, response["id"], items)]
    unfinished = {e["item"]["id"] for e in received if e["type"] == "response.output_item.added"}
    added = [e["item"] for e in received if e["type"] == "conversation.item.added"]
    for item in added:
        if item["id"] not in written | unfinished:
            sequence = [e for e in received if _is_about(e, item["id"])]
            is_spoken = any(e["type"] == "input_audio_buffer.committed" for e in sequence)
            yield "spoken item" if is_spoken else "created item", sequence


def _belongs_to(event: Json, response_id: str, items: set[str]) -> bool:
    if event["type"].startswith("conversation.item."):
        is_life = event["type"] in {"conversation.item.added", "conversation.item.done"}
        return is_life and event["item"]["id"] in items
    return response_id in (event.get("response_id"), event.get("response", {}).get("id"))


_LATER = frozenset(
    {
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.deleted",
    }
)


def _is_about(event: Json, item_id: str) -> bool:
    is_life = event["type"] not in _LATER
    return is_life and item_id in (event.get("item_id"), event.get("item", {}).get("id"))
