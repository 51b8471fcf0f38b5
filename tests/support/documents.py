"""Reads the code blocks and the tables of the project's documents."""

import ast
import re
from collections.abc import Iterator
from types import ModuleType

from paths import ROOT

WRITTEN_ADDRESS = "127.0.0.1:8080"


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def docstring(module: ModuleType) -> str:
    """Return the docstring of a module; a compiled module has none in memory."""
    source = read(f"{module.__name__.replace('.', '/')}.py")
    return ast.get_docstring(ast.parse(source)) or ""


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each table row that starts with code."""
    for line in re.findall(r"^\| (`.*) \|$", text, re.MULTILINE):
        yield [cell.strip() for cell in line.split(" | ")]


def first_cells(text: str) -> set[str]:
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}
