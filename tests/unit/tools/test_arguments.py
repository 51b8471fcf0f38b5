"""Arguments of a model are one JSON object that fits the schema, or the model gets the reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.tools.arguments import MAX_REASON_CHARS, ArgumentsReader, schema_faults
from relay.tools.outcome import InvalidArguments

SCHEMA = {
    "type": "object",
    "properties": {"day": {"enum": ["monday", "sunday"]}, "hours": {"type": "integer"}},
    "required": ["day"],
    "additionalProperties": False,
}


def test_arguments_that_fit_are_read() -> None:
    assert ArgumentsReader(SCHEMA).read('{"day":"sunday","hours":5}') == {
        "day": "sunday",
        "hours": 5,
    }


def test_an_empty_text_means_no_arguments() -> None:
    assert ArgumentsReader({"type": "object"}).read("") == {}


@pytest.mark.parametrize(
    ("text", "cause", "message"),
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
def test_the_model_gets_the_reason_why_arguments_do_not_fit_and_the_log_does_not(
    text: str, cause: str, message: str
) -> None:
    with pytest.raises(InvalidArguments) as refused:
        ArgumentsReader(SCHEMA).read(text)

    assert refused.value.cause == cause
    assert message in refused.value.message
    assert json.loads(refused.value.output) == {"error": refused.value.message}


def test_the_reason_is_short() -> None:
    with pytest.raises(InvalidArguments) as refused:
        ArgumentsReader(SCHEMA).read(json.dumps({"day": "x" * 100_000}))

    assert len(refused.value.message) < MAX_REASON_CHARS + 100


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text_of_the_model_is_read_or_refused(text: str) -> None:
    try:
        arguments = ArgumentsReader(SCHEMA).read(text)
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
def test_a_schema_that_cannot_be_used_is_a_fault(schema: Any, path: tuple[str | int, ...]) -> None:
    assert [where for where, _ in schema_faults(schema)] == [path]


def test_a_schema_may_refer_to_its_own_parts() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "integer"}},
    }

    assert list(schema_faults(schema)) == []
    with pytest.raises(InvalidArguments, match="type"):
        ArgumentsReader(schema).read('{"a":"x"}')
