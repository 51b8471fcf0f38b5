"""The base class of every section of a configuration, and its errors in the words of YAML."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from relay.yaml.source import KeyPath
from relay.yaml.value import did_you_mean


class Section(BaseModel):
    """A mapping with known keys.

    It is frozen, because sessions share it. It refuses unknown keys, because a typo must be an
    error. Its errors repeat no value, because any value may be a secret.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def validation_problems(
    error: ValidationError, section: type[Section]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path, from the root of the section, and the message of each error."""
    for details in error.errors(include_input=False, include_url=False):
        path = tuple(part for part in details["loc"] if part != "[key]")
        yield path, _message(details, path, section)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, also inside a mapping or a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _message(details: ErrorDetails, path: KeyPath, section: type[Section]) -> str:
    if details["type"] == "extra_forbidden":
        return f"unknown key{did_you_mean(str(path[-1]), _keys_at(section, path[:-1]))}"
    plain = details["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return _MESSAGES.get(details["type"], plain)


_MESSAGES: Mapping[str, str] = {
    "missing": "is required",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_type": "must be text: put it in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
}
"""Messages in the words of YAML for pydantic's messages in the words of Python, by error type."""


def _keys_at(section: type[BaseModel], path: KeyPath) -> Collection[str]:
    """Return the keys that a section allows at a path."""
    for part in path:
        if field := section.model_fields.get(str(part)):
            section = _section_in(field.annotation) or section
    return [field.alias or name for name, field in section.model_fields.items()]
