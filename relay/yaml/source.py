"""Documents that keep the line of each value, and problems at these lines."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)

KeyPath = tuple[str | int, ...]
"""The keys and list indexes that lead to a value: ``("upstreams", "openai", "url")``."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """An error in a configuration, with its place and a way to correct it.

    Attributes:
        file: The file, with the path under which it was opened.
        line: Counted from 1.
        key: The dotted path of the value, ``upstreams.openai.url``; empty for the whole file.
        message: Contains no value of the file or the environment.
    """

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """Format it as compilers do, so that editors can jump to the line."""
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}: {key}{self.message}"


@dataclass(frozen=True, slots=True)
class Document(Generic[T_co]):
    """The content of one file.

    Attributes:
        file: The file, with the path under which it was opened.
        value: The mapping or list at the root; empty when the file has none, which is a problem.
        lines: The line of every key and list item in the file.
        problems: The errors in its YAML.
    """

    file: Path
    value: T_co
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]

    def at(self, *path: str | int) -> Any:
        """Return the value at a path; None if the document has no such path."""
        value: Any = self.value
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Return a problem at the line of a path, or of its nearest parent in the file."""
        while path and isinstance(path[-1], int) and path not in self.lines:
            path = path[:-1]  # the file has one value where it may have a list
        written = path
        while written and written not in self.lines:
            written = written[:-1]
        return Problem(self.file, self.lines.get(written, 1), dotted(path), message)


def dotted(path: KeyPath) -> str:
    """Return a path as text, without keys that may be secrets: ``session.tools[0].name``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _printable(key: str) -> str:
    """Return the part of a key that may be printed: ``{api_key:sk-...}`` is a key with a secret."""
    if _PLAIN_KEY.fullmatch(key):
        return key
    start = re.match(r"[A-Za-z_]{0,20}", key)
    return f"{start[0] if start else ''}..."
