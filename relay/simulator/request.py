"""What a ``response.create`` asks for, over what the session is set to."""

from collections.abc import Iterable

from relay.simulator.conversation import Conversation, Item, item_of
from relay.simulator.errors import Json, Refused
from relay.simulator.response import Prompt, Settings
from relay.simulator.vocabulary import REASONING_MODELS


def without_nulls(asked: Json) -> Json:
    """Return what is really asked for: null is the same as nothing."""
    return {name: value for name, value in asked.items() if value is not None}


def prompt_of(asked: Json, config: Json, conversation: Conversation, *, is_first: bool) -> Prompt:
    """Return what the response answers to.

    Raises:
        Refused: It refers to an item that is not there.
    """
    effective: Json = {**config, **asked}
    items = list(conversation)
    if "input" in asked:
        items = list(_items(asked["input"], config, conversation))
    return Prompt(
        instructions=effective["instructions"],
        tools=effective["tools"],
        tool_choice=effective["tool_choice"],
        items=items,
        is_first=is_first,
    )


def _items(asked: Iterable[Json], config: Json, conversation: Conversation) -> Iterable[Item]:
    for item in asked:
        if item["type"] == "item_reference":
            yield conversation.find(item["id"], "item_not_found")
        else:
            yield item_of(item, config["audio"]["input"]["format"])


def settings_of(asked: Json, config: Json, *, is_voice_fixed: bool) -> Settings:
    """Return how the response is to be given.

    Raises:
        Refused: It asks for another voice than the one that was heard already, or for what its
            model cannot do.
    """
    effective: Json = {**config, **asked}
    current = config["audio"]["output"]
    output: Json = {**current, **asked.get("audio", {}).get("output", {})}
    if is_voice_fixed and output["voice"] != current["voice"]:
        raise Refused("cannot_update_voice", param="response.audio.output.voice")
    if "reasoning" in asked and config["model"] not in REASONING_MODELS:
        problem = "Unsupported option for this model"
        raise Refused("invalid_value", param="response.reasoning", problem=problem)
    return Settings(
        modality=effective["output_modalities"][0],
        format=output["format"],
        voice=output["voice"],
        speed=output["speed"],
        max_output_tokens=effective["max_output_tokens"],
        metadata=asked.get("metadata"),
    )
