"""The fields that a client event loses: their names in the log and for the client, no values."""

from typing import Any

import pytest
from openai.types.realtime import RealtimeConversationItemUserMessage
from openai.types.realtime.realtime_conversation_item_function_call_output import (
    RealtimeConversationItemFunctionCallOutput,
)
from openai.types.realtime.realtime_conversation_item_user_message import Content
from playbook import Play, start

from relay.config import schema
from relay.core.policy import Policy
from relay.core.stripped_fields import API_FIELDS, MAX_NAMES

VOICE = frozenset({("audio", "output", "voice")})
UPDATE, CREATE_ITEM = "session.update", "conversation.item.create"


def ignored(play: Play, **event: Any) -> list[str]:
    """Return the fields that the relay names to the client for an event."""
    events = [sent for sent in play.client(**event) if isinstance(sent, tuple)]
    named = [sent for _, sent in events if sent["type"] == "relay.fields_ignored"]
    assert all(sent["event_type"] == event["type"] for sent in named)
    return [name for sent in named for name in sent["fields"]]


@pytest.mark.parametrize(
    ("session", "names"),
    [
        ({"instructions": "x", "tools": []}, ["instructions", "tools"]),
        ({"audio": {"output": {"voice": "ash", "speed": 2}}}, ["audio.output.speed"]),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1}}}},
            ["audio.input.turn_detection"],
        ),
        (
            {"audio": {"input": {"turn_detection": None}, "output": {}}},
            ["audio.input.turn_detection", "audio.output"],
        ),
        ({"tracing": None, "type": "realtime"}, ["tracing"]),
        ({"type": "transcription"}, ["type"]),
        ({"My words.": 1, "more": {"audio": 2}, "audio": {"x": 1}}, ["other"]),
        ({"a": 1, "b": 2, "tools": 3, "c": 4}, ["other", "tools"]),
        ({"type": "realtime"}, []),
        ({"audio": {"output": {"voice": "ash"}}}, []),
    ],
)
def test_the_fields_of_an_update_are_named(session: Any, names: list[str]) -> None:
    play = start(Policy(session=VOICE), announces=True)

    assert ignored(play, type=UPDATE, session=session) == names
    assert list(play.session.counts.stripped_fields) == names


def test_the_closed_parts_of_an_opened_field_are_named() -> None:
    opened = frozenset({("audio", "input", "turn_detection", "threshold")})
    detection = {"type": "server_vad", "threshold": 0.5}

    assert ignored(
        start(Policy(session=opened), announces=True),
        type=UPDATE,
        session={"audio": {"input": {"turn_detection": detection}}},
    ) == ["audio.input.turn_detection.type"]


@pytest.mark.parametrize(
    ("event", "names"),
    [
        ({"type": "response.create", "response": {"instructions": "x"}}, ["instructions"]),
        (
            {
                "type": "response.create",
                "response": {"metadata": {}, "audio": {"output": {"v": 1}}},
            },
            ["other"],
        ),
        ({"type": "response.create", "response": None, "session": {"tools": []}}, ["tools"]),
        ({"type": "response.create", "session": 1, "x": 1, "y": None}, ["other"]),
        ({"type": "input_audio_buffer.commit", "previous_item_id": "x"}, ["previous_item_id"]),
        (
            {
                "type": CREATE_ITEM,
                "previous_item_id": None,
                "item": {
                    "type": "message",
                    "role": "user",
                    "status": "completed",
                    "id": None,
                    "content": [{"type": "input_text", "text": "x", "transcript": "x", "y": 1}],
                },
            },
            ["item.status", "item.content.transcript", "other"],
        ),
    ],
)
def test_the_fields_of_any_other_event_are_named(event: Any, names: list[str]) -> None:
    assert ignored(start(announces=True), **event) == names


def test_only_a_client_that_asked_for_the_relays_events_receives_the_names() -> None:
    play = start()

    assert ignored(play, type="response.create", response={"tools": []}) == []
    assert list(play.session.counts.stripped_fields) == ["tools"]


def test_the_names_are_limited_in_number_and_each_is_there_once() -> None:
    opened = frozenset((*name.split("."), "x") for name in API_FIELDS)
    session: dict[str, Any] = {}
    for name in sorted(API_FIELDS):
        *parents, last = name.split(".")
        inner = session
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
        else:
            inner.setdefault(last, {} if any(o.startswith(f"{name}.") for o in API_FIELDS) else 1)
    play = start(Policy(session=opened), announces=True)

    names = ignored(play, type=UPDATE, session=session)
    ignored(play, type="response.create", response={"x": 1})

    assert len(names) == len(set(names)) == MAX_NAMES
    assert list(play.session.counts.stripped_fields) == names


def test_the_names_are_those_of_the_api() -> None:
    item = {
        *RealtimeConversationItemUserMessage.model_fields,
        *RealtimeConversationItemFunctionCallOutput.model_fields,
    }
    parts = {f"item.content.{name}" for name in Content.model_fields}
    items = {f"item.{name}" for name in item} | parts

    known = schema.session_fields() | schema.transcription_fields() | schema.response_fields()

    assert known | items <= API_FIELDS
    assert {name for name in API_FIELDS - known if not name.startswith("item")} == {
        "previous_item_id"
    }
