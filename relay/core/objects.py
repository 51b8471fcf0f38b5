"""Objects inside JSON objects: a lenient reader and two strict ones."""

from collections.abc import Mapping

from relay.core.errors import InvalidEvent, RelayError
from relay.core.events import Event, Json


def object_or_empty(parent: Mapping[str, Json], name: str) -> Event:
    """Return the object in a field; an empty object if the field holds anything else."""
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def require_object(
    parent: Mapping[str, Json], name: str, error: type[RelayError] = InvalidEvent
) -> Event:
    """Return the object in a field.

    Raises:
        RelayError: the field holds anything else; it is of the type ``error``.
    """
    value = parent.get(name)
    if not isinstance(value, dict):
        raise error(f"'{name}' must be an object.")
    return value


def optional_object(
    parent: Mapping[str, Json], name: str, error: type[RelayError] = InvalidEvent
) -> Event:
    """Return the object in a field; an empty object if the field is missing or null.

    Raises:
        RelayError: the field holds anything else; it is of the type ``error``.
    """
    return {} if parent.get(name) is None else require_object(parent, name, error)
