"""Tests of the events and fields that a client may send. test_bypasses.py has the others."""

from typing import Any

import pytest

from relay.core.conversation import Conversation
from relay.core.errors import EventNotAllowed, InvalidEvent
from relay.core.events import CLIENT_EVENTS
from relay.core.paths import keep
from relay.core.policy import AnswerUpdate, Decision, Forward, Policy

USER = {"type": "message", "role": "user"}
TURN_DETECTION = frozenset({("audio", "input", "turn_detection")})


def decide(policy: Policy | None = None, **event: Any) -> Decision:
    """Decide on an event in a conversation with an item, a response and a call."""
    conversation = Conversation()
    conversation.add_item("item_1")
    conversation.add_response("resp_1")
    conversation.delegate("call_1")
    return (policy or Policy()).decide(event, conversation)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.append", "audio": "AAAA"},
        {"type": "input_audio_buffer.append", "audio": ""},
        {"type": "input_audio_buffer.commit", "event_id": "e1"},
        {"type": "input_audio_buffer.clear"},
        {"type": "response.create"},
        {"type": "response.create", "event_id": "e" * 512, "response": {"metadata": {"a": "b"}}},
        {"type": "response.create", "response": {"metadata": None}},
        {"type": "response.cancel"},
        {"type": "response.cancel", "response_id": "resp_1"},
        {"type": "conversation.item.create", "item": USER | {"content": []}},
        {
            "type": "conversation.item.create",
            "event_id": "e1",
            "item": {
                "id": "i" * 64,
                **USER,
                "content": [
                    {"type": "input_text", "text": "Hello \u2028 \x7f \0"},
                    {"type": "input_audio", "audio": "AAAA"},
                ],
            },
        },
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "call_1", "output": "{}"},
        },
        {
            "type": "conversation.item.truncate",
            "item_id": "item_1",
            "content_index": 0,
            "audio_end_ms": 1500,
        },
        {"type": "conversation.item.retrieve", "item_id": "item_1"},
        {"type": "conversation.item.delete", "item_id": "item_1"},
    ],
    ids=lambda event: event["type"],
)
def test_the_safe_default_passes_unchanged(event: dict[str, Any]) -> None:
    assert decide(**event) == Forward(event)


@pytest.mark.parametrize(
    ("event", "sent"),
    [
        ({"type": "response.create", "response": {}}, {"type": "response.create"}),
        ({"type": "response.create", "response": None}, {"type": "response.create"}),
        ({"type": "response.cancel", "response_id": None}, {"type": "response.cancel"}),
        ({"type": "response.cancel", "event_id": None}, {"type": "response.cancel"}),
        (
            {
                "type": "conversation.item.create",
                "previous_item_id": None,
                "item": USER | {"id": None, "object": "realtime.item", "content": []},
            },
            {"type": "conversation.item.create", "item": USER | {"content": []}},
        ),
    ],
)
def test_an_empty_field_is_left_out(event: dict[str, Any], sent: dict[str, Any]) -> None:
    assert decide(**event) == Forward(sent)


@pytest.mark.parametrize(
    ("opened", "asked", "kept"),
    [
        ({("a",)}, {"a": {"b": 1}, "c": 2}, {"a": {"b": 1}}),
        ({("a", "b")}, {"a": {"b": None, "c": 2}}, {"a": {"b": None}}),
        ({("a", "b")}, {"a": {"c": 2}}, {}),
        ({("a", "b")}, {"a": {}}, {}),
        ({("a", "b")}, {"a": None, "b": 1}, {}),
        ({("a", "b")}, {"a": [{"b": 1}]}, {}),
        ({("a", "b")}, {"a.b": 1, "A": {"b": 1}}, {}),
        ({("a", "b"), ("a", "c", "d")}, {"a": {"b": 1, "c": {"d": 2, "e": 3}}}, None),
        (set(), {"a": 1}, {}),
    ],
)
def test_only_opened_paths_are_kept(
    opened: set[tuple[str, ...]], asked: dict[str, Any], kept: dict[str, Any] | None
) -> None:
    expected = {"a": {"b": 1, "c": {"d": 2}}} if kept is None else kept

    assert keep(asked, frozenset(opened)) == expected


def test_an_update_is_reduced_to_its_open_fields() -> None:
    turns = {"turn_detection": {"type": "semantic_vad"}}
    asked = {"instructions": "x", "audio": {"input": turns | {"format": {}}, "output": {}}}

    decision = decide(
        Policy(session=TURN_DETECTION), type="session.update", event_id="e1", session=asked
    )

    assert decision == Forward(
        {
            "type": "session.update",
            "event_id": "e1",
            "session": {"type": "realtime", "audio": {"input": turns}},
        }
    )


@pytest.mark.parametrize("session", [{}, {"type": "realtime"}, {"instructions": "x"}])
def test_an_update_without_an_open_field_is_answered(session: dict[str, Any]) -> None:
    policy = Policy(session=TURN_DETECTION)

    assert decide(policy, type="session.update", session=session) == AnswerUpdate()


def test_the_type_of_a_session_cannot_be_opened() -> None:
    policy = Policy(session=frozenset({("type",), ("include",)}))
    asked = {"type": "transcription", "include": None}

    assert decide(policy, type="session.update", session=asked) == Forward(
        {"type": "session.update", "session": {"type": "realtime", "include": None}}
    )


def test_a_forwarded_update_has_the_type_of_the_session() -> None:
    policy = Policy("transcription", session=TURN_DETECTION)
    turns = {"audio": {"input": {"turn_detection": None}}}

    assert decide(policy, type="session.update", session={"type": "realtime"} | turns) == Forward(
        {"type": "session.update", "session": {"type": "transcription"} | turns}
    )
    assert decide(policy, type="session.update", session={"type": "realtime"}) == AnswerUpdate()


def test_a_transcription_session_closes_the_events_of_responses() -> None:
    item = USER | {"content": [{"type": "input_text", "text": "Hello"}]}
    closed: list[dict[str, Any]] = [
        {"type": "response.create"},
        {"type": "response.cancel"},
        {"type": "conversation.item.create", "item": item},
        {
            "type": "conversation.item.truncate",
            "item_id": "item_1",
            "content_index": 0,
            "audio_end_ms": 0,
        },
        {"type": "output_audio_buffer.clear"},
    ]
    for event in closed:
        with pytest.raises(EventNotAllowed):
            decide(Policy("transcription"), **event)

    for kind in CLIENT_EVENTS - {event["type"] for event in closed}:
        event = {"type": kind, "audio": "AAAA", "item_id": "item_1", "session": {}}
        assert isinstance(decide(Policy("transcription"), **event), Decision)


def test_fields_of_a_response_can_be_opened() -> None:
    policy = Policy(response=frozenset({("conversation",), ("input",), ("instructions",)}))
    asked = {"conversation": "none", "input": [], "instructions": "Summarise.", "metadata": {}}

    assert decide(policy, type="response.create", response=asked) == Forward(
        {"type": "response.create", "response": asked}
    )


def test_opening_conversation_does_not_open_input() -> None:
    policy = Policy(response=frozenset({("conversation",)}))

    with pytest.raises(EventNotAllowed, match=r"'response\.input' is not allowed here\."):
        decide(policy, type="response.create", response={"conversation": "none", "input": []})


def test_an_event_can_be_opened() -> None:
    policy = Policy(events=frozenset({"output_audio_buffer.clear"}))

    assert decide(policy, type="output_audio_buffer.clear", x=1) == Forward(
        {"type": "output_audio_buffer.clear"}
    )
    with pytest.raises(EventNotAllowed):
        decide(type="output_audio_buffer.clear")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"type": "session.update"}, "'session' must be an object."),
        ({"type": "session.update", "session": []}, "'session' must be an object."),
        ({"type": "response.create", "response": "x"}, "'response' must be an object."),
        ({"type": "conversation.item.create"}, "'item' must be an object."),
        (
            {"type": "conversation.item.create", "item": USER},
            "'item.content' must be a list of parts.",
        ),
        (
            {"type": "conversation.item.create", "item": USER | {"content": ["x"]}},
            "A part of 'item.content' must be an object.",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": USER | {"content": [{"type": "input_text"}]},
            },
            "'text' must be a string.",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": USER | {"content": [{"type": "input_audio", "audio": "?"}]},
            },
            "'audio' must be base64.",
        ),
        (
            {"type": "conversation.item.create", "item": USER | {"id": "", "content": []}},
            "'id' must have 1 to 512 characters.",
        ),
        (
            {"type": "conversation.item.create", "item": USER | {"id": "i" * 65, "content": []}},
            "'item.id' may have at most 64 characters.",
        ),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "call_1", "output": {}},
            },
            "'output' must be a string.",
        ),
        ({"type": "input_audio_buffer.append"}, "'audio' must be a string."),
        ({"type": "input_audio_buffer.commit", "event_id": 7}, "'event_id' must be a string."),
        (
            {"type": "input_audio_buffer.commit", "event_id": "e" * 513},
            "'event_id' must have 1 to 512 characters.",
        ),
        ({"type": "conversation.item.delete"}, "'item_id' must be a string."),
        ({"type": "response.cancel", "response_id": ["resp_1"]}, "'response_id' must be a string."),
    ],
)
def test_a_field_of_a_wrong_type_or_size_is_refused(event: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decide(**event)

    assert str(refused.value) == words


def test_every_event_that_can_be_opened_gets_a_decision() -> None:
    """An event that is missing in the tables would be a defect, not a refusal."""
    everything = Policy(events=CLIENT_EVENTS)

    for kind in CLIENT_EVENTS:
        try:
            decide(everything, type=kind)
        except InvalidEvent:
            continue
