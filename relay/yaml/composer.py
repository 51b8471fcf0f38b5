"""Makes plain values from the events of a YAML parser, and keeps the line of each value.

A loader would not keep the lines. The composer reads the core schema of YAML 1.2 and nothing
beyond it: the values of JSON. It refuses aliases (a few lines of them can expand to gigabytes),
tags and repeated keys, and reads a date as text. ``${NAME}`` reads the environment.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ruamel.yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from relay.yaml.source import KeyPath, dotted

T_co = TypeVar("T_co", covariant=True)

MAX_DEPTH = 64
"""Levels of nesting. JSON schemas of tools are the deepest values, and need far fewer."""

PROSE = frozenset({"instructions", "description", "say"})
"""Keys of text for people and models, in which ``${`` without a name is just two characters."""

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{"
)
_NOT_UNICODE = re.compile("[\x00\ud800-\udfff]")
_TAG = "has a tag (`!`): write a plain value, or put it in quotes"
_ALIAS = "is an alias (`*`): write the value out, or put it in quotes"


@dataclass(frozen=True, slots=True)
class Root(Generic[T_co]):
    """The kind of value that a document must have at its root.

    Attributes:
        start: The parser's event that begins such a value.
        empty: Makes the value of a document that has none.
        message: The problem of a document with another value.
    """

    start: type[Event]
    empty: Callable[[], T_co]
    message: str


MAPPING: Root[dict[str, Any]] = Root(
    MappingStartEvent, dict, "must be a mapping: `key: value` on each line"
)
LIST: Root[list[Any]] = Root(SequenceStartEvent, list, "must be a list: each item starts with `- `")


def _finite(text: str) -> float | str:
    """Read a float; return the text of a number that only infinity could hold: JSON has none."""
    value = float(text)
    return value if math.isfinite(value) else text


_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"0o[0-7]{1,20}"), partial(int, base=0)),
    (re.compile(r"0x[0-9a-fA-F]{1,15}"), partial(int, base=0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), _finite),
)
"""YAML 1.2.2, section 10.3.2, without infinity and not-a-number; anything else is text."""


class Unreadable(Exception):
    """The document has no value that can be checked further.

    Attributes:
        line: Counted from 1.
        message: Contains no value of the document.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class Composer:
    """Makes the plain values of one document.

    Attributes:
        lines: The line of every key and list item.
        found: The problems: line, dotted path and message.
    """

    def __init__(self, events: Iterator[Event], environ: Mapping[str, str]) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.found: list[tuple[int, str, str]] = []
        self._events = events
        self._environ = environ

    def document(self, root: Root[Any]) -> Any:
        """Return the value of the one document in the stream.

        Raises:
            Unreadable: There is no document, more than one, or another kind of value.
            YAMLError: The text is not YAML; the parser raises it.
        """
        next(self._events)
        if isinstance(next(self._events), StreamEndEvent):
            raise Unreadable(1, "is empty")
        event = next(self._events)
        if not isinstance(event, root.start):
            raise Unreadable(_line(event), root.message)
        self.lines[()] = _line(event)
        value = self._mapping(()) if root is MAPPING else self._sequence(())
        while isinstance(event := next(self._events), DocumentEndEvent):
            pass
        if isinstance(event, DocumentStartEvent):
            raise Unreadable(_line(event), "must be one document: remove this `---`")
        return value

    def _node(self, event: Event, path: KeyPath) -> Any:
        line = _line(event)
        if len(path) > MAX_DEPTH:
            raise Unreadable(line, f"is nested deeper than {MAX_DEPTH} levels")
        if getattr(event, "tag", None) is not None:
            self._add_problem(line, path, _TAG)
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        self._add_problem(line, path, _ALIAS)
        return None

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = _line(event)
            key = self._key(event, path)
            child = (*path, key)
            if key in value:
                self._add_problem(line, child, f"is given twice: first on line {self.lines[child]}")
            self.lines[child] = line
            value[key] = self._node(next(self._events), child)
        return value

    def _sequence(self, path: KeyPath) -> list[Any]:
        value: list[Any] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            child = (*path, len(value))
            self.lines[child] = _line(event)
            value.append(self._node(event, child))
        return value

    def _key(self, event: Event, path: KeyPath) -> str:
        line = _line(event)
        if isinstance(event, ScalarEvent):
            if _NOT_UNICODE.search(event.value):
                self._add_problem(line, path, "has a key that is not Unicode text")
            elif not isinstance(_resolved(event), str):
                self._add_problem(line, path, "has a key that is not text: put it in quotes")
            return str(event.value)
        self._add_problem(line, path, "has a key that is not text")
        self._node(event, (*path, "?"))
        return "?"

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> Any:
        if "${" not in event.value:
            value = _resolved(event)
        else:
            value = _REFERENCE.sub(partial(self._replacement, _line(event), path), event.value)
        if isinstance(value, str) and _NOT_UNICODE.search(value):
            self._add_problem(_line(event), path, "is not Unicode text")
            return ""
        return value

    def _replacement(self, line: int, path: KeyPath, reference: re.Match[str]) -> str:
        """Return the value of a reference; a value from the environment is text, never YAML."""
        if reference[0] == "$${":
            return "${"
        name, default = reference["name"], reference["default"]
        if name is None:
            if not (path and path[-1] in PROSE):
                self._add_problem(line, path, "has `${` without a name: ${NAME}, or $${ for itself")
            return "${"
        value = self._environ.get(name)
        if not value and default is not None:
            return str(default)
        if value is None:
            hint = f"set it, or give a default: ${{{name}:-...}}"
            self._add_problem(line, path, f"the environment variable {name} is not set: {hint}")
        return value or ""

    def _add_problem(self, line: int, path: KeyPath, message: str) -> None:
        self.found.append((line, dotted(path), message))


def _resolved(event: ScalarEvent) -> Any:
    """Return the value of a scalar; a scalar in quotes or in a block is text."""
    if not event.implicit[0]:
        return event.value
    for pattern, construct in _CORE_SCHEMA:
        if pattern.fullmatch(event.value):
            return construct(event.value)
    return event.value


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1
