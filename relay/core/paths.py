"""Paths of fields in nested objects: which of them are kept, and which are left out."""

from collections.abc import Mapping

from relay.core.events import Event, Json

Path = tuple[str, ...]


def keep(fields: Mapping[str, Json], opened: frozenset[Path], at: Path = ()) -> Event:
    """Return the opened fields of an object at a path."""
    kept: Event = {}
    for key, value in fields.items():
        path = (*at, key)
        if path in opened:
            kept[key] = value
        elif isinstance(value, dict) and is_above(path, opened):
            inner = keep(value, opened, path)
            kept |= {key: inner} if inner else {}
    return kept


def leave_out(
    fields: Mapping[str, Json], closed: frozenset[Path], opened: frozenset[Path], at: Path = ()
) -> Event:
    """Return an object at a path without its closed fields; an opened field is not closed.

    The members of a list have the path of the list.
    """
    kept: Event = {}
    for key, value in fields.items():
        path = (*at, key)
        if path in opened or not is_above(path, closed):
            kept[key] = value
        elif path in closed:
            inner = keep(value, opened, path) if isinstance(value, dict) else {}
            kept |= {key: inner} if inner else {}
        else:
            kept[key] = _leave_out_below(value, closed, opened, path)
    return kept


def _leave_out_below(
    value: Json, closed: frozenset[Path], opened: frozenset[Path], at: Path
) -> Json:
    if isinstance(value, list):
        return [_leave_out_below(member, closed, opened, at) for member in value]
    return leave_out(value, closed, opened, at) if isinstance(value, dict) else value


def is_above(path: Path, others: frozenset[Path]) -> bool:
    """Return whether a path is one of these, or leads to one."""
    return any(other[: len(path)] == path for other in others)
