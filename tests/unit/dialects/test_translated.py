"""Sessions in which at least one peer uses the beta interface."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from beta import check_client_events, check_server_events
from playbook import Refusal, start, to_client, to_upstream

from relay.core.commands import CallTool, End, Record, Send, Side
from relay.core.errors import RelayDraining
from relay.core.policy import Policy
from relay.core.session import Session
from relay.dialects.beta.peers import BetaClient, BetaUpstream
from relay.dialects.translated import Dialect, Ga, Translated

Json = dict[str, Any]

FLAT: Json = {
    "id": "sess_1",
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "tracing": None,
    "input_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
    "output_audio_format": "g711_ulaw",
    "voice": "marin",
    "temperature": 0.8,
}
"""The session of the playbook, in the form that a beta client receives."""

ITEM: Json = {"id": "item_1", "type": "message", "role": "user", "status": "completed"}


def test_a_session_between_two_ga_peers_is_not_wrapped() -> None:
    assert type(start().session) is Session
    assert isinstance(start(client=BetaClient()).session, Translated)
    assert isinstance(start(upstream=BetaUpstream()).session, Translated)


# A client of the beta interface.


def test_a_beta_client_receives_a_flat_session() -> None:
    (created,) = start(client=BetaClient()).session.open(0.0)

    assert isinstance(created, Send)
    event = json.loads(created.message)
    assert event == {"type": "session.created", "event_id": "relay_1", "session": FLAT}
    check_server_events([event])


def test_its_update_is_answered_and_the_persona_stands() -> None:
    play = start(client=BetaClient())
    asked = {"modalities": ["audio"], "instructions": "You are a voice transcription system."}

    answer = play.client(type="session.update", event_id="e1", session=asked)

    assert answer == [to_client(type="session.updated", event_id="relay_1", session=FLAT)]
    assert play.session.counts.blocked == {("session.update", "field_stripped"): 1}


def test_its_update_passes_the_policy_by_the_names_of_ga() -> None:
    play = start(Policy(session=frozenset({("audio", "output", "voice")})), client=BetaClient())

    answer = play.client(type="session.update", session={"voice": "ash", "instructions": "mine"})

    update = {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
    assert answer == [to_upstream(type="session.update", session=update)]


def test_its_fields_of_a_response_are_stripped_and_not_refused() -> None:
    play = start(Policy(response=frozenset({("output_modalities",)})), client=BetaClient())
    asked = {"modalities": ["audio", "text"], "instructions": "mine", "temperature": 0.6}

    answer = play.client(type="response.create", event_id="e1", response=asked)

    opened = {"output_modalities": ["audio"]}
    assert answer == [to_upstream(type="response.create", event_id="e1", response=opened)]


REFUSED: list[Json] = [
    {"type": "conversation.item.create", "item": {"type": "message", "role": "system"}},
    {"type": "response.create", "response": {"conversation": "none", "modalities": ["text"]}},
    {"type": "session.close"},
]


@pytest.mark.parametrize("event", REFUSED)
def test_it_gets_the_same_refusals_as_any_client(event: Json) -> None:
    answer = start(client=BetaClient()).client(event_id="e1", **event)

    assert answer == [Refusal("event_not_allowed", "e1")]


def test_it_receives_only_events_and_fields_of_the_beta_interface() -> None:
    play = start(client=BetaClient())
    part = {"type": "output_audio", "transcript": "Hi."}
    item = {"id": "item_1", "type": "message", "role": "assistant", "content": [part]}
    place = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
    transcript = {"event_id": "e", "delta": "Hi.", "obfuscation": "x"} | place

    assert play.upstream(type="conversation.item.done", event_id="e", item=item) == []
    assert play.upstream(type="response.something.new", event_id="e") == []
    assert play.upstream(type="conversation.item.added", event_id="e", item=item) == [
        to_client(
            type="conversation.item.created",
            event_id="e",
            item=item | {"content": [{"type": "audio", "transcript": "Hi."}]},
        )
    ]
    assert play.upstream(type="response.output_audio_transcript.delta", **transcript) == [
        to_client(type="response.audio_transcript.delta", event_id="e", delta="Hi.", **place)
    ]


def test_calls_of_the_servers_tools_are_hidden_from_it() -> None:
    play = start(client=BetaClient(), served=frozenset({"hours"}))
    call = {"id": "item_1", "type": "function_call", "call_id": "call_1", "name": "hours"}
    event: Json = {"event_id": "e", "response_id": "resp_1", "output_index": 0, "item": call}

    assert play.upstream(type="response.output_item.added", **event) == []


def test_its_audio_passes_as_the_same_bytes() -> None:
    raw = b'{"audio": "AAAA", "type": "input_audio_buffer.append"}'
    play = start(client=BetaClient(), upstream=BetaUpstream())

    (sent,) = play.session.receive(Side.CLIENT, raw, 1.0)

    assert isinstance(sent, Send)
    assert sent.message is raw


def test_it_can_read_why_its_session_ends() -> None:
    play = start(client=BetaClient())
    ends = [
        play.session.end(RelayDraining()),
        play.session.tick(10_000.0),
        play.session.closed(Side.UPSTREAM, 1011),
        play.session.exhaust_budget(),
    ]

    sent = [json.loads(end.farewell or b"") for (end,) in ends if isinstance(end, End)]

    check_server_events(sent)
    assert [event["error"]["code"] for event in sent] == [
        *("relay_draining", "session_expired", "upstream_lost", "budget_exhausted")
    ]


def test_an_end_without_a_farewell_is_not_translated() -> None:
    (end,) = start(client=BetaClient()).session.closed(Side.CLIENT, 1000)

    assert isinstance(end, End)
    assert end.farewell is None


# An upstream of the beta interface.

BETA_RESPONSE: Json = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "completed",
    "output": [],
    "modalities": ["audio", "text"],
    "usage": {
        "total_tokens": 30,
        "input_tokens": 10,
        "output_tokens": 20,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
    },
}


@pytest.mark.parametrize("client", [Ga, BetaClient])
def test_the_usage_of_a_beta_upstream_is_counted(client: Callable[[], Dialect]) -> None:
    play = start(client=client(), upstream=BetaUpstream())
    delta = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}

    play.upstream(type="response.created", event_id="e", response=BETA_RESPONSE | {"usage": None})
    play.upstream(type="response.audio.delta", event_id="e", delta="A" * 32_000, **delta)
    play.upstream(type="response.done", event_id="e", response=BETA_RESPONSE)

    assert play.recorded[0].tokens.by_kind()["output_audio"] == 15
    assert play.session.counts.audio_seconds_to_client == 3.0


def test_usage_of_a_beta_upstream_counts_after_the_end_and_the_rest_is_settled() -> None:
    play = start(upstream=BetaUpstream())
    for response_id in ("resp_1", "resp_2"):
        response = BETA_RESPONSE | {"id": response_id}
        play.upstream(type="response.created", event_id="e", response=response)
    done = {"type": "response.done", "event_id": "e", "response": BETA_RESPONSE}

    heard = play.session.record_late(json.dumps(done).encode(), 1.0)

    assert [type(command) for command in heard] == [Record]
    assert len(play.session.record_cut_off(2.0)) == 1
    assert play.session.deadline == 300.0


def test_a_tool_of_the_server_answers_a_beta_upstream() -> None:
    play = start(
        upstream=BetaUpstream(),
        served=frozenset({"hours"}),
        delegated=frozenset(),
        follow_up={"output_modalities": ["text"]},
    )
    call: Json = {"id": "item_1", "type": "function_call", "call_id": "call_1", "name": "hours"}
    arguments: Json = {"response_id": "resp_1", "item_id": "item_1", "call_id": "call_1"}
    response = BETA_RESPONSE | {"output": [call | {"arguments": "{}"}]}

    play.upstream(type="response.created", event_id="e", response={"id": "resp_1"})
    play.upstream(type="response.output_item.added", event_id="e", item=call, **arguments)
    (run,) = play.upstream(
        type="response.output_item.done", event_id="e", item=call | {"arguments": "{}"}, **arguments
    )
    assert isinstance(run, CallTool)
    assert play.session.running_tools == ("hours",)
    play.upstream(type="response.done", event_id="e", response=response)
    sent = play.session.tool_finished(run, "8 to 18")

    events = [json.loads(command.message) for command in sent if isinstance(command, Send)]
    check_client_events(events)
    assert [event["type"] for event in events] == ["conversation.item.create", "response.create"]
    assert events[1]["response"] == {"modalities": ["text"]}


# The number of translations.


@dataclass
class Counting:
    """A dialect that counts its translated messages."""

    dialect: Dialect
    translated: int = 0

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        messages = self.dialect.inward(raw)
        self.translated += messages[0] is not raw
        return messages

    def outward(self, raw: bytes) -> bytes | None:
        message = self.dialect.outward(raw)
        self.translated += message is not raw
        return message


PLACE = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
MESSAGES: list[tuple[Side, Json, int]] = [
    (Side.CLIENT, {"type": "input_audio_buffer.append", "audio": "AAAA"}, 0),
    (Side.CLIENT, {"type": "response.cancel"}, 0),
    (Side.CLIENT, {"type": "response.create", "response": {"metadata": {"a": "b"}}}, 2),
    (Side.UPSTREAM, {"type": "response.audio.delta", "event_id": "e", "delta": "AA==", **PLACE}, 2),
    (Side.UPSTREAM, {"type": "response.text.delta", "event_id": "e", "delta": "Hi", **PLACE}, 2),
    (Side.UPSTREAM, {"type": "input_audio_buffer.cleared", "event_id": "e"}, 1),
]


@pytest.mark.parametrize(("side", "event", "translations"), MESSAGES)
def test_a_message_between_two_beta_peers_has_at_most_two_translations(
    side: Side, event: Json, translations: int
) -> None:
    client, upstream = Counting(BetaClient()), Counting(BetaUpstream())
    play = start(client=client, upstream=upstream)

    passed = play.receive(side, json.dumps(event).encode())

    goes_to = {Side.CLIENT: to_upstream, Side.UPSTREAM: to_client}[side]
    assert [answer for answer in passed if isinstance(answer, tuple)] == [goes_to(**event)]
    assert client.translated + upstream.translated == translations
