"""The responder states that it is a stand-in, and follows its rules."""

import json
from typing import Any

import pytest

from relay.simulator.conversation import Item
from relay.simulator.intent import arguments_for, relevance
from relay.simulator.request import Prompt
from relay.simulator.responder import (
    GREETING,
    INTRODUCTION,
    FunctionCall,
    Message,
    Responder,
    ScriptedReply,
)
from relay.simulator.turns import is_finished


def _tool(name: str, description: str = "", /, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
    }


HOURS = _tool("opening_hours", "When the clinic is open", day={"type": "string"})
WEATHER = _tool("get_weather", "Get the weather for a place", city={"type": "string"})
LIGHT = _tool("set_light", "", colour={"type": "string", "enum": ["red", "deep blue"]})


def _user(text: str) -> Item:
    content = [{"type": "input_text", "text": text}]
    return Item({"id": "item_1", "type": "message", "role": "user", "content": content})


def _output(text: str) -> Item:
    fields = {"type": "function_call_output", "call_id": "call_1", "output": text}
    return Item({"id": "item_2", **fields})


def _prompt(*items: Item, **fields: Any) -> Prompt:
    defaults = {"instructions": "", "tools": [], "tool_choice": "auto", "is_first": False}
    return Prompt(items=list(items), **{**defaults, **fields})


def test_the_first_message_introduces_the_stand_in() -> None:
    (item,) = Responder().respond(_prompt(_user("Hello"), is_first=True))

    assert item == Message(f"{INTRODUCTION} You said: Hello")
    assert "local stand-in" in INTRODUCTION
    assert "GPT" not in INTRODUCTION


def test_it_repeats_the_last_utterance() -> None:
    assert Responder().respond(_prompt(_user("one"), _user("two"))) == [Message("You said: two")]


def test_it_greets_a_user_without_an_utterance() -> None:
    assert Responder().respond(_prompt()) == [Message(GREETING)]


def test_the_first_reply_that_matches_is_given() -> None:
    responder = Responder(
        (ScriptedReply.of(r"\bhours?\b", "Nine to five."), ScriptedReply.of("", "Pardon?"))
    )

    assert responder.respond(_prompt(_user("Your HOURS please"))) == [Message("Nine to five.")]
    assert responder.respond(_prompt(_user("Who are you"))) == [Message("Pardon?")]


def test_a_reply_may_belong_to_one_persona() -> None:
    responder = Responder((ScriptedReply.of("hello", "Ahoy!", instructions="You are a pirate."),))

    assert responder.respond(_prompt(_user("Hello"), instructions="You are a pirate.")) == [
        Message("Ahoy!")
    ]
    assert responder.respond(_prompt(_user("Hello"), instructions="Be brief.")) != [
        Message("Ahoy!")
    ]


@pytest.mark.parametrize(
    ("output", "spoken"),
    [
        ("Nine to five.", "Nine to five."),
        ('{"opens_at": "9:00", "open": true}', "opens at: 9:00, open: yes."),
        ('[1, null, {"a": false}]', "1, nothing, a: no."),
        ("", ""),
    ],
)
def test_the_output_of_a_function_is_repeated(output: str, spoken: str) -> None:
    prompt = _prompt(_user("hours?"), _output(output), tools=[HOURS])

    assert Responder().respond(prompt) == [Message(spoken)]


def test_an_earlier_output_is_not_repeated_again() -> None:
    prompt = _prompt(_output("Nine to five."), _user("Thank you"))

    assert Responder().respond(prompt) == [Message("You said: Thank you")]


@pytest.mark.parametrize(
    ("utterance", "tool"),
    [
        ("What are your opening hours on Friday?", "opening_hours"),
        ("When are you open, at what hour?", "opening_hours"),
        ("What is the weather like in Paris?", "get_weather"),
        ("Make the light red", "set_light"),
        ("deep blue, please", "set_light"),
    ],
)
def test_a_function_is_called_for_a_matching_utterance(utterance: str, tool: str) -> None:
    items = Responder().respond(_prompt(_user(utterance), tools=[HOURS, WEATHER, LIGHT]))

    assert [item.name for item in items if isinstance(item, FunctionCall)] == [tool]


@pytest.mark.parametrize(
    "utterance", ["Hello", "Who are you?", "Please go on", "Thank you very much"]
)
def test_no_function_is_called_for_small_talk(utterance: str) -> None:
    items = Responder().respond(_prompt(_user(utterance), tools=[HOURS, WEATHER, LIGHT]))

    assert [type(item) for item in items] == [Message]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["opening_hours"]),
        ({"type": "function", "name": "set_light"}, ["set_light"]),
    ],
)
def test_the_tool_choice_is_obeyed(choice: Any, called: list[str]) -> None:
    items = Responder().respond(_prompt(_user("hmm"), tools=[HOURS, LIGHT], tool_choice=choice))

    assert [item.name for item in items if isinstance(item, FunctionCall)] == called


@pytest.mark.parametrize(
    ("schema", "utterance", "found"),
    [
        ({"type": "string"}, "What is the weather in New York?", "New York"),
        ({"type": "string"}, "the weather in Paris please", "Paris"),
        ({"type": "string"}, "a table for Mr. Smith at the window", "window"),
        ({"type": "string"}, "weather", "weather"),
        ({"type": "integer"}, "a table for four", 4),
        ({"type": "integer"}, "a table for 12", 12),
        ({"type": "number"}, "heat it to 21.5 degrees", 21.5),
        ({"type": "integer"}, "a table", 0),
        ({"type": "boolean"}, "yes", True),
        ({"type": "string", "enum": ["red", "deep blue"]}, "Deep blue, please", "deep blue"),
        ({"type": "string", "enum": ["red", "deep blue"]}, "green", "red"),
    ],
)
def test_arguments_come_from_the_utterance(
    schema: dict[str, Any], utterance: str, found: object
) -> None:
    assert arguments_for(_tool("f", "", thing=schema), utterance) == {"thing": found}


def test_a_day_is_distinguished_from_a_place() -> None:
    assert arguments_for(HOURS, "Are you open in the morning on Friday?") == {"day": "friday"}


def test_an_optional_argument_is_left_out_if_it_is_not_found() -> None:
    tool = _tool("f", "", guests={"type": "integer"}, note={"type": "string"})
    tool["parameters"]["required"] = []

    assert arguments_for(tool, "a table") == {}


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}, {"properties": {"a": 1}}])
def test_a_function_may_have_no_parameters(parameters: object) -> None:
    tool = {"type": "function", "name": "ping_me", "parameters": parameters}

    (item,) = Responder().respond(_prompt(_user("ping"), tools=[tool]))

    assert isinstance(item, FunctionCall)
    assert json.loads(item.arguments) == {}


def test_the_stems_of_words_are_compared() -> None:
    assert relevance(_tool("bookTable"), "I am booking tables") == 4


@pytest.mark.parametrize(
    ("words", "finished"),
    [
        ("book a table", True),
        ("book a table for", False),
        ("I would like, um", False),
        ("well...", False),
        ("and then,", False),
        ("", False),
        ("Go forward ten meters.", True),
    ],
)
def test_an_unfinished_sentence_is_recognized(words: str, finished: bool) -> None:  # noqa: FBT001  # a table of examples
    assert is_finished(words) is finished
