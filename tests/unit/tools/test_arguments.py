"""What a model writes as arguments is one JSON object that fits the schema, or is explained."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tools.arguments import MAX_WORDS_CHARS, Arguments, schema_faults
from relay.tools.outcome import InvalidArguments

SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["monday", "sunday"]}, "hours": {"type": "integer"}},
    "required": ["day"],
    "additionalProperties": False,
}


def test_arguments_that_fit_are_read() -> None:
    assert Arguments(SCHEMA).read('{"day":"sunday","hours":5}') == {"day": "sunday", "hours": 5}


def test_nothing_stands_for_no_arguments() -> None:
    assert Arguments({"type": "object"}).read("") == {}


@pytest.mark.parametrize(
    ("text", "cause", "words"),
    [
        ('{"hours":5}', "they break required", "$: 'day' is a required property"),
        ('{"day":"PLANTED"}', "they break properties/day/enum", "$.day: 'PLANTED' is not one of"),
        ('{"day":"sunday","PLANTED":1}', "they break additionalProperties", "'PLANTED'"),
        ('{"day":"sunday","hours":"5"}', "they break properties/hours/type", "'integer'"),
        ("[]", "no object", "must be one JSON object"),
        ('"day"', "no object", "must be one JSON object"),
        ('{"day":', "no JSON", "not valid JSON"),
        ('{"day":NaN}', "no JSON", "not valid JSON"),
        ('{"day":"\\ud800"}', "no JSON", "not valid JSON"),
        ("[" * 100_000, "no JSON", "not valid JSON"),
    ],
)
def test_what_does_not_fit_is_explained_to_the_model_and_not_to_the_log(
    text: str, cause: str, words: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        Arguments(SCHEMA).read(text)

    assert refused.value.cause == cause
    assert words in refused.value.words
    assert json.loads(refused.value.output) == {"error": refused.value.words}


def test_an_explanation_is_short() -> None:
    with pytest.raises(InvalidArguments) as refused:
        Arguments(SCHEMA).read(json.dumps({"day": "x" * 100_000}))

    assert len(refused.value.words) < MAX_WORDS_CHARS + 100


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_whatever_the_model_writes_is_read_or_refused(text: str) -> None:
    try:
        arguments = Arguments(SCHEMA).read(text)
    except InvalidArguments as refused:
        assert json.loads(refused.output)["error"]  # noqa: PT017  # either may happen
    else:
        assert arguments["day"] in {"monday", "sunday"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], ()),
        ({}, ("type",)),
        ({"type": "array"}, ("type",)),
        ({"type": "object", "properties": 5}, ("properties",)),
        ({"type": "object", "required": "day"}, ("required",)),
        (
            {"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/x"}}},
            ("properties", "a", "$ref"),
        ),
        ({"type": "object", "allOf": [{"$ref": "other.json"}]}, ("allOf", 0, "$ref")),
    ],
)
def test_a_schema_that_is_of_no_use_is_a_fault(schema: Any, path: tuple[str | int, ...]) -> None:
    assert [where for where, _ in schema_faults(schema)] == [path]


def test_a_schema_may_refer_to_its_own_parts() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "integer"}},
    }

    assert list(schema_faults(schema)) == []
    with pytest.raises(InvalidArguments, match="type"):
        Arguments(schema).read('{"a":"x"}')
