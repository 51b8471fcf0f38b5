"""Shapes of JSON values: what of a value somebody can read who knows no other shape.

A shape is a function from a value to what of it can be said. Unknown fields of an object, and
members of a list that cannot be said, are left out; null stands for any optional field.
"""

from collections.abc import Callable, Mapping
from typing import Final

from relay.core.events import Json

UNSAID: Final = object()
"""What a shape returns of a value of which nothing can be said."""

Shape = Callable[[Json], Json]


def anything(value: Json) -> Json:
    """Say any value as it is."""
    return value


def text(value: Json) -> Json:
    """Say a string."""
    return value if isinstance(value, str) else UNSAID


def whole(value: Json) -> Json:
    """Say a whole number."""
    return value if type(value) is int else UNSAID


def number(value: Json) -> Json:
    """Say a number."""
    return value if type(value) in {int, float} else UNSAID


def flag(value: Json) -> Json:
    """Say true or false."""
    return value if isinstance(value, bool) else UNSAID


def one_of(*names: str) -> Shape:
    """Say one of these names."""
    return lambda value: value if isinstance(value, str) and value in names else UNSAID


def either(first: Shape, second: Shape) -> Shape:
    """Say a value in the first of two shapes that can."""
    return lambda value: second(value) if (said := first(value)) is UNSAID else said


def otherwise(shape: Shape, default: Json) -> Shape:
    """Say a default where nothing can be said."""
    return either(shape, lambda _: default)


def listed(shape: Shape) -> Shape:
    """Say those members of a list that can be said."""

    def say(value: Json) -> Json:
        if not isinstance(value, list):
            return UNSAID
        return [said for item in value if (said := shape(item)) is not UNSAID]

    return say


def mapped(shape: Shape) -> Shape:
    """Say those members of an object, whatever their names, that can be said."""

    def say(value: Json) -> Json:
        if not isinstance(value, dict):
            return UNSAID
        said = {key: shape(item) for key, item in value.items()}
        return {key: item for key, item in said.items() if item is not UNSAID}

    return say


def record(optional: Mapping[str, Shape], required: Mapping[str, Shape] | None = None) -> Shape:
    """Say the fields of an object that have these names; nothing when a required one is missing."""

    def say(value: Json) -> Json:
        if not isinstance(value, dict):
            return UNSAID
        said = {name: shape(value.get(name, UNSAID)) for name, shape in (required or {}).items()}
        if any(item is UNSAID for item in said.values()):
            return UNSAID
        for name, shape in optional.items():
            item = value.get(name, UNSAID)
            if item is not None and item is not UNSAID:
                item = shape(item)
            if item is not UNSAID:
                said[name] = item
        return said

    return say
