"""Events of the beta interface and of GA, from the one into the other."""

import json
from typing import Any

import pytest
from beta import (
    CLIENT_EVENTS,
    EACH_KIND,
    GA_SERVER_EVENTS,
    JSON,
    SERVER_EVENTS,
    check_asked,
    check_told,
    objects,
)
from hypothesis import assume, given
from hypothesis import strategies as st
from simulated import clip, knowing, simulated

from relay.dialects.beta import vocabulary
from relay.dialects.beta.events import ServerUp, client_down, client_up, server_down, unflattened
from relay.dialects.beta.fields import FLAT_NAMES

Json = dict[str, Any]

TOOL = {"type": "function", "name": "hours", "description": "x", "parameters": {"type": "object"}}
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def up(*events: Json) -> list[Json]:
    """Return what one upstream says, in GA."""
    heard = ServerUp()
    return [said for event in events for said in heard.say(event)]


def down(*events: Json) -> list[Json]:
    """Return what a client is told."""
    return [told for event in events if (told := server_down(event)) is not None]


# The tables, against the types.


def test_the_vocabulary_has_every_event_that_the_types_have() -> None:
    assert set(vocabulary.SERVER_EVENTS) == set(SERVER_EVENTS)


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_all_that_the_types_know_is_said(kind: str, data: st.DataObject) -> None:
    event = data.draw(objects(SERVER_EVENTS[kind]))

    assert vocabulary.SERVER_EVENTS[kind](event) == event


@pytest.mark.parametrize("kind", sorted(GA_SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_what_a_client_is_told_of_any_event_passes_its_types(
    kind: str, data: st.DataObject
) -> None:
    check_told(down(data.draw(objects(GA_SERVER_EVENTS[kind]))))


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
def test_of_an_event_that_the_beta_interface_has_a_client_is_told(
    kind: str, data: st.DataObject
) -> None:
    event = data.draw(objects(GA_SERVER_EVENTS[kind]))
    can_be_said = kind not in GA_ONLY and not _is_of_ga(event.get("item"))

    assert len(down(event)) == can_be_said


def _is_of_ga(item: Any) -> bool:
    return item is not None and item["type"].startswith("mcp_")


# Both ways.


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_an_event_of_ga_that_the_beta_interface_can_express_survives_both_ways(
    kind: str, data: st.DataObject
) -> None:
    expressible = up(data.draw(objects(SERVER_EVENTS[kind])))

    assert up(*down(*expressible)) == expressible


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_a_client_event_that_the_beta_interface_can_express_survives_both_ways(
    kind: str, data: st.DataObject
) -> None:
    if kind not in vocabulary.CLIENT_EVENTS:
        event = data.draw(objects(CLIENT_EVENTS[kind]))
        assert client_up(event) == event
        return
    asked = client_down(client_up(data.draw(objects(CLIENT_EVENTS[kind]))))
    assert asked is not None

    check_asked([asked])
    assert client_down(client_up(asked)) == asked


@pytest.mark.parametrize("kind", sorted(GA_SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_what_is_left_of_an_event_of_ga_is_as_it_was(kind: str, data: st.DataObject) -> None:
    event = data.draw(objects(GA_SERVER_EVENTS[kind]))
    # The types have no name for the beginning of one that transcribes.
    assume(kind != "session.created" or event["session"]["type"] == "realtime")
    for said in up(*down(event)):
        if said["type"] == kind:
            assert _is_left_of(said, event), said


def _is_left_of(left: Any, whole: Any) -> bool:
    """Tell whether one value is the other with parts of it left out."""
    if isinstance(left, dict):
        return all(
            name in whole and (name in SETTLED or _is_left_of(value, whole[name]))
            for name, value in left.items()
        )
    if isinstance(left, list):
        rest = iter(whole)
        return all(any(_is_left_of(item, other) for other in rest) for item in left)
    return bool(left == whole)


SETTLED = {"output_modalities", "format"}
"""Fields whose values are settled on the way: no both of text and audio, and one PCM rate."""


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
def test_nothing_that_can_be_said_in_json_fails_to_translate(event: Json) -> None:
    before = json.dumps(event)

    assert isinstance(client_up(event)["type"], str)
    assert isinstance(unflattened(event)["type"], str)
    assert all(isinstance(said["type"], str) for said in up(event, event))
    check_told(down(event))
    if (asked := client_down(event)) is not None:
        check_asked([asked])
    assert json.dumps(event) == before, "what is translated is not changed"


# What the simulator says.


async def test_a_real_conversation_survives_both_ways() -> None:
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
    told = down(*client.received)

    check_told(told)
    assert {event["type"] for event in told} >= {
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
    assert done_last(up(*told)) == done_last(list(map(without_ga, client.received)))


def done_last(events: list[Json]) -> list[Json]:
    """Put aside when an item is told to be done, and under which id: the translation decides."""
    done = [event for event in events if event["type"] == "conversation.item.done"]
    rest = [event for event in events if event["type"] != "conversation.item.done"]
    return rest + [{**event, "event_id": ""} for event in done]


OF_A_SESSION = {"object", "model", "expires_at", "include", "prompt", "truncation"}
ANYWHERE = {"obfuscation", "idle_timeout_ms", "cached_tokens_details", "image_tokens"}


def without_ga(event: Json) -> Json:
    """Leave away what of this conversation the beta interface cannot express."""
    session = {k: v for k, v in event.get("session", {}).items() if k not in OF_A_SESSION}
    told: Json = _without(event | {"session": session} if session else event)
    return told


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_without, value))
    if not isinstance(value, dict):
        return value
    return {name: _without(item) for name, item in value.items() if name not in ANYWHERE}
