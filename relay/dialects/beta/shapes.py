"""Shapes of JSON values: functions that return the part of a value that a shape allows.

A shape returns ``OMITTED`` for a value that does not fit. An object loses its unknown fields, and a
list loses the members that do not fit. An optional field may be null.
"""

from collections.abc import Callable, Mapping
from typing import Final

from relay.core.events import Json

OMITTED: Final = object()
"""The result of a shape for a value that does not fit."""

Shape = Callable[[Json], Json]


def anything(value: Json) -> Json:
    """Return any value."""
    return value


def text(value: Json) -> Json:
    """Return a string."""
    return value if isinstance(value, str) else OMITTED


def whole(value: Json) -> Json:
    """Return a whole number."""
    return value if type(value) is int else OMITTED


def number(value: Json) -> Json:
    """Return a number."""
    return value if type(value) in {int, float} else OMITTED


def flag(value: Json) -> Json:
    """Return true or false."""
    return value if isinstance(value, bool) else OMITTED


def one_of(*names: str) -> Shape:
    """Allow these names."""
    return lambda value: value if isinstance(value, str) and value in names else OMITTED


def either(first: Shape, second: Shape) -> Shape:
    """Apply the first of two shapes that the value fits."""
    return lambda value: second(value) if (part := first(value)) is OMITTED else part


def otherwise(shape: Shape, default: Json) -> Shape:
    """Replace a value that does not fit by a default."""
    return either(shape, lambda _: default)


def listed(shape: Shape) -> Shape:
    """Allow a list; keep the members that fit."""

    def apply(value: Json) -> Json:
        if not isinstance(value, list):
            return OMITTED
        return [part for member in value if (part := shape(member)) is not OMITTED]

    return apply


def mapped(shape: Shape) -> Shape:
    """Allow an object with any names; keep the members that fit."""

    def apply(value: Json) -> Json:
        if not isinstance(value, dict):
            return OMITTED
        parts = {name: shape(member) for name, member in value.items()}
        return {name: part for name, part in parts.items() if part is not OMITTED}

    return apply


def record(optional: Mapping[str, Shape], required: Mapping[str, Shape] | None = None) -> Shape:
    """Allow an object with all required fields that fit; keep the optional fields that fit."""

    def apply(value: Json) -> Json:
        if not isinstance(value, dict):
            return OMITTED
        parts = {name: shape(value.get(name, OMITTED)) for name, shape in (required or {}).items()}
        if any(part is OMITTED for part in parts.values()):
            return OMITTED
        for name, shape in optional.items():
            part = value.get(name, OMITTED)
            if part is not None and part is not OMITTED:
                part = shape(part)
            if part is not OMITTED:
                parts[name] = part
        return parts

    return apply
