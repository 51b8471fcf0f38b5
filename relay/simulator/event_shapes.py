"""Shapes of conversation items and of client events.

The names are those of the API's schema; ``openai.types.realtime`` has the same names.
"""

from collections.abc import Mapping
from types import MappingProxyType

from relay.simulator.schema import (
    ANYTHING,
    BOOLEAN,
    STRING,
    JsonShape,
    ListOf,
    MapOf,
    Nullable,
    Number,
    Object,
    String,
    one_of,
    tagged,
)
from relay.simulator.session_shapes import (
    FORMAT,
    MAX_OUTPUT_TOKENS,
    MODALITIES,
    PROMPT,
    REASONING,
    TOOL,
    TOOL_CHOICE,
    VOICE,
)

_STATUS = one_of("completed", "incomplete", "in_progress")
_ITEM_OBJECT = one_of("realtime.item")
_INPUT_TEXT = Object.of("text", type=STRING, text=STRING)
_USER_PARTS = {
    "input_text": _INPUT_TEXT,
    "input_audio": Object.of("audio", type=STRING, audio=STRING, transcript=Nullable(STRING)),
    "input_image": Object.of(
        "image_url", type=STRING, image_url=STRING, detail=one_of("auto", "low", "high")
    ),
}


def _message(parts: Mapping[str, Object]) -> Object:
    return Object.of(
        "content",
        type=STRING,
        role=STRING,
        id=STRING,
        object=_ITEM_OBJECT,
        status=_STATUS,
        content=ListOf(tagged(parts)),
    )


_MESSAGE = tagged(
    {
        "system": _message({"input_text": _INPUT_TEXT}),
        "user": _message(_USER_PARTS),
        # Clients send both names of the part. A client cannot create assistant audio.
        "assistant": _message({"output_text": _INPUT_TEXT, "text": _INPUT_TEXT}),
    },
    tag="role",
)


class _NewItem:
    """An item that a client may create: the type selects the shape, for a message also the role."""

    def __init__(self, **more_types: Object) -> None:
        self._types = tagged({"message": Object.of(), **_CALLS, **more_types})

    def check(self, value: object, path: str) -> None:
        """Accept an item of a known type."""
        is_message = isinstance(value, dict) and value.get("type") == "message"
        shape: JsonShape = _MESSAGE if is_message else self._types
        shape.check(value, path)


_CALLS = {
    "function_call": Object.of(
        "name",
        "arguments",
        type=STRING,
        id=STRING,
        object=_ITEM_OBJECT,
        status=_STATUS,
        call_id=STRING,
        name=STRING,
        arguments=STRING,
    ),
    "function_call_output": Object.of(
        "call_id",
        "output",
        type=STRING,
        id=STRING,
        object=_ITEM_OBJECT,
        status=_STATUS,
        call_id=STRING,
        output=STRING,
    ),
}

# -- client events -------------------------------------------------------------------------------

_RESPONSE = Object.of(
    audio=Object.of(output=Object.of(format=FORMAT, voice=VOICE)),
    conversation=Nullable(one_of("auto", "none")),
    input=Nullable(ListOf(_NewItem(item_reference=Object.of("id", type=STRING, id=STRING)))),
    instructions=Nullable(STRING),
    max_output_tokens=Nullable(MAX_OUTPUT_TOKENS),
    metadata=Nullable(MapOf(String(512), max_length=16, max_key_length=64)),
    output_modalities=Nullable(MODALITIES),
    parallel_tool_calls=Nullable(BOOLEAN),
    prompt=PROMPT,
    reasoning=Nullable(REASONING),
    tool_choice=Nullable(TOOL_CHOICE),
    tools=Nullable(ListOf(TOOL)),
)


def _event(*required: str, **fields: JsonShape) -> Object:
    return Object.of(*required, type=STRING, event_id=STRING, **fields)


# ``output_audio_buffer.clear`` of the schema is for WebRTC and SIP: the API does not list it among
# the events of a WebSocket either.
CLIENT_EVENTS: Mapping[str, Object] = MappingProxyType(
    {
        "session.update": _event("session", session=ANYTHING),
        "input_audio_buffer.append": _event("audio", audio=STRING),
        "input_audio_buffer.commit": _event(),
        "input_audio_buffer.clear": _event(),
        "conversation.item.create": _event(
            "item", item=_NewItem(), previous_item_id=Nullable(STRING)
        ),
        "conversation.item.truncate": _event(
            "item_id",
            "content_index",
            "audio_end_ms",
            item_id=STRING,
            content_index=Number(0, 0, whole=True),
            audio_end_ms=Number(0, 2**31, whole=True),
        ),
        "conversation.item.delete": _event("item_id", item_id=STRING),
        "conversation.item.retrieve": _event("item_id", item_id=STRING),
        "response.create": _event(response=Nullable(_RESPONSE)),
        "response.cancel": _event(response_id=Nullable(STRING)),
    }
)
