"""Tests of the readers of objects inside JSON objects."""

from typing import Any

import pytest

from relay.core.errors import InvalidEvent, InvalidRequest
from relay.core.objects import object_or_empty, optional_object, require_object
from relay.core.terms import unchanged

PARENT: dict[str, Any] = {"object": {"a": 1}, "empty": {}, "null": None, "list": [], "text": "x"}


@pytest.mark.parametrize("read", [object_or_empty, optional_object, require_object])
def test_an_object_is_returned(read: Any) -> None:
    assert read(PARENT, "object") is PARENT["object"]
    assert read(PARENT, "empty") is PARENT["empty"]


@pytest.mark.parametrize("name", ["null", "list", "text", "missing"])
def test_the_lenient_reader_returns_an_empty_object_for_anything_else(name: str) -> None:
    assert object_or_empty(PARENT, name) == {}


@pytest.mark.parametrize("name", ["null", "missing"])
def test_an_optional_object_may_be_missing_or_null(name: str) -> None:
    assert optional_object(PARENT, name) == {}


@pytest.mark.parametrize(
    ("read", "name"),
    [
        *((require_object, name) for name in ("null", "list", "text", "missing")),
        *((optional_object, name) for name in ("list", "text")),
    ],
)
def test_the_strict_readers_refuse_anything_else(read: Any, name: str) -> None:
    with pytest.raises(InvalidEvent, match=rf"^'{name}' must be an object\.$"):
        read(PARENT, name)
    with pytest.raises(InvalidRequest):
        read(PARENT, name, InvalidRequest)


def test_a_session_without_another_interface_changes_no_event() -> None:
    assert unchanged(PARENT) is PARENT
