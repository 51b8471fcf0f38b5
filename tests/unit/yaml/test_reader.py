"""Documents from YAML: values, lines, references to the environment, problems."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.yaml.composer import LIST, MAPPING
from relay.yaml.reader import parse, read
from relay.yaml.source import Document

FILE = Path("relay.yaml")


def parsed(text: str, **environ: str) -> Document[dict[str, Any]]:
    return parse(FILE, text, environ, MAPPING)


def problems(text: str, **environ: str) -> list[str]:
    return [str(problem) for problem in parsed(text, **environ).problems]


def parsed_list(text: str) -> Document[list[Any]]:
    return parse(FILE, text, {}, LIST)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None),
        ("", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("8080", 8080),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("0123", 123),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        (".inf", ".inf"),
        ("inf", "inf"),
        ("2026-07-01", "2026-07-01"),
        ("1_000", "1_000"),
        ("'8080'", "8080"),
        ('"true"', "true"),
        ("|\n  8080\n", "8080\n"),
        ("[1, [two, {three: 3}]]", [1, ["two", {"three": 3}]]),
    ],
)
def test_scalars_have_the_types_of_json(text: str, value: object) -> None:
    """The core schema of YAML 1.2: no dates, no `yes`, no infinity."""
    document = parsed(f"key: {text}")

    assert document.problems == ()
    assert document.value == {"key": value}
    assert type(document.value["key"]) is type(value)


def test_each_key_and_item_has_its_line() -> None:
    document = parsed("# comment\na:\n  b:\n    - 1\n    -\n      c: 2\nd: {e: 3,\n  f: 4}\n")

    assert document.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "b", 0): 4,
        ("a", "b", 1): 6,
        ("a", "b", 1, "c"): 6,
        ("d",): 7,
        ("d", "e"): 7,
        ("d", "f"): 8,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${NAME}", "value"),
        ("before ${NAME} after ${NAME}", "before value after value"),
        ("'${NAME}'", "value"),
        ("${MISSING:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${MISSING:-}", ""),
        ("${NAME:-default}", "value"),
        ("$${NAME}", "${NAME}"),
        ("$NAME", "$NAME"),
        ("${NUMBER}", "8080"),
        ("${YAML}", "{a: [*b"),
        ("${NESTED}", "${NAME}"),
    ],
)
def test_references_read_the_environment(text: str, value: str) -> None:
    """A value from the environment is text: neither YAML nor another reference."""
    document = parsed(
        f"key: {text}", NAME="value", EMPTY="", NUMBER="8080", YAML="{a: [*b", NESTED="${NAME}"
    )

    assert document.problems == ()
    assert document.value == {"key": value}


def test_each_reference_to_a_missing_variable_is_a_problem() -> None:
    assert problems("a: 1\nb: ${ONE}${TWO}\n") == [
        (
            "relay.yaml:2: b: the environment variable ONE is not set: set it, or give a default: "
            "${ONE:-...}"
        ),
        (
            "relay.yaml:2: b: the environment variable TWO is not set: set it, or give a default: "
            "${TWO:-...}"
        ),
    ]


def test_a_reference_without_a_name_is_literal_in_prose_only() -> None:
    document = parsed("instructions: say ${x y} and ${\nurl: ${x-y}\n")

    assert document.value["instructions"] == "say ${x y} and ${"
    assert [(problem.line, problem.key) for problem in document.problems] == [(2, "url")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: is empty"),
        ("# only a comment\n", "1: is empty"),
        ("\n- a\n", "2: must be a mapping: `key: value` on each line"),
        ("text", "1: must be a mapping: `key: value` on each line"),
        ("a: 1\n---\nb: 2\n", "2: must be one document: remove this `---`"),
        ("a: 1\n\tb: 2\n", "2: is not valid YAML: found character '\\t' that cannot start any"),
        ("a: 1\nb: [1\n", "3: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c\n", "1: is not valid YAML: mapping values are not allowed here"),
        ("a: 1\nb: [${X}]\n", "2: is not valid YAML: expected ',' or ']', but got '{'; inside [ "),
        ("a: !s3cret!x 1\n", "1: is not valid YAML: found undefined tag handle '...'"),
        ("a: 1\nb: \x07\n", "2: has a character that YAML does not allow: remove it"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', "2: has an escape that is no character"),
        ('a: 1\nb: "\\U00110000"\n', "2: has an escape that is no character"),
        ("a: " + "[" * 70 + "]" * 70, "1: is nested deeper than 64 levels"),
        ("a: &x 1\nb: *x\n", "2: b: is an alias (`*`): write the value out, or put it in quotes"),
        ("a: &x [*x]\n", "1: a[0]: is an alias (`*`): write the value out, or put it in quotes"),
        ("a: 1\nb: !!binary x\n", "2: b: has a tag (`!`): write a plain value, or put it in"),
        ("a: 1\nb: 2\na: 3\n", "3: a: is given twice: first on line 1"),
        ("a:\n  1: b\n", "2: a: has a key that is not text: put it in quotes"),
        ("a:\n  ? [b, {c: 1}]\n  : d\n", "2: a: has a key that is not text"),
        ('"\\uD800": 1\n', "1: has a key that is not Unicode text"),
        ('a: 1\nb: "\\uD800"\n', "2: b: is not Unicode text"),
        ('a: 1\nb: "\\0"\n', "2: b: is not Unicode text"),
    ],
)
def test_an_error_is_a_problem_with_its_line(text: str, message: str) -> None:
    (problem,) = problems(text)

    assert problem.startswith(f"relay.yaml:{message}")
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[]", []),
        ("[] # none yet\n", []),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        ("[\n  {a: 1},\n  {a: 2},\n]\n", [{"a": 1}, {"a": 2}]),
        ("- 1\n- a: b\n", [1, {"a": "b"}]),
        ("---\n- 1\n", [1]),
        ("--- [1]\n", [1]),
        ("%YAML 1.2\n---\n- 1\n...\n", [1]),
        ("# comment\n---\n[]\n", []),
        ("  - 1\n  - 2\n", [1, 2]),
    ],
)
def test_a_root_may_be_a_list(text: str, value: list[Any]) -> None:
    document = parsed_list(text)

    assert document.problems == ()
    assert document.value == value


def test_each_item_of_a_list_at_the_root_has_its_line() -> None:
    document = parsed_list("# comment\n---\n- a: 1\n  b: 2\n- [3,\n  4]\n")

    assert document.lines == {
        (): 3,
        (0,): 3,
        (0, "a"): 3,
        (0, "b"): 4,
        (1,): 5,
        (1, 0): 5,
        (1, 1): 6,
    }
    assert str(document.problem((0, "c"), "is required")) == "relay.yaml:3: [0].c: is required"
    assert document.at(1, 1) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: is empty"),
        ("---\n", "2: must be a list: each item starts with `- `"),
        ("\na: 1\n", "2: must be a list: each item starts with `- `"),
        ("{}", "1: must be a list"),
        ("text", "1: must be a list"),
        ("- 1\n---\n- 2\n", "2: must be one document: remove this `---`"),
        ("- 1\na: 2\n", "2: is not valid YAML"),
        ("- a: 1\n  a: 2\n", "2: [0].a: is given twice: first on line 1"),
        ("---\n- 1\n- *x\n", "3: [1]: is an alias (`*`)"),
        ("[" * 70 + "]" * 70, "1: is nested deeper than 64 levels"),
    ],
)
def test_an_error_in_a_list_is_a_problem_with_its_line(text: str, message: str) -> None:
    document = parsed_list(text)

    (problem,) = document.problems
    assert str(problem).startswith(f"relay.yaml:{message}")


def test_aliases_are_not_expanded() -> None:
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]

    assert len(parsed("\n".join(lines)).problems) == 39 * 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \xff\n", "2: is not UTF-8: save it with that encoding"),
        ("a: 1".encode("utf-16"), "1: is not UTF-8: save it with that encoding"),
        (None, "1: cannot be read: No such file or directory"),
    ],
)
def test_a_file_without_text_is_a_problem(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / "relay.yaml"
    if content is not None:
        file.write_bytes(content)

    assert [str(problem) for problem in read(file, {}, MAPPING).problems] == [f"{file}:{message}"]


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert read(file, {}, MAPPING).value == {"a": 1}


FRAGMENTS = """\
a|b|: |:|- |[|]|{|}|, |'|"|>|&a |*a|!|!!|? |# c|"\\U00110000"|${|${X}|${Y:-z}|$${|1|~|<<|é\
|\t|\n|\n  |%YAML 1.2\n|---\n|...\n|\ufeff|\x00|\x85|\u2028|\r"""
fragments = st.sampled_from(["|", *FRAGMENTS.split("|")])


@given(st.one_of(st.text(), st.lists(fragments).map("".join)))
def test_no_text_raises_an_exception(text: str) -> None:
    document = parsed(text, X="x")

    assert isinstance(document.value, dict)
    assert all(1 <= problem.line <= text.count("\n") + 2 for problem in document.problems)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(alphabet="abc é\n\"'#:"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="abc:# "), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(alphabet="abc"), json))
def test_json_is_read_unchanged(value: dict[str, Any]) -> None:
    import json

    assert parsed(json.dumps(value)).value == value
