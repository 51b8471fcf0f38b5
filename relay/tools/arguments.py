"""The arguments of a call: one JSON object that fits the schema of the tool.

A schema may come from a server, and its references may point anywhere. The relay never fetches
one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from referencing import Registry

from relay.core.events import Event
from relay.tools.outcome import InvalidArguments
from relay.yaml.source import KeyPath

MAX_REASON_CHARS = 300
"""The longest reason that is sent to the model."""


class ArgumentsReader:
    """Reads the arguments of one tool."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        validator_class = validator_for(schema, default=Draft202012Validator)
        self._validator = validator_class(dict(schema), registry=Registry())

    def read(self, text: str) -> Event:
        """Return the arguments that the model has written; an empty text means no arguments.

        Raises:
            InvalidArguments: they do not fit.
        """
        try:
            arguments = msgspec.json.decode(text or "{}")
            if not isinstance(arguments, dict):
                raise InvalidArguments("no object", "The arguments must be one JSON object.")
            error = best_match(self._validator.iter_errors(arguments))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise InvalidArguments("no JSON", "The arguments are not valid JSON.") from None
        if error is None:
            return arguments
        # The log gets the path in the schema, which consists of the operator's names. The path in
        # the arguments may contain names of the model's.
        broken = "/".join(map(str, error.absolute_schema_path))
        message = correction(error.json_path, error.message)
        raise InvalidArguments(f"they break {broken}", message)


def correction(path: str, message: str) -> str:
    """Return the text that is sent to the model for an argument that does not fit."""
    reason = f"{path}: {message}"[:MAX_REASON_CHARS]
    return f"The arguments do not fit, so the tool was not run. Correct them: {reason}"


def schema_faults(schema: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield the reasons why a schema cannot be the ``parameters`` of a tool."""
    if not isinstance(schema, dict):
        yield (), "must be a JSON Schema: a mapping"
        return
    if schema.get("type") != "object":
        yield ("type",), "must be object, because arguments have names"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        yield tuple(error.absolute_path), "is not valid JSON Schema"
    for path, reference in _references(schema, ()):
        if not (isinstance(reference, str) and reference.startswith("#")):
            yield path, "must point into this schema: the relay fetches no other document"


def _references(schema: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in {"$ref", "$dynamicRef"}:
                yield (*path, key), value
            else:
                yield from _references(value, (*path, key))
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from _references(value, (*path, index))
