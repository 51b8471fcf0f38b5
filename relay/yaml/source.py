"""YAML as a configuration wants it: keys know their line, ``${NAME}`` reads the environment.

Values are made of the parser's events instead of a loader's objects, because a loader forgets
where things stood. What is read is YAML 1.2's core schema and nothing beyond it: the values of
JSON. There are no aliases (a few lines of them can stand for gigabytes), no tags, no dates, and no
key twice. Whatever is wrong becomes a `Problem`; nothing here raises for what a file says.

A problem never repeats a value, since any value may be a secret.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
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
from ruamel.yaml.reader import ReaderError

KeyPath = tuple[str | int, ...]
"""Where a value stands: ``("upstreams", "openai", "url")``."""

MAX_DEPTH = 64
"""JSON schemas of tools are the deepest things in a configuration; they end long before this."""

PROSE = frozenset({"instructions", "description", "say"})
"""Keys of text for people and models, in which ``${`` without a name is just two characters."""

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{"
)
_UNSENDABLE = re.compile("[\x00\ud800-\udfff]")
_IMPOSSIBLE_ESCAPE = re.compile(r"\\U(?!000|0010)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_QUOTED = re.compile(r"(['\"])[^<'\" ,;][^'\"]{2,}\1")


def _finite(text: str) -> float | str:
    """Read a float, but leave as text what only infinity could hold: JSON has none."""
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


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong in a configuration, where, and what to do about it.

    Attributes:
        file: The file, as it was given or found.
        line: Counted from 1.
        key: The dotted path of the value, ``upstreams.openai.url``; empty for the whole file.
        message: Without any value of the file or the environment.
    """

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Write it as compilers do, so that editors can jump to it."""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{self.message}"


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        file: Where it came from.
        value: Its mapping; empty when it could not be read as one, which is then a problem.
        lines: The line of every key and list item that is written in it.
        problems: What was wrong with it as YAML.
    """

    file: Path
    value: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]

    def at(self, *path: str | int) -> Any:
        """Return the value at a path; `None` where there is none."""
        value: Any = self.value
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at the line of the path, or of the nearest thing around it."""
        while path and isinstance(path[-1], int) and path not in self.lines:
            path = path[:-1]  # one value was given where a list may stand
        written = path
        while written and written not in self.lines:
            written = written[:-1]
        return Problem(self.file, self.lines.get(written, 1), dotted(path), message)


def dotted(path: KeyPath) -> str:
    """Return a path as people write it: ``session.tools[0].name``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _shown(key: str) -> str:
    """Return what can be printed of a key: ``{api_key:sk-...}`` makes a key of a secret."""
    if _PLAIN_KEY.fullmatch(key):
        return key
    start = re.match(r"[A-Za-z_]{0,20}", key)
    return f"{start[0] if start else ''}..."


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a configuration, as they were read."""

    root: Document
    personas: Mapping[str, Document]

    def documents(self) -> Iterator[tuple[KeyPath, Document]]:
        """Yield each file with the path at which it stands in the configuration."""
        yield (), self.root
        for name, document in self.personas.items():
            yield ("personas", name), document

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at a path of the configuration, in the file that it leads to."""
        match path:
            case ("personas", str() as name, *rest):
                return self.personas[name].problem(tuple(rest), message)
            case _:
                return self.root.problem(path, message)

    def values(self) -> dict[str, Any]:
        """Return what `Config` is made of."""
        personas = {name: {**read.value, "name": name} for name, read in self.personas.items()}
        return {**self.root.value, "personas": personas, "file": self.root.file}


def read(file: Path, environ: Mapping[str, str]) -> Document:
    """Read a file that holds one mapping; whatever is wrong with it is in its problems."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return _broken(file, 1, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return _broken(file, line, "is not UTF-8: save it with that encoding")
    return parse(file, text, environ)


def parse(file: Path, text: str, environ: Mapping[str, str]) -> Document:
    """Make a document of a text; the file is only named in its problems."""
    yaml = YAML(typ="safe", pure=True)
    composer = _Composer(yaml.parse(text), environ)
    try:
        value = composer.document()
    except _Unreadable as error:
        return _broken(file, error.line, error.message)
    except MarkedYAMLError as error:
        return _broken(file, *_syntax_problem(error, text))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(file, line, "has a character that YAML does not allow: remove it")
    except (YAMLError, ValueError, OverflowError):
        escape = _IMPOSSIBLE_ESCAPE.search(text)
        line = text.count("\n", 0, escape.start() if escape else 0) + 1
        return _broken(file, line, "has an escape that is no character")
    problems = tuple(Problem(file, *found) for found in composer.found)
    return Document(file, value, composer.lines, problems)


def _broken(file: Path, line: int, message: str) -> Document:
    return Document(file, {}, {(): 1}, (Problem(file, line, "", message),))


def _syntax_problem(error: MarkedYAMLError, text: str) -> tuple[int, str]:
    """Return the line of a syntax error, and what the parser says, without what it quotes."""
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    message = _QUOTED.sub("'...'", str(error.problem))
    here = text.splitlines()[line : line + 1]
    if here and "${" in here[0]:
        message += "; inside [ ] and { } write ${NAME} in quotes"
    return line + 1, f"is not valid YAML: {message}"


class _Unreadable(Exception):
    """The text holds no mapping that could be checked further."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _Composer:
    """Makes plain values of parser events, and notes where each of them stood."""

    def __init__(self, events: Iterator[Event], environ: Mapping[str, str]) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.found: list[tuple[int, str, str]] = []
        self._events = events
        self._environ = environ

    def document(self) -> dict[str, Any]:
        """Return the one mapping of the stream."""
        next(self._events)
        event = next(self._events)
        if isinstance(event, StreamEndEvent):
            raise _Unreadable(1, "is empty")
        event = next(self._events)
        if not isinstance(event, MappingStartEvent):
            raise _Unreadable(_line(event), "must be a mapping: `key: value` on each line")
        self.lines[()] = _line(event)
        value = self._mapping(())
        while isinstance(event := next(self._events), DocumentEndEvent):
            pass
        if isinstance(event, DocumentStartEvent):
            raise _Unreadable(_line(event), "must be one document: remove this `---`")
        return value

    def _node(self, event: Event, path: KeyPath) -> Any:
        line = _line(event)
        if len(path) > MAX_DEPTH:
            raise _Unreadable(line, f"is nested deeper than {MAX_DEPTH} levels")
        if getattr(event, "tag", None) is not None:
            self._complain(line, path, "has a tag (`!`): write a plain value, or put it in quotes")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        self._complain(line, path, "is an alias (`*`): write the value out, or put it in quotes")
        return None

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        value: dict[str, Any] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = _line(event)
            key = self._key(event, path)
            child = (*path, key)
            if key in value:
                self._complain(line, child, f"is given twice: first on line {self.lines[child]}")
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
            if _UNSENDABLE.search(event.value):
                self._complain(line, path, "has a key that is not Unicode text")
            elif not isinstance(_resolved(event), str):
                self._complain(line, path, "has a key that is not text: put it in quotes")
            return str(event.value)
        self._complain(line, path, "has a key that is not text")
        self._node(event, (*path, "?"))
        return "?"

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> Any:
        if "${" not in event.value:
            value = _resolved(event)
        else:
            value = _REFERENCE.sub(partial(self._referenced, _line(event), path), event.value)
        if isinstance(value, str) and _UNSENDABLE.search(value):
            self._complain(_line(event), path, "is not Unicode text")
            return ""
        return value

    def _referenced(self, line: int, path: KeyPath, reference: re.Match[str]) -> str:
        """Return what a reference stands for; what the environment says is text, never YAML."""
        if reference[0] == "$${":
            return "${"
        name, default = reference["name"], reference["default"]
        if name is None:
            if not (path and path[-1] in PROSE):
                self._complain(line, path, "has `${` without a name: ${NAME}, or $${ for itself")
            return "${"
        value = self._environ.get(name)
        if not value and default is not None:
            return str(default)
        if value is None:
            hint = f"set it, or give a default: ${{{name}:-...}}"
            self._complain(line, path, f"the environment variable {name} is not set: {hint}")
        return value or ""

    def _complain(self, line: int, path: KeyPath, message: str) -> None:
        self.found.append((line, dotted(path), message))


def _resolved(event: ScalarEvent) -> Any:
    """Return the value of a scalar: what is in quotes or in a block is text."""
    if not event.implicit[0]:
        return event.value
    for pattern, construct in _CORE_SCHEMA:
        if pattern.fullmatch(event.value):
            return construct(event.value)
    return event.value


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1
