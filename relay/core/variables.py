"""Variables: placeholders in a persona's instructions that a trusted client fills in.

A placeholder is ``{{ name }}``. A value is plain text. It is inserted unchanged and not read again,
so a value cannot name a variable, and nothing is executed.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from relay.core.errors import InvalidRequest
from relay.core.events import Json

_PLACEHOLDER = re.compile(r"\{\{ *(\w[\w.-]*) *\}\}")
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except newline and tab, and half surrogate pairs, which are not UTF-8."""


class Declared(Protocol):
    """A variable as a persona declares it.

    Attributes:
        default: the text if the client fills in none.
        max_length: the maximum number of characters.
    """

    @property
    def default(self) -> str: ...  # noqa: D102
    @property
    def max_length(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder in a text: the name in it, and the offset of its start in characters."""

    name: str
    offset: int


def undeclared(instructions: str, declared: Collection[str]) -> Iterator[Placeholder]:
    """Yield the placeholders without a declared variable."""
    for match in _PLACEHOLDER.finditer(instructions):
        if match[1] not in declared:
            yield Placeholder(match[1], match.start())


def unfit(value: Json, max_length: int) -> str | None:
    """Return the fault of a variable's value, without the value; None if it has none."""
    if not isinstance(value, str):
        return "must be text"
    if len(value) > max_length:
        return f"must have at most {max_length} characters"
    if _NOT_TEXT.search(value):
        return "must have no control characters except newlines and tabs"
    return None


def read_variables(values: Json, declared: Mapping[str, Declared]) -> Mapping[str, str]:
    """Return the values that a client fills in, by the names of the variables.

    Raises:
        InvalidRequest: they are not an object, a name is not declared, or a value does not fit.
    """
    if not isinstance(values, dict):
        raise InvalidRequest("'variables' must be an object of names and texts.")
    if values.keys() - declared.keys():
        names = ", ".join(sorted(declared)) or "none"
        raise InvalidRequest(f"'variables' may have only the names of the persona: {names}.")
    for name, value in values.items():
        if fault := unfit(value, declared[name].max_length):
            raise InvalidRequest(f"'variables.{name}' {fault}.")
    return values


def render(instructions: str, declared: Mapping[str, Declared], filled: Mapping[str, str]) -> str:
    """Return the instructions with a text for every placeholder: the client's, or the default."""

    def text(placeholder: re.Match[str]) -> str:
        name = placeholder[1]
        return filled.get(name, declared[name].default)

    return _PLACEHOLDER.sub(text, instructions)
