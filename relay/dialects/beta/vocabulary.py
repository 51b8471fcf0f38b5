"""What the beta interface can say: the shapes of its events, as its SDK's types know them.

A client that checks strictly what it receives finds nothing that it does not know, because an
event is said as far as these tables go and no further. Their source is the package
``openai.types.beta.realtime``, to which a test holds them. They ask for more than it does in one
respect: a tool, an item and a part of one are left out as a whole when their ``type`` is unknown.
What the types require and servers leave out is filled in.
"""

from collections.abc import Mapping
from typing import Final

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

UNNAMED: Final = "relay_0"
"""The id of an event that came without one."""

FORMAT = one_of("pcm16", "g711_ulaw", "g711_alaw")
MODALITIES = listed(one_of("text", "audio"))
TOKEN_LIMIT = either(whole, one_of("inf"))

# Sessions.

_MODEL = one_of(
    "gpt-realtime",
    "gpt-realtime-2025-08-28",
    "gpt-4o-realtime-preview",
    "gpt-4o-realtime-preview-2024-10-01",
    "gpt-4o-realtime-preview-2024-12-17",
    "gpt-4o-realtime-preview-2025-06-03",
    "gpt-4o-mini-realtime-preview",
    "gpt-4o-mini-realtime-preview-2024-12-17",
)
VAD: Mapping[str, Shape] = {
    "type": one_of("server_vad", "semantic_vad"),
    "threshold": number,
    "prefix_padding_ms": whole,
    "silence_duration_ms": whole,
}
_TURN_DETECTION: Mapping[str, Shape] = {
    **VAD,
    "eagerness": one_of("low", "medium", "high", "auto"),
    "create_response": flag,
    "interrupt_response": flag,
}
_TOOL = record(
    {"name": text, "description": text, "parameters": anything}, {"type": one_of("function")}
)
_CHOSEN_TOOL = record({}, {"type": one_of("function"), "function": record({}, {"name": text})})
_TRACING = either(
    one_of("auto"), record({"group_id": text, "metadata": anything, "workflow_name": text})
)
HEARING: Mapping[str, Shape] = {
    "modalities": MODALITIES,
    "input_audio_format": FORMAT,
    "input_audio_transcription": record({"model": text, "language": text, "prompt": text}),
    "input_audio_noise_reduction": record({"type": one_of("near_field", "far_field")}),
    "turn_detection": record(_TURN_DETECTION),
}
"""What any session has."""

SPEAKING: Mapping[str, Shape] = {
    "instructions": text,
    "voice": text,
    "output_audio_format": FORMAT,
    "speed": number,
    "tools": listed(_TOOL),
    "tool_choice": text,
    "max_response_output_tokens": TOKEN_LIMIT,
    "tracing": _TRACING,
}
"""What a session has besides that answers."""

SECRET = record({}, {"value": text, "expires_at": whole})
_NO_SECRET: Json = {"value": "", "expires_at": 0}
TRANSCRIBING: Mapping[str, Shape] = {
    "modalities": MODALITIES,
    "input_audio_format": FORMAT,
    "input_audio_transcription": record(
        {
            "model": one_of("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"),
            "language": text,
            "prompt": text,
        }
    ),
    "turn_detection": record(VAD),
}

# Items and responses.


def _item(types: Shape, parts: Shape) -> Shape:
    part = record({"id": text, "text": text, "audio": text, "transcript": text}, {"type": parts})
    optional = {
        "id": text,
        "object": one_of("realtime.item"),
        "status": one_of("completed", "incomplete", "in_progress"),
        "role": one_of("user", "assistant", "system"),
        "content": listed(part),
        "call_id": text,
        "name": text,
        "arguments": text,
        "output": text,
    }
    return record(optional, {"type": types})


ITEM = _item(
    one_of("message", "function_call", "function_call_output"),
    one_of("input_text", "input_audio", "item_reference", "text", "audio"),
)
_GIVEN_ITEM = _item(
    one_of("message", "function_call", "function_call_output", "item_reference"),
    one_of("input_text", "input_audio", "item_reference", "text"),
)
_TOKENS: Mapping[str, Shape] = {"text_tokens": whole, "audio_tokens": whole}
_USAGE = record(
    {
        "total_tokens": whole,
        "input_tokens": whole,
        "output_tokens": whole,
        "input_token_details": record({**_TOKENS, "cached_tokens": whole}),
        "output_token_details": record(_TOKENS),
    }
)
_STATUS_DETAILS = record(
    {
        "type": one_of("completed", "cancelled", "incomplete", "failed"),
        "reason": one_of(
            "turn_detected", "client_cancelled", "max_output_tokens", "content_filter"
        ),
        "error": record({"type": text, "code": text, "message": text}),
    }
)
RESPONSE = record(
    {
        "id": text,
        "object": one_of("realtime.response"),
        "status": one_of("completed", "cancelled", "failed", "incomplete", "in_progress"),
        "status_details": _STATUS_DETAILS,
        "output": listed(ITEM),
        "conversation_id": text,
        "modalities": MODALITIES,
        "voice": text,
        "output_audio_format": FORMAT,
        "temperature": number,
        "max_output_tokens": TOKEN_LIMIT,
        "usage": _USAGE,
        "metadata": mapped(text),
    }
)

# Server events.

_PART = record({"text": text, "audio": text, "transcript": text}, {"type": one_of("text", "audio")})
_ERROR = record(
    {"code": text, "param": text, "event_id": text},
    {"type": otherwise(text, "server_error"), "message": otherwise(text, "")},
)
_FAULT = record({"type": text, "code": text, "message": text, "param": text})
_TRANSCRIPTION_USAGE = either(
    record(
        {"input_token_details": record(_TOKENS)},
        {
            "type": one_of("tokens"),
            "total_tokens": whole,
            "input_tokens": whole,
            "output_tokens": whole,
        },
    ),
    record({}, {"type": one_of("duration"), "seconds": number}),
)
_NO_TRANSCRIPTION_USAGE: Json = {"type": "duration", "seconds": 0}
_LOGPROBS = listed(record({}, {"token": text, "bytes": listed(whole), "logprob": number}))
_RATE_LIMIT = record(
    {
        "name": one_of("requests", "tokens"),
        "limit": whole,
        "remaining": whole,
        "reset_seconds": number,
    }
)

_IN_RESPONSE: Mapping[str, Shape] = {"response_id": text, "output_index": whole}
_IN_ITEM: Mapping[str, Shape] = {"item_id": text, "content_index": otherwise(whole, 0)}
_IN_PART = {**_IN_RESPONSE, **_IN_ITEM}
_IN_CALL = {**_IN_RESPONSE, "item_id": text, "call_id": text}


def _event(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    named = {"type": text, "event_id": otherwise(text, UNNAMED)}
    return record(optional or {}, named | dict(required))


_HAS_SESSION = _event(
    {"session": record({"id": text, "model": _MODEL, "temperature": number, **HEARING, **SPEAKING})}
)
_TRANSCRIPTION = "conversation.item.input_audio_transcription"

SERVER_EVENTS: Mapping[str, Shape] = {
    "error": _event({"error": _ERROR}),
    "session.created": _HAS_SESSION,
    "session.updated": _HAS_SESSION,
    "transcription_session.updated": _event(
        {"session": record(TRANSCRIBING, {"client_secret": otherwise(SECRET, _NO_SECRET)})}
    ),
    "conversation.created": _event(
        {"conversation": record({"id": text, "object": one_of("realtime.conversation")})}
    ),
    "conversation.item.created": _event({"item": ITEM}, {"previous_item_id": text}),
    "conversation.item.retrieved": _event({"item": ITEM}),
    "conversation.item.truncated": _event({**_IN_ITEM, "audio_end_ms": whole}),
    "conversation.item.deleted": _event({"item_id": text}),
    f"{_TRANSCRIPTION}.delta": _event(
        {"item_id": text}, {"content_index": whole, "delta": text, "logprobs": _LOGPROBS}
    ),
    f"{_TRANSCRIPTION}.completed": _event(
        {
            **_IN_ITEM,
            "transcript": text,
            "usage": otherwise(_TRANSCRIPTION_USAGE, _NO_TRANSCRIPTION_USAGE),
        },
        {"logprobs": _LOGPROBS},
    ),
    f"{_TRANSCRIPTION}.failed": _event({**_IN_ITEM, "error": _FAULT}),
    "input_audio_buffer.committed": _event({"item_id": text}, {"previous_item_id": text}),
    "input_audio_buffer.cleared": _event({}),
    "input_audio_buffer.speech_started": _event({"item_id": text, "audio_start_ms": whole}),
    "input_audio_buffer.speech_stopped": _event({"item_id": text, "audio_end_ms": whole}),
    "output_audio_buffer.started": _event({"response_id": text}),
    "output_audio_buffer.stopped": _event({"response_id": text}),
    "output_audio_buffer.cleared": _event({"response_id": text}),
    "response.created": _event({"response": RESPONSE}),
    "response.done": _event({"response": RESPONSE}),
    "response.output_item.added": _event({**_IN_RESPONSE, "item": ITEM}),
    "response.output_item.done": _event({**_IN_RESPONSE, "item": ITEM}),
    "response.content_part.added": _event({**_IN_PART, "part": _PART}),
    "response.content_part.done": _event({**_IN_PART, "part": _PART}),
    "response.text.delta": _event({**_IN_PART, "delta": text}),
    "response.text.done": _event({**_IN_PART, "text": text}),
    "response.audio.delta": _event({**_IN_PART, "delta": text}),
    "response.audio.done": _event(_IN_PART),
    "response.audio_transcript.delta": _event({**_IN_PART, "delta": text}),
    "response.audio_transcript.done": _event({**_IN_PART, "transcript": text}),
    "response.function_call_arguments.delta": _event({**_IN_CALL, "delta": text}),
    "response.function_call_arguments.done": _event({**_IN_CALL, "arguments": text}),
    "rate_limits.updated": _event({"rate_limits": listed(_RATE_LIMIT)}),
}
"""What a server says."""

# What a client says, of the events that the two interfaces have in different shapes.

_CHOICE = {"tool_choice": either(text, _CHOSEN_TOOL)}
_RESPONSE_CREATE = record(
    {
        "conversation": text,
        "input": listed(_GIVEN_ITEM),
        "instructions": text,
        "max_response_output_tokens": TOKEN_LIMIT,
        "metadata": mapped(text),
        "modalities": MODALITIES,
        "output_audio_format": FORMAT,
        "temperature": number,
        "tools": listed(_TOOL),
        "voice": text,
        **_CHOICE,
    }
)


def _request(required: Mapping[str, Shape], optional: Mapping[str, Shape]) -> Shape:
    return record({"event_id": text, **optional}, {"type": text, **required})


CLIENT_EVENTS: Mapping[str, Shape] = {
    "session.update": _request(
        {"session": record({"temperature": number, **HEARING, **SPEAKING, **_CHOICE})}, {}
    ),
    "transcription_session.update": _request(
        {"session": record({"include": listed(text), **HEARING})}, {}
    ),
    "response.create": _request({}, {"response": _RESPONSE_CREATE}),
    "conversation.item.create": _request({"item": ITEM}, {"previous_item_id": text}),
}
