"""Decides by fixed rules what a response contains: messages and function calls.

The rules, in this order: it repeats the outputs of functions; it calls functions that match the
user's words; it gives the first ``ScriptedReply`` that matches; it repeats the user's words.
Its first message says that it is a local stand-in.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay.simulator.conversation import Item
from relay.simulator.intent import arguments_for, relevance
from relay.simulator.json_text import Json, parse_or_default
from relay.simulator.request import Prompt

INTRODUCTION = "This is the local stand-in, not a language model."
GREETING = "Hello! What can I do for you?"
# One word of the function's name matches, or two words of its description.
_MIN_RELEVANCE = 2


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the assistant, spoken or written."""

    text: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of a function; ``arguments`` is JSON."""

    name: str
    arguments: str


OutputItem = Message | FunctionCall


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """A reply for the utterances that match an expression.

    Attributes:
        when: Searched in the user's words; upper and lower case are the same.
        say: The reply.
        instructions: The reply is for sessions with these instructions; for all, if it is None.
    """

    when: re.Pattern[str]
    say: str
    instructions: str | None = None

    @classmethod
    def of(cls, when: str, say: str, *, instructions: str | None = None) -> "ScriptedReply":
        """Return the reply to utterances that match the expression ``when``."""
        return cls(re.compile(when, re.IGNORECASE), say, instructions)

    def matches(self, utterance: str, instructions: str) -> bool:
        """Return whether this is a reply to the utterance, under these instructions."""
        is_for_session = self.instructions is None or self.instructions == instructions
        return is_for_session and self.when.search(utterance) is not None


@dataclass(frozen=True, slots=True)
class Responder:
    """Decides for all sessions; it has no state.

    Attributes:
        replies: The first one that matches is given.
    """

    replies: Sequence[ScriptedReply] = ()

    def respond(self, prompt: Prompt) -> list[OutputItem]:
        """Return the items of the response."""
        outputs = _new_outputs(prompt.items)
        utterance = _last_utterance(prompt.items)
        if outputs:
            return [_introduced(prompt, " ".join(map(_output_text, outputs)))]
        if calls := _calls(prompt, utterance or ""):
            return calls
        return [_introduced(prompt, self._reply(utterance, prompt.instructions))]

    def _reply(self, utterance: str | None, instructions: str) -> str:
        for reply in self.replies:
            if reply.matches(utterance or "", instructions):
                return reply.say
        if utterance is None:
            return GREETING
        return f"You said: {utterance}" if utterance else "I could not make out what you said."


def _introduced(prompt: Prompt, text: str) -> Message:
    return Message(f"{INTRODUCTION} {text}" if prompt.is_first else text)


def _last_utterance(items: Iterable[Item]) -> str | None:
    """Return the text of the user's last message; None if there is no such message."""
    utterances = [item.text for item in items if item.role == "user"]
    return utterances[-1] if utterances else None


def _new_outputs(items: Sequence[Item]) -> list[str]:
    """Return the outputs of functions since the last message."""
    outputs: list[str] = []
    for item in reversed(items):
        if item.type == "function_call_output":
            outputs.insert(0, str(item.json["output"]))
        elif item.type == "message" and item.role != "system":
            break
    return outputs


def _calls(prompt: Prompt, utterance: str) -> list[OutputItem]:
    functions = [tool for tool in prompt.tools if tool["type"] == "function"]
    chosen = _chosen(functions, prompt.tool_choice, utterance)
    return [
        FunctionCall(tool["name"], json.dumps(arguments_for(tool, utterance))) for tool in chosen
    ]


def _chosen(functions: list[Json], choice: str | Json, utterance: str) -> list[Json]:
    if choice == "none" or not functions:
        return []
    if isinstance(choice, dict):
        return [tool for tool in functions if tool["name"] == choice.get("name")]
    by_relevance = sorted(functions, key=lambda tool: relevance(tool, utterance), reverse=True)
    if choice == "required" and relevance(by_relevance[0], utterance) < _MIN_RELEVANCE:
        return by_relevance[:1]
    return [tool for tool in functions if relevance(tool, utterance) >= _MIN_RELEVANCE]


def _output_text(output: str) -> str:
    """Return the output of a function as a sentence."""
    value = parse_or_default(output, _NOT_JSON)
    return output if value is _NOT_JSON else _value_text(value)


_NOT_JSON = object()


def _value_text(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{key.replace('_', ' ')}: {_value_text(member)}" for key, member in value.items())
        return ", ".join(pairs) + "."
    if isinstance(value, list):
        return ", ".join(map(_value_text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)
