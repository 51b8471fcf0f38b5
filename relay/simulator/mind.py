"""An honest mind: it decides what to say or which functions to call, by rules that can be read.

In this order: it speaks what a function gave back; it calls functions that what was said is
about; it says what a ``Reply`` has for it; it says what it heard.
Its first answer says that it is a local stand-in.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relay.simulator.conversation import Item
from relay.simulator.errors import Json
from relay.simulator.intent import arguments_for, relevance
from relay.simulator.response import Prompt

INTRODUCTION = "This is the local stand-in, not a language model."
GREETING = "Hello! What can I do for you?"
# A word of the function's name, or two of its description, must have been said.
_ENOUGH = 2
_UNFINISHED_WORDS = (
    "a an and as at because but by for from if in is like of on or so than that the then to um "
    "umm uh uhm er hmm well when where which who with"
)
_UNFINISHED = frozenset(_UNFINISHED_WORDS.split())


@dataclass(frozen=True, slots=True)
class Say:
    """Say something, or write it."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function with JSON arguments."""

    name: str
    arguments: str


Thought = Say | Call


@dataclass(frozen=True, slots=True)
class Reply:
    """A scripted answer.

    Attributes:
        when: A regular expression, searched in what the user said, in any case of letters.
        say: The answer.
        instructions: Whose answer it is: the session's instructions; anybody's, if it is None.
    """

    when: re.Pattern[str]
    say: str
    instructions: str | None = None

    @classmethod
    def of(cls, when: str, say: str, *, instructions: str | None = None) -> "Reply":
        """Return the answer to what the expression ``when`` finds."""
        return cls(re.compile(when, re.IGNORECASE), say, instructions)

    def fits(self, said: str, instructions: str) -> bool:
        """Tell whether it answers what was said, under these instructions."""
        is_ours = self.instructions is None or self.instructions == instructions
        return is_ours and self.when.search(said) is not None


@dataclass(frozen=True, slots=True)
class Mind:
    """Thinks for all sessions; it remembers nothing.

    Attributes:
        replies: Scripted answers; the first that fits is given.
    """

    replies: Sequence[Reply] = ()

    def think(self, prompt: Prompt) -> list[Thought]:
        """Decide how to answer."""
        outputs = _outputs(prompt.items)
        said = _last_said(prompt.items)
        if outputs:
            return [Say(_introduced(prompt, " ".join(map(_spoken, outputs))))]
        if calls := _calls(prompt, said or ""):
            return calls
        return [Say(_introduced(prompt, self._reply(said, prompt.instructions)))]

    def _reply(self, said: str | None, instructions: str) -> str:
        for reply in self.replies:
            if reply.fits(said or "", instructions):
                return reply.say
        if said is None:
            return GREETING
        return f"You said: {said}" if said else "I could not make out what you said."


def is_finished(words: str) -> bool:
    """Tell whether somebody who said this is likely to be done."""
    last = re.findall(r"[\w']+", words.lower())[-1:]
    return not words.rstrip().endswith((",", "...", "-")) and not _UNFINISHED.issuperset(
        last or ["the"]
    )


def _introduced(prompt: Prompt, text: str) -> str:
    return f"{INTRODUCTION} {text}" if prompt.is_first else text


def _last_said(items: Iterable[Item]) -> str | None:
    """Return what the user said last; None if the user said nothing yet."""
    said = [item.text for item in items if item.role == "user"]
    return said[-1] if said else None


def _outputs(items: Sequence[Item]) -> list[str]:
    """Return what functions gave back since anybody last spoke."""
    outputs: list[str] = []
    for item in reversed(items):
        if item.type == "function_call_output":
            outputs.insert(0, str(item.json["output"]))
        elif item.type == "message" and item.role != "system":
            break
    return outputs


def _calls(prompt: Prompt, said: str) -> list[Thought]:
    functions = [tool for tool in prompt.tools if tool["type"] == "function"]
    chosen = _chosen(functions, prompt.tool_choice, said)
    return [Call(tool["name"], json.dumps(arguments_for(tool, said))) for tool in chosen]


def _chosen(functions: list[Json], choice: str | Json, said: str) -> list[Json]:
    if choice == "none" or not functions:
        return []
    if isinstance(choice, dict):
        return [tool for tool in functions if tool["name"] == choice.get("name")]
    by_relevance = sorted(functions, key=lambda tool: relevance(tool, said), reverse=True)
    if choice == "required" and relevance(by_relevance[0], said) < _ENOUGH:
        return by_relevance[:1]
    return [tool for tool in functions if relevance(tool, said) >= _ENOUGH]


def _spoken(output: str) -> str:
    """Return what a function gave back, as one would say it."""
    try:
        value = json.loads(output)
    except ValueError:
        return output
    return _say_value(value)


def _say_value(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{key.replace('_', ' ')}: {_say_value(member)}" for key, member in value.items())
        return ", ".join(pairs) + "."
    if isinstance(value, list):
        return ", ".join(map(_say_value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else str(value)
