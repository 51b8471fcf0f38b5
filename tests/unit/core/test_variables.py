"""Tests of variables: plain text in declared placeholders."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.core.variables import Placeholder, read_variables, render, undeclared, unfit


@dataclass(frozen=True)
class Variable:
    default: str = ""
    max_length: int = 100


DECLARED = {"name": Variable("you"), "clinic": Variable("the clinic", 10), "a.b-c": Variable("x")}

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from("{} name\n\t"))


@pytest.mark.parametrize("placeholder", ["{{ name }}", "{{name}}", "{{   name }}", "{{name  }}"])
def test_a_placeholder_is_filled_with_and_without_spaces(placeholder: str) -> None:
    assert render(f"Greet {placeholder}!", DECLARED, {"name": "Ada"}) == "Greet Ada!"


def test_a_variable_that_is_not_filled_in_has_its_default() -> None:
    assert render("{{ name }} at {{ clinic }}", DECLARED, {"name": "Ada"}) == "Ada at the clinic"


def test_an_empty_value_stays_empty() -> None:
    assert render("<{{ name }}>", DECLARED, {"name": ""}) == "<>"


@pytest.mark.parametrize(
    "text", ["{ name }", "{{ }}", "{{ first name }}", '{{"name": 1}}', "{{name}", "{% if name %}"]
)
def test_other_braces_are_text(text: str) -> None:
    assert render(text, DECLARED, {"name": "Ada"}) == text
    assert not list(undeclared(text, DECLARED))


@given(TEXT, TEXT)
def test_a_value_is_inserted_unchanged_and_not_read_again(name: str, clinic: str) -> None:
    filled = {"name": name, "clinic": clinic}

    rendered = render("[{{ name }}|{{ clinic }}|{{name}}]", DECLARED, filled)

    assert rendered == f"[{name}|{clinic}|{name}]"


@pytest.mark.parametrize("value", ["{{ clinic }}", r"\1\g<0>", "${HOME}", "{{name}}", "%s{0}"])
def test_a_value_is_not_a_template(value: str) -> None:
    assert render("{{ name }}", DECLARED, {"name": value}) == value


def test_two_values_cannot_make_a_placeholder_between_them() -> None:
    filled = {"name": "{{ cli", "clinic": "nic }}"}

    assert render("{{ name }}{{ clinic }}", DECLARED, filled) == "{{ clinic }}"


def test_placeholders_without_a_variable_are_found_with_their_offsets() -> None:
    text = "You are {{ name }}.\nAt {{ clinc }} and {{größe}}."

    found = list(undeclared(text, DECLARED))

    assert found == [Placeholder("clinc", 23), Placeholder("größe", 39)]
    assert text[23:].startswith("{{ clinc }}")


@given(st.text(st.sampled_from("{} nameclinic.-\n")))
def test_render_fills_every_placeholder_that_is_not_reported(text: str) -> None:
    if list(undeclared(text, DECLARED)):
        return

    rendered = render(text, DECLARED, dict.fromkeys(DECLARED, "#"))

    assert rendered == re.sub(r"\{\{ *(name|clinic|a\.b-c) *\}\}", "#", text)


def test_values_that_fit_are_read() -> None:
    asked = {"name": "Ada\n\tLovelace, née Byron 🎩", "clinic": "x" * 10}

    assert read_variables(asked, DECLARED) == asked
    assert read_variables({}, DECLARED) == {}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "'variables' must be an object of names and texts."),
        ("name", "'variables' must be an object of names and texts."),
        (
            {"nmae": "Ada"},
            "'variables' may have only the names of the persona: a.b-c, clinic, name.",
        ),
        ({"name": 1}, "'variables.name' must be text."),
        ({"name": None}, "'variables.name' must be text."),
        ({"clinic": "x" * 11}, "'variables.clinic' must have at most 10 characters."),
        *(
            (
                {"name": f"A{char}a"},
                "'variables.name' must have no control characters except newlines and tabs.",
            )
            for char in ("\0", "\r", "\x1b", "\x7f", "\x85", "\ud800")
        ),
    ],
)
def test_a_refusal_does_not_repeat_the_value(asked: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read_variables(asked, DECLARED)

    assert str(refusal.value) == message


def test_a_persona_without_variables_says_so() -> None:
    with pytest.raises(InvalidRequest, match="of the persona: none"):
        read_variables({"name": "Ada"}, {})


def test_a_default_is_checked_with_the_same_rule() -> None:
    assert unfit("the clinic", 10) is None
    assert unfit("the clinics", 10) == "must have at most 10 characters"
