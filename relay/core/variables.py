"""Variables: the places in a persona's instructions that a trusted client fills in.

A place is ``{{ name }}``. What stands there is plain text: it is put in as it is and never looked
at again, so a value cannot name a variable, and there is nothing to execute.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from relay.core.errors import InvalidRequest
from relay.core.events import Json

_PLACE = re.compile(r"\{\{ *(\w[\w.-]*) *\}\}")
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but newline and tab, and half surrogate pairs, which no UTF-8 can carry."""


class Declared(Protocol):
    """A variable as a persona declares it.

    Attributes:
        default: what stands there if nobody fills it in.
        max_length: the characters that it may have.
    """

    @property
    def default(self) -> str: ...  # noqa: D102
    @property
    def max_length(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a text: the name that it holds, and the offset where it starts."""

    name: str
    offset: int


def undeclared(instructions: str, declared: Collection[str]) -> Iterator[Place]:
    """Yield the places that no variable is declared for."""
    for match in _PLACE.finditer(instructions):
        if match[1] not in declared:
            yield Place(match[1], match.start())


def unfit(value: Json, max_length: int) -> str | None:
    """Return what is wrong with the value of a variable, without repeating it; None if nothing."""
    if not isinstance(value, str):
        return "must be text"
    if len(value) > max_length:
        return f"must have at most {max_length} characters"
    if _NO_TEXT.search(value):
        return "must have no control characters but newlines and tabs"
    return None


def read_variables(asked: Json, declared: Mapping[str, Declared]) -> Mapping[str, str]:
    """Return the values that a client fills in.

    Raises:
        InvalidRequest: they are no object, one is not declared, or a value is no text that fits.
    """
    if not isinstance(asked, dict):
        raise InvalidRequest("'variables' is an object of names and texts.")
    if asked.keys() - declared.keys():
        names = ", ".join(sorted(declared)) or "none"
        raise InvalidRequest(f"'variables' may name those of the persona: {names}.")
    for name, value in asked.items():
        if wrong := unfit(value, declared[name].max_length):
            raise InvalidRequest(f"'variables.{name}' {wrong}.")
    return asked


def render(instructions: str, declared: Mapping[str, Declared], filled: Mapping[str, str]) -> str:
    """Return the instructions with a text in every place: what was filled in, or the default."""

    def text(place: re.Match[str]) -> str:
        name = place[1]
        return filled.get(name, declared[name].default)

    return _PLACE.sub(text, instructions)
