"""Shapes of JSON values: they check a value, and report errors with the API's messages.

A shape raises ``RequestRefused`` with the path of the first wrong value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from relay.simulator.errors import RequestRefused

_SHOWN_CHARACTERS = 64


class JsonShape(Protocol):
    """The values that are allowed."""

    def check(self, value: object, path: str) -> None:
        """Accept the value.

        Args:
            value: A decoded JSON value.
            path: The place of the value in the event, for the error.

        Raises:
            RequestRefused: The value, or a value inside it, is not allowed.
        """
        ...


def _expected(description: str, path: str) -> RequestRefused:
    return RequestRefused("invalid_value", param=path, problem=f"expected {description}")


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""

    def check(self, value: object, path: str) -> None:
        """Accept every value."""


@dataclass(frozen=True, slots=True)
class String:
    """A string."""

    max_length: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept a string of at most ``max_length`` characters."""
        if not isinstance(value, str):
            raise _expected("a string", path)
        if self.max_length is not None and len(value) > self.max_length:
            raise _expected(f"at most {self.max_length} characters", path)


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    def check(self, value: object, path: str) -> None:
        """Accept a boolean."""
        if not isinstance(value, bool):
            raise _expected("a boolean", path)


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds, both inclusive.

    Attributes:
        low: The smallest number.
        high: The largest number.
        whole: Only integers are allowed.
    """

    low: float
    high: float
    whole: bool = False

    def check(self, value: object, path: str) -> None:
        """Accept a number within the bounds; a boolean is not a number."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise _expected("an integer" if self.whole else "a number", path)
        # NaN compares false with every number, so this form refuses it.
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
            raise RequestRefused(
                "invalid_value", param=path, problem=f"{shown}. Supported values are: {supported}"
            )


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list; all its members have one shape."""

    member: JsonShape
    max_length: int | None = None
    min_length: int = 0

    def check(self, value: object, path: str) -> None:
        """Accept a list of the right length if each member is accepted."""
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
    """An object with any keys; all its values have one shape."""

    member: JsonShape
    max_length: int | None = None
    max_key_length: int | None = None

    def check(self, value: object, path: str) -> None:
        """Accept an object of the right size if each key and value is accepted."""
        if not isinstance(value, dict):
            raise _expected("an object", path)
        if self.max_length is not None and len(value) > self.max_length:
            raise _expected(f"at most {self.max_length} pairs", path)
        for key, member in value.items():
            String(self.max_key_length).check(key, path)
            self.member.check(member, f"{path}.{key}")


@dataclass(frozen=True, slots=True)
class Object:
    """An object with known fields and no others."""

    fields: Mapping[str, JsonShape]
    required: tuple[str, ...] = ()

    @classmethod
    def of(cls, *required: str, **fields: JsonShape) -> "Object":
        """Return the shape of an object with these fields."""
        return cls(MappingProxyType(fields), required)

    def check(self, value: object, path: str) -> None:
        """Accept an object that has all required fields and no unknown field."""
        if not isinstance(value, dict):
            raise _expected("an object", path)
        prefix = f"{path}." if path else ""
        for name in self.required:
            if name not in value:
                raise RequestRefused("missing_required_parameter", param=prefix + name)
        for name, member in value.items():
            if name not in self.fields:
                raise RequestRefused("unknown_parameter", param=prefix + name)
            self.fields[name].check(member, prefix + name)


@dataclass(frozen=True, slots=True)
class Tagged:
    """One of several objects: the value of the field ``tag`` selects the shape."""

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
            raise RequestRefused("missing_required_parameter", param=f"{path}.{self.tag}")
        tag = value[self.tag]
        self._choice.check(tag, f"{path}.{self.tag}")
        self.kinds[tag].check(value, path)


@dataclass(frozen=True, slots=True)
class Nullable:
    """A shape, or null."""

    shape: JsonShape

    def check(self, value: object, path: str) -> None:
        """Accept null, and each value that the shape accepts."""
        if value is not None:
            self.shape.check(value, path)


@dataclass(frozen=True, slots=True)
class Either:
    """A scalar of one shape, or an object or list of another."""

    scalar: JsonShape
    compound: JsonShape

    def check(self, value: object, path: str) -> None:
        """Accept each value that the shape for its kind accepts."""
        shape = self.compound if isinstance(value, dict | list) else self.scalar
        shape.check(value, path)


ANYTHING = Anything()
BOOLEAN = Boolean()
STRING = String()


def one_of(*values: str) -> Choice:
    """Return the shape of one of these strings."""
    return Choice(values)


def tagged(kinds: Mapping[str, Object], tag: str = "type") -> Tagged:
    """Return the shape of an object of one of these kinds."""
    return Tagged(MappingProxyType(dict(kinds)), tag)
