"""The types of the beta interface in the SDK: strict checks of events, and values of any type."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from conformance import check_type, events_of
from hypothesis import settings
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeClientEvent, RealtimeServerEvent
from openai.types.realtime import RealtimeServerEvent as GaServerEvent
from pydantic import BaseModel

Json = dict[str, Any]

SERVER_EVENTS = events_of(RealtimeServerEvent)
CLIENT_EVENTS = events_of(RealtimeClientEvent)
GA_SERVER_EVENTS = events_of(GaServerEvent)


def check_server_events(events: Iterable[Json]) -> None:
    """Check that the types of the beta interface list everything in these server events."""
    for event in events:
        check_type(event, SERVER_EVENTS[event["type"]])


def check_client_events(events: Iterable[Json]) -> None:
    """Check that the types of the beta interface list everything in these client events."""
    for event in events:
        check_type(event, CLIENT_EVENTS[event["type"]])


TEXTS = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)
_PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(0, 10**6),
    float: st.floats(0, 2, allow_subnormal=False),
    bool: st.booleans(),
    object: JSON,
    type(None): st.none(),
}
_TYPED = frozenset({"Tool", "Part", "Content", "ConversationItem", "ConversationItemContent"})
"""Objects that mean nothing without their ``type``, which the types do not require."""
_KNOWN: Mapping[tuple[str, str], st.SearchStrategy[Any]] = {
    ("TranscriptionSession", "input_audio_format"): st.sampled_from(["pcm16", "g711_ulaw"]),
    ("TurnDetection", "type"): st.sampled_from(["server_vad", "semantic_vad"]),
}
"""Fields for which the types allow any text, with the names that the API has."""

EACH_KIND = settings(max_examples=settings().max_examples // 4)
"""For a property of every kind of event: all kinds together have thousands of examples."""


@cache
def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for JSON values of a type."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values(inside[0])
    if origin is Union:
        return st.one_of([values(member) for member in inside])
    if origin is Literal:
        return st.sampled_from(inside)
    if origin is list:
        return st.lists(values(inside[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXTS, values(inside[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return objects(annotation)
    return _PLAIN[annotation]


@cache
def objects(model: type[BaseModel]) -> st.SearchStrategy[Json]:
    """Return a strategy for JSON objects of a type."""
    required, optional = {}, {}
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if (model.__name__, name) in _KNOWN:
            optional[name] = _KNOWN[model.__name__, name]
        elif field.is_required():
            required[name] = values(annotation)
        elif name == "type" and model.__name__ in _TYPED:
            required[name] = values(annotation).filter(bool)
        else:
            optional[name] = values(annotation)
    return st.fixed_dictionaries(required, optional=optional)
