"""The modules that ``setup.py`` compiles exist, and mypyc keeps every definition in them."""

import ast
import re

import pytest
from documents import read
from paths import ROOT

(COMPILED,) = (
    ast.literal_eval(statement.value)
    for statement in ast.parse(read("setup.py")).body
    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED"
)
MODULES = [f"relay/{room}/{name}.py" for room, names in COMPILED.items() for name in names.split()]


@pytest.mark.parametrize("path", MODULES)
def test_a_compiled_module_has_no_definition_that_mypyc_loses(path: str) -> None:
    """A struct of msgspec would lose its options and each ``Literal``."""
    classes = [node for node in ast.walk(ast.parse(read(path))) if isinstance(node, ast.ClassDef)]
    bases = {ast.unparse(base) for each in classes for base in each.bases}

    assert not [base for base in bases if re.search("Struct|bytes", base)]
    assert not [each.name for each in classes if each.keywords]


@pytest.mark.parametrize("path", MODULES)
def test_a_compiled_module_has_no_coroutine(path: str) -> None:
    """A compiled coroutine leaves an exception that it handled as the current one of the thread."""
    nodes = ast.walk(ast.parse(read(path)))

    assert not [node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef)]


def test_the_image_has_the_compiled_wheel_and_no_compiler() -> None:
    build, _, final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")

    assert "RELAY_COMPILE=1 pip wheel" in build
    assert "requirements/compile.txt" in build
    assert "gcc" in build
    assert "gcc" not in final
