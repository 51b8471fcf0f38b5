"""A small language to say what JSON may look like, with the API's words for what does not.

A shape checks a value and raises ``Refused`` with the path of the first thing that is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from relay.simulator.errors import Refused

_SHOWN_CHARACTERS = 64


class Shape(Protocol):
    """Says what a value may look like."""

    def check(self, value: object, path: str) -> None:
        """Accept the value.

        Raises:
            Refused: The value, or something inside it, is not what it should be.
        """
        ...


def _expected(what: str, path: str) -> Refused:
    return Refused("invalid_value", param=path, problem=f"expected {what}")


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever JSON can say."""

    def check(self, value: object, path: str) -> None:
        """Accept every value."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    max_length: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept a string that is not too long."""
        if not isinstance(value, str):
            raise _expected("a string", path)
        if self.max_length is not None and len(value) > self.max_length:
            raise _expected(f"at most {self.max_length} characters", path)


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def check(self, value: object, path: str) -> None:
        """Accept a boolean."""
        if not isinstance(value, bool):
            raise _expected("a boolean", path)


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds, both inclusive."""

    low: float
    high: float
    whole: bool = False

    def check(self, value: object, path: str) -> None:
        """Accept a number within the bounds; a boolean is none."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise _expected("an integer" if self.whole else "a number", path)
        # Written so that NaN, which compares false with everything, is refused.
        if not self.low <= value <= self.high:
            raise _expected(f"a value from {self.low} to {self.high}", path)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings."""

    values: tuple[str, ...]

    def check(self, value: object, path: str) -> None:
        """Accept one of the values."""
        if value not in self.values:
            shown = repr(value)[:_SHOWN_CHARACTERS]
            supported = ", ".join(map(repr, self.values))
            raise Refused(
                "invalid_value", param=path, problem=f"{shown}. Supported values are: {supported}"
            )


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list whose members have one shape."""

    member: Shape
    max_length: int | None = None
    min_length: int = 0

    def check(self, value: object, path: str) -> None:
        """Accept a list of the right length, whose members are all accepted."""
        if not isinstance(value, list):
            raise _expected("an array", path)
        if len(value) < self.min_length:
            raise _expected(f"at least {self.min_length} members", path)
        if self.max_length is not None and len(value) > self.max_length:
            raise _expected(f"at most {self.max_length} members", path)
        for index, member in enumerate(value):
            self.member.check(member, f"{path}[{index}]")


@dataclass(frozen=True, slots=True)
class MapOf:
    """An object with free keys, whose values have one shape."""

    member: Shape
    max_length: int | None = None
    max_key_length: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept an object of the right size, whose values are all accepted."""
        if not isinstance(value, dict):
            raise _expected("an object", path)
        if self.max_length is not None and len(value) > self.max_length:
            raise _expected(f"at most {self.max_length} pairs", path)
        for key, member in value.items():
            Text(self.max_key_length).check(key, path)
            self.member.check(member, f"{path}.{key}")


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known fields and no others."""

    fields: Mapping[str, Shape]
    required: tuple[str, ...] = ()

    def check(self, value: object, path: str) -> None:
        """Accept an object that has what is required and nothing that is unknown."""
        if not isinstance(value, dict):
            raise _expected("an object", path)
        prefix = f"{path}." if path else ""
        for name in self.required:
            if name not in value:
                raise Refused("missing_required_parameter", param=prefix + name)
        for name, member in value.items():
            if name not in self.fields:
                raise Refused("unknown_parameter", param=prefix + name)
            self.fields[name].check(member, prefix + name)


@dataclass(frozen=True, slots=True)
class Tagged:
    """One of several objects; the field ``tag`` says which."""

    kinds: Mapping[str, Object]
    tag: str = "type"
    _choice: Choice = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_choice", Choice(tuple(self.kinds)))

    def check(self, value: object, path: str) -> None:
        """Accept an object of one of the kinds."""
        if not isinstance(value, dict):
            raise _expected("an object", path)
        if self.tag not in value:
            raise Refused("missing_required_parameter", param=f"{path}.{self.tag}")
        tag = value[self.tag]
        self._choice.check(tag, f"{path}.{self.tag}")
        self.kinds[tag].check(value, path)


@dataclass(frozen=True, slots=True)
class Nullable:
    """A shape, or null."""

    shape: Shape

    def check(self, value: object, path: str) -> None:
        """Accept null, and what the shape accepts."""
        if value is not None:
            self.shape.check(value, path)


@dataclass(frozen=True, slots=True)
class Either:
    """A scalar, or an object: what is an object is held to the second shape."""

    scalar: Shape
    compound: Shape

    def check(self, value: object, path: str) -> None:
        """Accept what the shape for this kind of value accepts."""
        shape = self.compound if isinstance(value, dict | list) else self.scalar
        shape.check(value, path)
