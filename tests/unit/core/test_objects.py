"""Objects inside JSON objects, and events that need no translation."""

import pytest

from relay.core.errors import InvalidEvent, InvalidRequest
from relay.core.events import Json
from relay.core.objects import object_or_empty, require_object
from relay.core.terms import unchanged

NO_OBJECTS: list[dict[str, Json]] = [{}, {"x": None}, {"x": "{}"}, {"x": [{}]}, {"x": 1}]


def test_an_object_is_returned_as_it_is() -> None:
    inner: dict[str, Json] = {"y": 1}

    assert require_object({"x": inner}, "x") is inner
    assert object_or_empty({"x": inner}, "x") is inner
    assert unchanged(inner) is inner


@pytest.mark.parametrize("parent", NO_OBJECTS)
def test_a_field_without_an_object_is_an_error_or_empty(parent: dict[str, Json]) -> None:
    with pytest.raises(InvalidEvent, match="'x' is an object"):
        require_object(parent, "x")
    with pytest.raises(InvalidRequest):
        require_object(parent, "x", InvalidRequest)
    assert object_or_empty(parent, "x") == {}
