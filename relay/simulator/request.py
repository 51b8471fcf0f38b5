"""The prompt and the settings of a response: ``response.create`` over the session's configuration.

A null in ``response.create`` means the same as a missing field.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from relay.simulator.api_names import REASONING_MODELS
from relay.simulator.conversation import Item, SimulatedConversation, item_of
from relay.simulator.errors import RequestRefused
from relay.simulator.json_text import Json


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of a response.

    Attributes:
        instructions: The instructions of the session, or of this response alone.
        tools: The functions that may be called.
        tool_choice: Whether functions may or must be called.
        items: The conversation, or the input of this response alone.
        is_first: The session has no message of the assistant yet.
    """

    instructions: str
    tools: list[Json]
    tool_choice: str | Json
    items: list[Item]
    is_first: bool


@dataclass(frozen=True, slots=True)
class ResponseSettings:
    """The form of a response."""

    modality: str
    format: Json
    voice: str | Json
    speed: float
    max_output_tokens: int | Literal["inf"]
    metadata: Json | None


def without_nulls(requested: Json) -> Json:
    """Return the fields that are not null."""
    return {name: value for name, value in requested.items() if value is not None}


def prompt_of(
    requested: Json, config: Json, conversation: SimulatedConversation, *, is_first: bool
) -> Prompt:
    """Return the prompt of a response.

    Args:
        requested: The ``response`` of the client event, without nulls.
        config: The configuration of the session.
        conversation: The items of the session.
        is_first: The session has no message of the assistant yet.

    Raises:
        RequestRefused: It refers to an unknown item.
    """
    effective: Json = {**config, **requested}
    items = list(conversation)
    if "input" in requested:
        items = list(_input_items(requested["input"], config, conversation))
    return Prompt(
        instructions=effective["instructions"],
        tools=effective["tools"],
        tool_choice=effective["tool_choice"],
        items=items,
        is_first=is_first,
    )


def _input_items(
    requested: Iterable[Json], config: Json, conversation: SimulatedConversation
) -> Iterable[Item]:
    for item in requested:
        if item["type"] == "item_reference":
            yield conversation.find(item["id"], "item_not_found")
        else:
            yield item_of(item, config["audio"]["input"]["format"])


def settings_of(requested: Json, config: Json, *, is_voice_fixed: bool) -> ResponseSettings:
    """Return the settings of a response.

    Args:
        requested: The ``response`` of the client event, without nulls.
        config: The configuration of the session.
        is_voice_fixed: The session has assistant audio.

    Raises:
        RequestRefused: It requests another voice although the voice is fixed, or an option that the
            model does not have.
    """
    effective: Json = {**config, **requested}
    current = config["audio"]["output"]
    output: Json = {**current, **requested.get("audio", {}).get("output", {})}
    if is_voice_fixed and output["voice"] != current["voice"]:
        raise RequestRefused("cannot_update_voice", param="response.audio.output.voice")
    if "reasoning" in requested and config["model"] not in REASONING_MODELS:
        problem = "Unsupported option for this model"
        raise RequestRefused("invalid_value", param="response.reasoning", problem=problem)
    return ResponseSettings(
        modality=effective["output_modalities"][0],
        format=output["format"],
        voice=output["voice"],
        speed=output["speed"],
        max_output_tokens=effective["max_output_tokens"],
        metadata=requested.get("metadata"),
    )
