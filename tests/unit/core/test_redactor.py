"""Events of any type are redacted by their structure, and pass as bytes without a hidden part."""

import json
from typing import Any, get_args

import pytest
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from playbook import INSTRUCTIONS, PERSONA, SHOWN, TERMS, start

from relay.core.commands import End, Send, Side
from relay.core.events import MAX_SERVER_VALUES, Event
from relay.core.passing_events import PASSING
from relay.core.policy import Policy
from relay.core.redaction import HIDDEN_EVENTS, REDACTED, redact_error
from relay.core.server_events import REACTIONS

SYSTEM = {"type": "message", "role": "system", "id": "item_1", "content": ["PLANTED"]}
RESPONSE = {"id": "resp_1", "instructions": "PLANTED", "output": [SYSTEM], "voice": "marin"}
SHOWN_RESPONSE = {"id": "resp_1", "output": [], "voice": "marin"}
ERROR = {"type": "server_error", "code": "rate_limit", "message": "PLANTED", "param": None}
UNNAMED_SESSION = {
    "instructions": "",
    "a": 1,
    "id": "sess_1",
    "expires_at": 5000,
    "tools": [],
    "tool_choice": "auto",
    "prompt": None,
    "tracing": None,
}
ERROR_OF_A_RESPONSE = redact_error({}) | {"message": ""}
STRUCTURES = {"session", "response", "item", "items", "output", "previous_item_id", "error"}
KNOWN = sorted(REACTIONS.keys() - {"error"})
UNKNOWN = ["session.resumed", "x", "conversation.item.restored", "response.delta.done"]


def shown(event: Event, **terms: Any) -> list[Event]:
    """Return the events that the client receives for an event of the upstream."""
    received = [sent for sent in start(**terms).upstream(**event) if isinstance(sent, tuple)]
    return [sent for side, sent in received if side == "client"]


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        ({"session": PERSONA}, {"session": SHOWN}),
        ({"data": [{"session": PERSONA}]}, {"data": [{"session": SHOWN}]}),
        ({"config": PERSONA}, {"config": SHOWN}),
        ({"x": {"instructions": "PLANTED", "a": 1}}, {"x": UNNAMED_SESSION}),
        (
            {"a": [{"object": "realtime.response", **RESPONSE}]},
            {"a": [{"object": "realtime.response", **SHOWN_RESPONSE}]},
        ),
        ({"instructions": "PLANTED", "tools": ["PLANTED"]}, {"instructions": "", "tools": []}),
        (
            {"a": {"prompt": {"id": "PLANTED"}}, "keywords": ["PLANTED"]},
            {"a": {"prompt": None}, "keywords": None},
        ),
        ({"session": "sess_of_the_upstream"}, {"session": "sess_1"}),
        ({"warning": {"message": "PLANTED"}}, {"warning": redact_error({})}),
        ({"sessions": [PERSONA, 1]}, {"sessions": [SHOWN, 1]}),
        ({"session_id": "sess_of_the_upstream"}, {"session_id": "sess_1"}),
        ({"response": RESPONSE, "x": 1}, {"response": SHOWN_RESPONSE, "x": 1}),
        ({"a": {"b": {"response": RESPONSE}}}, {"a": {"b": {"response": SHOWN_RESPONSE}}}),
        ({"items": [SYSTEM, {"id": "item_2"}]}, {"items": [{"id": "item_2"}]}),
        ({"error": ERROR}, {"error": redact_error(ERROR)}),
        ({"error": "PLANTED"}, {"error": redact_error({})}),
        ({"errors": ["PLANTED", 1]}, {"errors": [redact_error({}), 1]}),
        (
            {
                "response": {
                    "id": "r",
                    "session": {"id": "PLANTED"},
                    "error": {"message": "PLANTED"},
                }
            },
            {
                "response": {
                    "id": "r",
                    "session": {"id": "sess_1", "expires_at": 5000},
                    "error": ERROR_OF_A_RESPONSE,
                }
            },
        ),
        (
            {"error": None, "errors": [ERROR], "message": "x"},
            {"error": None, "errors": [redact_error(ERROR)], "message": "x"},
        ),
        (
            {"error": ERROR, "message": "PLANTED"},
            {"error": redact_error(ERROR), "message": REDACTED},
        ),
    ],
)
def test_an_unknown_event_is_redacted_by_its_structure(
    kind: str, hidden: Event, visible: Event
) -> None:
    assert shown({"type": kind, **hidden}) == [{"type": kind, **visible}]


@pytest.mark.parametrize("kind", KNOWN)
@pytest.mark.parametrize(
    "hidden",
    [
        {"session": PERSONA},
        {"response": RESPONSE},
        {"items": [SYSTEM]},
        {"error": ERROR},
        {"response": RESPONSE, "session": PERSONA, "item": {"id": "item_2"}},
    ],
    ids="+".join,
)
def test_an_event_that_the_relay_reads_is_redacted_by_its_structure(
    kind: str, hidden: Event
) -> None:
    assert "PLANTED" not in json.dumps(shown({"type": kind, **hidden}))


@pytest.mark.parametrize("kind", [*UNKNOWN, *KNOWN])
def test_an_event_id_of_the_relay_is_not_shown(kind: str) -> None:
    """A client that knew it could send an event that counts as one of the relay."""
    own = {"event_id": f"{TERMS.relay_ids}response_1"}
    failed = {"status": "failed", "status_details": {"error": own}}
    event = {"type": kind, **own, "response": {**own, **failed}, "error": own}

    assert TERMS.relay_ids not in json.dumps(shown(event))


@pytest.mark.parametrize("kind", ["session.error", "input_audio.failed", "warning"])
def test_the_words_of_a_failure_are_not_shown(kind: str) -> None:
    words = {"message": "PLANTED", "detail": "The words 'PLANTED'", "reason": "too_long"}

    assert shown({"type": kind, **words}) == [
        {"type": kind, "message": REDACTED, "detail": REDACTED, "reason": "too_long"}
    ]


def test_a_resumed_conversation_shows_no_hidden_items_and_no_session() -> None:
    """Other servers than OpenAI's put more than an id into it."""
    conversation = {"id": "conv_1", "items": [SYSTEM], "session": PERSONA}

    assert shown({"type": "conversation.created", "conversation": conversation}) == [
        {
            "type": "conversation.created",
            "conversation": {"id": "conv_1", "items": [], "session": SHOWN},
        }
    ]


def test_an_unknown_event_about_a_hidden_item_is_hidden() -> None:
    play = start()
    play.upstream(type="conversation.item.added", item=SYSTEM)

    assert play.upstream(type="item.progress", item_id="item_1") == []
    assert play.upstream(type="conversation.item.restored", item=SYSTEM) == []


def test_the_client_may_name_an_item_of_an_unknown_event() -> None:
    play = start()
    play.upstream(type="conversation.item.restored", item={"id": "item_1", "type": "message"})

    ((side, _),) = play.client(type="conversation.item.delete", item_id="item_1")  # type: ignore[misc]  # an event
    assert side == "upstream"


@pytest.mark.parametrize(
    "event",
    [
        {"x": [1, [2], {"y": "z"}]},
        {"response": {"id": "resp_1", "output": [{"id": "item_1", "type": "message"}]}},
        {"item": {"id": "item_1", "content": [{"text": INSTRUCTIONS}]}},
        {"message": "Any words.", "error": None},
        {"metadata": {"session": {"instructions": "the client's own"}}},
    ],
)
def test_an_unknown_event_without_a_hidden_part_passes_as_it_came(event: Event) -> None:
    raw = json.dumps({"type": "what.is.not.known.yet", **event}, indent=1).encode()

    assert start().session.receive(Side.UPSTREAM, raw, 0) == (Send(Side.CLIENT, raw),)


def test_an_event_with_too_many_values_is_not_read() -> None:
    many = b"[" + b"{}," * MAX_SERVER_VALUES + b"1]"
    session = start().session

    assert session.receive(Side.UPSTREAM, b'{"type":"x","a":' + many + b"}", 0) == ()
    (end,) = session.receive(Side.UPSTREAM, b'{"type":"response.done","a":' + many + b"}", 0)
    assert isinstance(end, End)
    assert end.outcome == "upstream_lost"


def test_an_unknown_event_that_is_nested_too_deep_ends_the_session() -> None:
    raw = b'{"type":"x","a":' + b'{"a":' * 700 + b"1" + b"}" * 701

    (end,) = start().session.receive(Side.UPSTREAM, raw, 0)

    assert isinstance(end, End)


# The fields that only the upstream knows.

CLOSED = frozenset({("mood",), ("audio", "output", "timbre"), ("agents", "hint")})
THEIRS = {
    "mood": {"text": "PLANTED", "level": 1},
    "audio": {"output": {"voice": "marin", "timbre": "PLANTED"}},
    "agents": [{"hint": "PLANTED", "x": 1}, 2],
}
VISIBLE = {"audio": {"output": {"voice": "marin"}}, "agents": [{"x": 1}, 2]}


@pytest.mark.parametrize("kind", ["session.updated", "session.resumed"])
def test_a_session_does_not_show_the_fields_that_only_the_upstream_knows(kind: str) -> None:
    (event,) = shown({"type": kind, "session": THEIRS}, closed_fields=CLOSED)

    empty: Event = {"instructions": "", "tools": [], "tool_choice": "auto", "prompt": None}
    expected = VISIBLE | empty | {"tracing": None, "id": "sess_1", "expires_at": 5000}
    assert event["session"] == expected


@pytest.mark.parametrize("kind", ["response.created", "response.done", "response.resumed"])
def test_a_response_does_not_show_the_fields_that_only_the_upstream_knows(kind: str) -> None:
    (event,) = shown({"type": kind, "response": THEIRS}, closed_fields=CLOSED)

    assert event["response"] == VISIBLE


def test_the_first_session_does_not_show_them_either() -> None:
    (created,) = start(session=THEIRS, closed_fields=CLOSED).session.open(0)

    assert isinstance(created, Send)
    assert b"PLANTED" not in created.message


def test_an_opened_field_of_the_upstream_is_shown() -> None:
    opened = Policy(session=frozenset({("mood", "level"), ("audio", "output")}))
    (updated,) = shown(
        {"type": "session.updated", "session": THEIRS}, policy=opened, closed_fields=CLOSED
    )

    session = updated["session"]
    assert (session["mood"], session["audio"]) == ({"level": 1}, THEIRS["audio"])


def test_a_response_shows_the_texts_of_the_fields_that_the_session_opens() -> None:
    opened = Policy(session=frozenset({("audio", "output", "voice")}))
    response = {"audio": {"output": {"voice": "A long text of the client's own."}}}

    assert shown({"type": "response.created", "response": response}, policy=opened) == [
        {"type": "response.created", "response": response}
    ]


# The table of the events that pass.


def types_of(union: Any) -> dict[str, set[str]]:
    """Return the names of the fields of each server event, by the event's type."""
    members = get_args(get_args(union)[0])
    return {
        get_args(event.model_fields["type"].annotation)[0]: set(event.model_fields)
        for event in members
    }


def test_each_server_event_of_the_api_is_read_or_passes_or_is_hidden() -> None:
    known = set(types_of(RealtimeServerEvent))
    hidden = {kind for kind in known if kind.startswith(HIDDEN_EVENTS)}

    assert known - hidden - PASSING <= REACTIONS.keys()
    assert not PASSING & REACTIONS.keys()
    assert not any(kind.startswith(HIDDEN_EVENTS) for kind in PASSING)


def test_an_event_that_passes_has_nothing_to_redact() -> None:
    fields = types_of(BetaServerEvent) | types_of(RealtimeServerEvent)

    assert fields.keys() >= PASSING
    assert not any(fields[kind] & STRUCTURES for kind in PASSING)


@pytest.mark.parametrize("kind", sorted(PASSING - {"response.output_audio.delta"}))
def test_an_event_that_passes_is_redacted_if_it_has_such_an_object(kind: str) -> None:
    """An odd server could send one; an audio delta is never searched, for its cost."""
    event = {"type": kind, "response": RESPONSE, "session": PERSONA}

    assert shown(event) == [{"type": kind, "response": SHOWN_RESPONSE, "session": SHOWN}]
    assert shown({"type": kind, "item": SYSTEM | {"id": "item_7"}}) == []
