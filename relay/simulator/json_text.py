"""JSON from its text form; a text that is not JSON raises an error or gives a default."""

import json
from typing import Any

Json = dict[str, Any]


def parse_or_raise(text: str) -> object:
    """Return the value.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_or_default(text: str, default: object) -> object:
    """Return the value, or the default where ``parse_or_raise`` raises."""
    try:
        return parse_or_raise(text)
    except ValueError:
        return default
