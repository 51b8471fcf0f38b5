"""Events, translated between the beta interface and GA."""

import json
import runpy
from typing import Any

import pytest
from beta import (
    CLIENT_EVENTS,
    EACH_KIND,
    GA_SERVER_EVENTS,
    JSON,
    SERVER_EVENTS,
    check_client_events,
    check_server_events,
    objects,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from paths import ROOT
from simulated import clip, knowing, simulated

from relay.dialects.beta import vocabulary
from relay.dialects.beta.events import ServerUp, client_down, client_up, server_down, unflattened
from relay.dialects.beta.fields import FLAT_NAMES

Json = dict[str, Any]

TOOL = {"type": "function", "name": "hours", "description": "x", "parameters": {"type": "object"}}
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def up(*events: Json) -> list[Json]:
    """Return the events of one beta upstream in GA."""
    server = ServerUp()
    return [translated for event in events for translated in server.translate(event)]


def down(*events: Json) -> list[Json]:
    """Return the events that a beta client receives."""
    return [sent for event in events if (sent := server_down(event)) is not None]


# The tables, against the types.


def test_the_vocabulary_is_that_of_the_package() -> None:
    """Run ``python docs/generate_beta.py`` when this fails."""
    generated = runpy.run_path(str(ROOT / "docs" / "generate_beta.py"))["vocabulary"]()
    file = ROOT / "relay" / "dialects" / "beta" / "vocabulary.json"

    assert generated == file.read_text(encoding="utf-8")


def test_the_differences_from_the_types_name_their_fields() -> None:
    models = vocabulary._file()["$defs"]
    typed = {(name, "type") for name in vocabulary._TYPED}

    for name, field in {*typed, *vocabulary._NEVER_SENT, *vocabulary._OTHER_SHAPES}:
        assert field in models[name]["properties"], (name, field)


def test_the_vocabulary_has_every_event_that_the_types_have() -> None:
    assert set(vocabulary.server_events()) == set(SERVER_EVENTS)


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_an_event_of_the_types_loses_nothing(kind: str, data: st.DataObject) -> None:
    event = data.draw(objects(SERVER_EVENTS[kind]))

    assert vocabulary.server_events()[kind](event) == event


@pytest.mark.parametrize("kind", sorted(GA_SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_an_event_for_a_beta_client_passes_its_types(kind: str, data: st.DataObject) -> None:
    check_server_events(down(data.draw(objects(GA_SERVER_EVENTS[kind]))))


GA_ONLY = {
    "conversation.item.done",
    f"{TRANSCRIPTION}.segment",
    "input_audio_buffer.timeout_triggered",
    "input_audio_buffer.dtmf_event_received",
    *(kind for kind in GA_SERVER_EVENTS if "mcp" in kind),
}


@pytest.mark.parametrize("kind", sorted(GA_SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_a_beta_client_receives_every_event_that_its_types_have(
    kind: str, data: st.DataObject
) -> None:
    event = data.draw(objects(GA_SERVER_EVENTS[kind]))
    is_in_the_types = kind not in GA_ONLY and not _is_of_ga(event.get("item"))

    assert len(down(event)) == is_in_the_types


def _is_of_ga(item: Any) -> bool:
    return item is not None and item["type"].startswith("mcp_")


# In both directions.


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_a_server_event_that_both_interfaces_have_survives_both_directions(
    kind: str, data: st.DataObject
) -> None:
    events = up(data.draw(objects(SERVER_EVENTS[kind])))

    assert up(*down(*events)) == events


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_a_client_event_survives_both_directions(kind: str, data: st.DataObject) -> None:
    if kind not in vocabulary.client_events():
        event = data.draw(objects(CLIENT_EVENTS[kind]))
        assert client_up(event) == event
        return
    sent = client_down(client_up(data.draw(objects(CLIENT_EVENTS[kind]))))
    assert sent is not None

    check_client_events([sent])
    assert client_down(client_up(sent)) == sent


@pytest.mark.parametrize("kind", sorted(GA_SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_the_remaining_fields_of_a_ga_event_are_unchanged(kind: str, data: st.DataObject) -> None:
    event = data.draw(objects(GA_SERVER_EVENTS[kind]))
    # The types have no name for the start of a transcription session.
    assume(kind != "session.created" or event["session"]["type"] == "realtime")
    for translated in up(*down(event)):
        if translated["type"] == kind:
            assert _is_part_of(translated, event), translated


def _is_part_of(part: Any, whole: Any) -> bool:
    """Return whether one value is the other without some of its parts."""
    if isinstance(part, dict):
        return all(
            name in whole and (name in NORMALIZED or _is_part_of(value, whole[name]))
            for name, value in part.items()
        )
    if isinstance(part, list):
        rest = iter(whole)
        return all(any(_is_part_of(item, other) for other in rest) for item in part)
    return bool(part == whole)


NORMALIZED = {"output_modalities", "format"}
"""Fields whose values change: text and audio are never both, and PCM has one rate."""


HOSTILE = st.sampled_from(sorted({*SERVER_EVENTS, *GA_SERVER_EVENTS, *CLIENT_EVENTS, "", "x"}))
NAMES = ("session", "response", "item", "part", "error", "event_id", "item_id", "delta", "usage")
INNER = (*sorted(FLAT_NAMES), "type", "audio", "output", "content", "tools", "input", "param", "id")
ANY_EVENT = st.builds(
    lambda kind, event: {**event, "type": kind},
    HOSTILE,
    st.dictionaries(
        st.sampled_from(NAMES),
        JSON
        | st.dictionaries(
            st.sampled_from(INNER), JSON | st.lists(st.fixed_dictionaries({"type": JSON}))
        ),
    ),
)


@given(ANY_EVENT)
def test_any_json_object_is_translated_without_an_error(event: Json) -> None:
    before = json.dumps(event)

    assert isinstance(client_up(event)["type"], str)
    assert isinstance(unflattened(event)["type"], str)
    assert all(isinstance(translated["type"], str) for translated in up(event, event))
    check_server_events(down(event))
    if (sent := client_down(event)) is not None:
        check_client_events([sent])
    assert json.dumps(event) == before, "the event itself does not change"


# The events of the simulator.


async def test_a_real_conversation_survives_both_directions() -> None:
    async with simulated(engines=knowing("ten of clubs")) as upstream, upstream.connect() as client:
        await client.update(
            tools=[TOOL], audio={"input": {"transcription": {"model": "whisper-1"}}}
        )
        await client.append(clip("cards-001.wav") + bytes(48_000))
        await client.until("response.done")
        await client.exchange("Write it.", output_modalities=["text"])
        await client.exchange("What are your opening hours?")
        await client.refused("response.cancel")
        (call,) = client.all("response.function_call_arguments.done")
        await client.send("conversation.item.delete", item_id=call["item_id"])
        await client.until("conversation.item.deleted")
    sent = down(*client.received)

    check_server_events(sent)
    assert {event["type"] for event in sent} >= {
        "conversation.item.created",
        "conversation.item.deleted",
        f"{TRANSCRIPTION}.completed",
        "error",
        "input_audio_buffer.speech_started",
        "response.audio.delta",
        "response.audio_transcript.done",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.text.delta",
        "session.created",
        "session.updated",
    }
    assert done_last(up(*sent)) == done_last(list(map(without_ga, client.received)))


def done_last(events: list[Json]) -> list[Json]:
    """Ignore place and id of the events for completed items: the translation chooses them."""
    done = [event for event in events if event["type"] == "conversation.item.done"]
    rest = [event for event in events if event["type"] != "conversation.item.done"]
    return rest + [{**event, "event_id": ""} for event in done]


SESSION_ONLY = {"object", "model", "expires_at", "include", "prompt", "truncation"}
ANYWHERE = {"obfuscation", "idle_timeout_ms", "cached_tokens_details", "image_tokens"}


def without_ga(event: Json) -> Json:
    """Return an event without the fields that the beta interface does not have."""
    session = {k: v for k, v in event.get("session", {}).items() if k not in SESSION_ONLY}
    rest: Json = _without(event | {"session": session} if session else event)
    return rest


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_without, value))
    if not isinstance(value, dict):
        return value
    return {name: _without(item) for name, item in value.items() if name not in ANYWHERE}
