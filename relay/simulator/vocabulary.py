"""What clients may say: the shapes of the session, of items and of the client events.

The names are those of the API's schema; ``openai.types.realtime`` has the same ones.
"""

from collections.abc import Mapping
from types import MappingProxyType

from relay.simulator.schema import (
    Anything,
    Choice,
    Either,
    Flag,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Object,
    Shape,
    Tagged,
    Text,
)

REASONING_MODELS = ("gpt-realtime-2", "gpt-realtime-2.1", "gpt-realtime-2.1-mini", "local-demo")
MODELS = (
    *REASONING_MODELS,
    "gpt-realtime-1.5",
    "gpt-realtime",
    "gpt-realtime-2025-08-28",
    "gpt-realtime-mini",
    "gpt-realtime-mini-2025-12-15",
)
# This one follows the speaker without turns: the API refuses turn detection with it.
TURNLESS_TRANSCRIPTION_MODEL = "gpt-realtime-whisper"
TRANSCRIPTION_MODELS = (
    "gpt-transcribe",
    "gpt-live-transcribe",
    TURNLESS_TRANSCRIPTION_MODEL,
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
    "whisper-1",
    "local-demo",
)
VOICES = (
    *("alloy", "ash", "ballad", "coral", "echo"),
    *("sage", "shimmer", "verse", "marin", "cedar"),
)

_ANY = Anything()
_FLAG = Flag()
_TEXT = Text()
_TEXTS = ListOf(_TEXT)
_MILLISECONDS = Number(0, 3_600_000, whole=True)


def _one_of(*values: str) -> Choice:
    return Choice(values)


def _object(*required: str, **fields: Shape) -> Object:
    return Object(MappingProxyType(fields), required)


def _tagged(kinds: Mapping[str, Object], tag: str = "type") -> Tagged:
    return Tagged(MappingProxyType(dict(kinds)), tag)


# -- the session ---------------------------------------------------------------------------------

_FORMAT = _tagged(
    {
        "audio/pcm": _object(type=_TEXT, rate=Number(24_000, 24_000, whole=True)),
        "audio/pcmu": _object(type=_TEXT),
        "audio/pcma": _object(type=_TEXT),
    }
)
_TURN_DETECTION = _tagged(
    {
        "server_vad": _object(
            type=_TEXT,
            threshold=Number(0, 1),
            prefix_padding_ms=_MILLISECONDS,
            silence_duration_ms=_MILLISECONDS,
            idle_timeout_ms=Nullable(Number(5_000, 30_000, whole=True)),
            create_response=_FLAG,
            interrupt_response=_FLAG,
        ),
        "semantic_vad": _object(
            type=_TEXT,
            eagerness=_one_of("low", "medium", "high", "auto"),
            create_response=_FLAG,
            interrupt_response=_FLAG,
        ),
    }
)
_TRANSCRIPTION = _object(
    model=Choice(TRANSCRIPTION_MODELS),
    language=_TEXT,
    languages=_TEXTS,
    prompt=_TEXT,
    keywords=_TEXTS,
    delay=_one_of("minimal", "low", "medium", "high", "xhigh"),
)
_AUDIO_INPUT = _object(
    format=_FORMAT,
    noise_reduction=Nullable(
        _object(type=_one_of("near_field", "far_field"), strength=Number(0, 1))
    ),
    transcription=Nullable(_TRANSCRIPTION),
    turn_detection=Nullable(_TURN_DETECTION),
)
_VOICE = Either(Choice(VOICES), _object("id", id=_TEXT))
_TOOL_FILTER = _object(read_only=_FLAG, tool_names=_TEXTS)
_TOOL = _tagged(
    {
        "function": _object("name", type=_TEXT, name=_TEXT, description=_TEXT, parameters=_ANY),
        "mcp": _object(
            "server_label",
            type=_TEXT,
            server_label=_TEXT,
            server_url=_TEXT,
            server_description=_TEXT,
            connector_id=_TEXT,
            tunnel_id=_TEXT,
            authorization=_TEXT,
            headers=Nullable(MapOf(_TEXT)),
            allowed_callers=Nullable(ListOf(_one_of("direct", "programmatic"))),
            allowed_tools=_ANY,
            require_approval=Nullable(
                Either(_one_of("always", "never"), _object(always=_TOOL_FILTER, never=_TOOL_FILTER))
            ),
            defer_loading=_FLAG,
        ),
    }
)
_TOOL_CHOICE = Either(
    _one_of("auto", "none", "required"),
    _tagged(
        {
            "function": _object("name", type=_TEXT, name=_TEXT),
            "mcp": _object("server_label", type=_TEXT, server_label=_TEXT, name=_TEXT),
        }
    ),
)
_PROMPT = Nullable(_object("id", id=_TEXT, version=Nullable(_TEXT), variables=Nullable(_ANY)))
_MODALITIES = ListOf(_one_of("text", "audio"), min_length=1, max_length=1)
_REASONING = _object(effort=_one_of("none", "minimal", "low", "medium", "high", "xhigh"))
_INCLUDE = Nullable(ListOf(_one_of("item.input_audio_transcription.logprobs")))


class _Tokens:
    """A number of output tokens, or ``inf``."""

    _count = Number(1, 4096, whole=True)

    def check(self, value: object, path: str) -> None:
        """Accept what the API accepts."""
        if value != "inf":
            self._count.check(value, path)


_MAX_OUTPUT_TOKENS = _Tokens()

REALTIME_SESSION = _object(
    "type",
    type=_TEXT,
    model=_TEXT,
    output_modalities=_MODALITIES,
    instructions=_TEXT,
    audio=_object(
        input=_AUDIO_INPUT,
        output=_object(format=_FORMAT, voice=_VOICE, speed=Number(0.25, 1.5)),
    ),
    tools=ListOf(_TOOL),
    tool_choice=_TOOL_CHOICE,
    parallel_tool_calls=_FLAG,
    reasoning=_REASONING,
    max_output_tokens=_MAX_OUTPUT_TOKENS,
    truncation=Either(
        _one_of("auto", "disabled"),
        _tagged(
            {
                "retention_ratio": _object(
                    "retention_ratio",
                    type=_TEXT,
                    retention_ratio=Number(0, 1),
                    token_limits=_object(post_instructions=Number(0, 2**31, whole=True)),
                )
            }
        ),
    ),
    tracing=Nullable(
        Either(_one_of("auto"), _object(workflow_name=_TEXT, group_id=_TEXT, metadata=_ANY))
    ),
    prompt=_PROMPT,
    include=_INCLUDE,
)
TRANSCRIPTION_SESSION = _object(
    "type", type=_TEXT, audio=_object(input=_AUDIO_INPUT), include=_INCLUDE
)

# -- items ---------------------------------------------------------------------------------------

_STATUS = _one_of("completed", "incomplete", "in_progress")
_ITEM_OBJECT = _one_of("realtime.item")
_INPUT_TEXT = _object("text", type=_TEXT, text=_TEXT)
_USER_PARTS = {
    "input_text": _INPUT_TEXT,
    "input_audio": _object("audio", type=_TEXT, audio=_TEXT, transcript=Nullable(_TEXT)),
    "input_image": _object(
        "image_url", type=_TEXT, image_url=_TEXT, detail=_one_of("auto", "low", "high")
    ),
}


def _message(parts: Mapping[str, Object]) -> Object:
    return _object(
        "content",
        type=_TEXT,
        role=_TEXT,
        id=_TEXT,
        object=_ITEM_OBJECT,
        status=_STATUS,
        content=ListOf(_tagged(parts)),
    )


_MESSAGE = _tagged(
    {
        "system": _message({"input_text": _INPUT_TEXT}),
        "user": _message(_USER_PARTS),
        # Both spellings of the part are on the wire; assistant audio cannot be created.
        "assistant": _message({"output_text": _INPUT_TEXT, "text": _INPUT_TEXT}),
    },
    tag="role",
)


class _Item:
    """An item that a client may create; a message is told apart once more by its role."""

    def __init__(self, **more: Object) -> None:
        self._kinds = _tagged({"message": _object(), **_CALLS, **more})

    def check(self, value: object, path: str) -> None:
        """Accept an item of a known type."""
        is_message = isinstance(value, dict) and value.get("type") == "message"
        shape: Shape = _MESSAGE if is_message else self._kinds
        shape.check(value, path)


_CALLS = {
    "function_call": _object(
        "name",
        "arguments",
        type=_TEXT,
        id=_TEXT,
        object=_ITEM_OBJECT,
        status=_STATUS,
        call_id=_TEXT,
        name=_TEXT,
        arguments=_TEXT,
    ),
    "function_call_output": _object(
        "call_id",
        "output",
        type=_TEXT,
        id=_TEXT,
        object=_ITEM_OBJECT,
        status=_STATUS,
        call_id=_TEXT,
        output=_TEXT,
    ),
}

# -- client events -------------------------------------------------------------------------------

_RESPONSE = _object(
    audio=_object(output=_object(format=_FORMAT, voice=_VOICE)),
    conversation=Nullable(_one_of("auto", "none")),
    input=Nullable(ListOf(_Item(item_reference=_object("id", type=_TEXT, id=_TEXT)))),
    instructions=Nullable(_TEXT),
    max_output_tokens=Nullable(_MAX_OUTPUT_TOKENS),
    metadata=Nullable(MapOf(Text(512), max_length=16, max_key_length=64)),
    output_modalities=Nullable(_MODALITIES),
    parallel_tool_calls=Nullable(_FLAG),
    prompt=_PROMPT,
    reasoning=Nullable(_REASONING),
    tool_choice=Nullable(_TOOL_CHOICE),
    tools=Nullable(ListOf(_TOOL)),
)


def _event(*required: str, **fields: Shape) -> Object:
    return _object(*required, type=_TEXT, event_id=_TEXT, **fields)


# ``output_audio_buffer.clear`` is in the schema, but for WebRTC and SIP: over a WebSocket the API
# does not list it either.
CLIENT_EVENTS: Mapping[str, Object] = MappingProxyType(
    {
        "session.update": _event("session", session=_ANY),
        "input_audio_buffer.append": _event("audio", audio=_TEXT),
        "input_audio_buffer.commit": _event(),
        "input_audio_buffer.clear": _event(),
        "conversation.item.create": _event("item", item=_Item(), previous_item_id=Nullable(_TEXT)),
        "conversation.item.truncate": _event(
            "item_id",
            "content_index",
            "audio_end_ms",
            item_id=_TEXT,
            content_index=Number(0, 0, whole=True),
            audio_end_ms=Number(0, 2**31, whole=True),
        ),
        "conversation.item.delete": _event("item_id", item_id=_TEXT),
        "conversation.item.retrieve": _event("item_id", item_id=_TEXT),
        "response.create": _event(response=Nullable(_RESPONSE)),
        "response.cancel": _event(response_id=Nullable(_TEXT)),
    }
)

SERVER_EVENTS = (
    "error",
    "session.created",
    "session.updated",
    "conversation.item.added",
    "conversation.item.done",
    "conversation.item.retrieved",
    "conversation.item.truncated",
    "conversation.item.deleted",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.failed",
    "input_audio_buffer.committed",
    "input_audio_buffer.cleared",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.timeout_triggered",
    "mcp_list_tools.in_progress",
    "mcp_list_tools.failed",
    "response.created",
    "response.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.delta",
    "response.output_text.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "rate_limits.updated",
)
