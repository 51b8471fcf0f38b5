"""Reads a YAML file into a document; each error in the file becomes a problem.

Nothing here raises an exception because of the content of a file. No problem repeats a value,
since any value may be a secret.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from relay.yaml.composer import Composer, Root, Unreadable
from relay.yaml.source import Document, Problem

T = TypeVar("T")

_INVALID_ESCAPE = re.compile(r"\\U(?!000|0010)")
_QUOTED = re.compile(r"(['\"])[^<'\" ,;][^'\"]{2,}\1")


def read(file: Path, environ: Mapping[str, str], root: Root[T]) -> Document[T]:
    """Read a file that has one mapping or one list at its root.

    Args:
        file: In UTF-8, with or without a byte order mark.
        environ: The values of the references ``${NAME}``.
        root: Which of the two it must have.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return _broken(file, root, 1, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return _broken(file, root, line, "is not UTF-8: save it with that encoding")
    return parse(file, text, environ, root)


def parse(file: Path, text: str, environ: Mapping[str, str], root: Root[T]) -> Document[T]:
    """Make a document from a text; the file appears only in its problems."""
    yaml = YAML(typ="safe", pure=True)
    composer = Composer(yaml.parse(text), environ)
    try:
        value = composer.document(root)
    except Unreadable as error:
        return _broken(file, root, error.line, error.message)
    except MarkedYAMLError as error:
        return _broken(file, root, *_syntax_problem(error, text))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(file, root, line, "has a character that YAML does not allow: remove it")
    except (YAMLError, ValueError, OverflowError):
        escape = _INVALID_ESCAPE.search(text)
        line = text.count("\n", 0, escape.start() if escape else 0) + 1
        return _broken(file, root, line, "has an escape that is no character")
    problems = tuple(Problem(file, *found) for found in composer.found)
    return Document(file, value, composer.lines, problems)


def _broken(file: Path, root: Root[T], line: int, message: str) -> Document[T]:
    return Document(file, root.empty(), {(): 1}, (Problem(file, line, "", message),))


def _syntax_problem(error: MarkedYAMLError, text: str) -> tuple[int, str]:
    """Return the line of a syntax error, and the parser's message without its quotations."""
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    message = _QUOTED.sub("'...'", str(error.problem))
    here = text.splitlines()[line : line + 1]
    if here and "${" in here[0]:
        message += "; inside [ ] and { } write ${NAME} in quotes"
    return line + 1, f"is not valid YAML: {message}"
