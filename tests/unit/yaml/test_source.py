"""Documents and their problems: paths, lines, keys that may be printed."""

from pathlib import Path
from typing import Any

import pytest

from relay.yaml.composer import MAPPING
from relay.yaml.reader import parse
from relay.yaml.source import Document, Problem, dotted

FILE = Path("relay.yaml")


def parsed(text: str) -> Document[dict[str, Any]]:
    return parse(FILE, text, {}, MAPPING)


def test_a_problem_of_a_missing_key_is_at_its_nearest_parent() -> None:
    document = parsed("a:\n  b:\n    c: 1\n")

    assert str(document.problem(("a", "b", "x", "y"), "is required")) == (
        "relay.yaml:2: a.b.x.y: is required"
    )
    assert document.problem((), "is wrong") == Problem(FILE, 1, "", "is wrong")


def test_a_problem_of_one_value_in_place_of_a_list_is_at_the_value() -> None:
    document = parsed("a: b\nc: [d]\n")

    assert document.problem(("a", 0), "is wrong").key == "a"
    assert document.problem(("c", 0), "is wrong").key == "c[0]"


def test_the_value_at_an_unknown_path_is_none() -> None:
    document = parsed("a: [b]")

    assert document.at("a", 0) == "b"
    assert document.at("a", 1) is None
    assert document.at("x", "y") is None
    assert document.at("a", "b") is None


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b", 0, "c"), "a.b[0].c"),
        ((0,), "[0]"),
        (("api_key:sk-s3cret",), "api_key..."),
        (("s3cret" * 10,), "s..."),
        (("\x1b[31m",), "..."),
    ],
)
def test_a_key_that_may_be_a_secret_is_not_printed(path: tuple[str | int, ...], text: str) -> None:
    """``{api_key:sk-...}`` is a mapping with a long key and no value."""
    assert dotted(path) == text
