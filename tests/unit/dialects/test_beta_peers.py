"""Messages of peers that use the beta interface: which pass as the same bytes, and which change."""

import json
from typing import Any

import hostile
import pytest
from beta import EACH_KIND, GA_SERVER_EVENTS, SERVER_EVENTS, check_server_events, objects
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidEvent
from relay.core.events import (
    MAX_SERVER_DEPTH,
    MAX_SERVER_VALUES,
    decode_client,
    decode_server,
    encode,
)
from relay.core.messages import Binary
from relay.core.recent import MAX_IDS
from relay.dialects.beta.events import ServerUp, server_down
from relay.dialects.beta.peers import FROM_CLIENT, SAME_FROM_UPSTREAM, BetaClient, BetaUpstream
from relay.dialects.beta.vocabulary import client_events

Json = dict[str, Any]

APPEND = b'{"type":"input_audio_buffer.append","audio":"AAAA"}'
PLACE = '"response_id":"r","item_id":"i","output_index":0,"content_index":0'
GA_DELTA = (
    f'{{"type":"response.output_audio.delta","event_id":"e",{PLACE},"delta":"AAAA"}}'.encode()
)
BETA_DELTA = GA_DELTA.replace(b"output_audio", b"audio")


def decoded(*messages: bytes | None) -> list[Json]:
    return [json.loads(message) for message in messages if message is not None]


# Messages of a client.


@pytest.mark.parametrize(
    "raw",
    [
        APPEND,
        b'{"audio": "AAAA", "event_id": "e", "type": "input_audio_buffer.append"}',
        b'{"type":"response.cancel"}',
        b'{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":1}',
    ],
)
def test_a_message_that_is_the_same_in_both_passes_as_the_same_bytes(raw: bytes) -> None:
    assert BetaClient().inward(raw)[0] is raw
    assert BetaUpstream().outward(raw) is raw


UNREADABLE = [
    b'{"type":"session.update","session":{},"session":{"voice":"ash"}}',
    b'{"type":"session.update","session":{"voice":NaN}}',
    b'{"type":"session.update","session":{"voice":1e999}}',
    b'{"type":"session.update","Type":"x"}',
    rb'{"type":"session.update","session":{"voice":"\ud800"}}',
    b'{"type":"session.update","a":' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"type":"session.update"',
    b"[]",
    b"",
]


@pytest.mark.parametrize("raw", UNREADABLE)
def test_an_ambiguous_message_passes_to_the_session_as_the_same_bytes(raw: bytes) -> None:
    (inward,) = BetaClient().inward(raw)

    assert inward is raw


@pytest.mark.parametrize("data", [b'{"type":"session.update","session":{"voice":"ash"}}', b"\0\1"])
def test_a_binary_message_passes_unchanged(data: bytes) -> None:
    """The session decides whether it is audio. No event of the session is binary."""
    raw = Binary(data)

    assert BetaClient().inward(raw)[0] is raw
    assert BetaClient().outward(raw) is raw
    assert BetaUpstream().inward(raw)[0] is raw


def test_binary_audio_of_a_client_goes_to_a_beta_upstream() -> None:
    raw = Binary(b"\0\1")

    assert BetaUpstream().outward(raw) is raw


@given(hostile.messages)
def test_only_an_unambiguous_message_is_translated(raw: bytes) -> None:
    (inward,) = BetaClient().inward(raw)

    try:
        kind = decode_client(raw)["type"]
    except InvalidEvent:
        kind = None
    assert (inward is not raw) == (kind in FROM_CLIENT)
    assert inward is raw or decode_client(inward)["type"] in FROM_CLIENT


def test_the_translated_client_events_are_those_with_a_shape() -> None:
    assert set(client_events()) == FROM_CLIENT


def test_the_answer_to_an_update_has_the_name_of_the_update() -> None:
    client = BetaClient()
    updated = {"type": "session.updated", "event_id": "e", "session": {"type": "transcription"}}

    def answer(kind: str) -> str:
        client.inward(json.dumps({"type": kind, "session": {}}).encode())
        (sent,) = decoded(client.outward(json.dumps(updated).encode()))
        check_server_events([sent])
        return str(sent["type"])

    assert answer("session.update") == "session.updated"
    assert answer("transcription_session.update") == "transcription_session.updated"
    assert answer("response.create") == "transcription_session.updated"


# Messages for a client.


def test_audio_gets_another_name_and_no_other_change() -> None:
    assert BetaClient().outward(GA_DELTA) == BETA_DELTA
    assert BetaUpstream().inward(BETA_DELTA) == (GA_DELTA,)


ODD_AUDIO: list[tuple[bytes, list[Json]]] = [
    (GA_DELTA.replace(b'"AAAA"', b"5"), []),
    (GA_DELTA.replace(b'"i"', b"5"), []),
    (GA_DELTA.replace(b'"content_index":0,', b""), decoded(BETA_DELTA)),
    (GA_DELTA.replace(b'"event_id"', b'"sample_rate":8000,"event_id"'), decoded(BETA_DELTA)),
    (GA_DELTA[:-1] + b',"type":"x"}', []),
    (json.dumps(dict(reversed(json.loads(GA_DELTA).items()))).encode(), decoded(BETA_DELTA)),
    (b'{"type":"response.output_audio.delta"}', []),
    (b'{"type":"response.output_audio.delta"', []),
    (GA_DELTA.replace(b'"e"', b'"\xff"'), []),
]


@pytest.mark.parametrize(("raw", "sent"), ODD_AUDIO)
def test_audio_in_another_form_is_sent_if_the_types_have_it(raw: bytes, sent: list[Json]) -> None:
    assert decoded(BetaClient().outward(raw)) == sent


@given(objects(GA_SERVER_EVENTS["response.output_audio.delta"]))
def test_both_translations_of_audio_have_the_same_result(event: Json) -> None:
    for ordered in ({"type": event["type"], **event}, {**event, "type": event.pop("type")}):
        raw = json.dumps(ordered).encode()

        assert decoded(BetaClient().outward(raw)) == [server_down(ordered)]


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_a_client_receives_nothing_that_is_not_an_event(raw: bytes) -> None:
    assert BetaClient().outward(raw) is None


@pytest.mark.parametrize(
    "kind",
    ["relay.usage", "response.created.v2", "conversation.item.done", "mcp_list_tools.failed"],
)
def test_a_client_receives_no_event_that_the_types_do_not_have(kind: str) -> None:
    assert BetaClient().outward(json.dumps({"type": kind, "event_id": "e"}).encode()) is None


def test_a_client_that_asks_for_the_relays_own_events_receives_them() -> None:
    usage = b'{"type":"relay.usage","event_id":"relay_1","tokens":{}}'

    assert BetaClient(announces=True).outward(usage) is usage
    assert BetaClient(announces=True).outward(b'{"type":"unknown","event_id":"e"}') is None


# Messages of an upstream, and for it.


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_an_event_that_passes_as_the_same_bytes_is_the_same_in_ga(
    kind: str, data: st.DataObject
) -> None:
    event = data.draw(objects(SERVER_EVENTS[kind]))
    raw = json.dumps(event).encode()
    inward = BetaUpstream().inward(raw)

    assert decoded(*inward) == list(ServerUp().translate(event))
    assert (inward[0] is raw) == (kind in SAME_FROM_UPSTREAM)


def test_an_unknown_event_of_an_upstream_keeps_its_fields() -> None:
    event = {"type": "response.something.new", "event_id": "e", "session_field": {"voice": "ash"}}

    assert decoded(*BetaUpstream().inward(json.dumps(event).encode())) == [event]


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_a_message_that_is_not_an_event_passes_to_the_session(raw: bytes) -> None:
    assert BetaUpstream().inward(raw) == (raw,)


def test_an_event_that_is_nested_too_deep_for_ga_becomes_unreadable() -> None:
    """GA adds two levels."""

    def nested(depth: int) -> bytes:
        voice = b"[" * depth + b"]" * depth
        return b'{"type":"session.updated","session":{"voice":%b}}' % voice

    near = map(nested, range(MAX_SERVER_DEPTH - 8, MAX_SERVER_DEPTH + 8))
    decoded = [raw for raw in near if decode_server(raw) is not None]
    inward = [raw for event in decoded for raw in BetaUpstream().inward(event)]

    assert {decode_server(raw) is None for raw in inward} == {True, False}
    assert not any(isinstance(raw, Binary) for raw in inward), "the session could take it for audio"


def test_an_upstream_receives_only_parts_that_it_can_read() -> None:
    upstream = BetaUpstream(extra_session_fields=("smooth_output",))
    session = b'{"type":"realtime","output_modalities":["text"],"smooth_output":true}'
    update = b'{"type":"session.update","session":%b}' % session
    approval = b'{"type":"conversation.item.create","item":{"type":"mcp_approval_response"}}'

    assert decoded(upstream.outward(update)) == [
        {"type": "session.update", "session": {"modalities": ["text"], "smooth_output": True}}
    ]
    assert upstream.outward(approval) is None


def test_an_event_of_an_upstream_with_too_many_values_is_left_to_the_session() -> None:
    raw = b'{"type":"response.done","response":[' + b"{}," * MAX_SERVER_VALUES + b"1]}"

    assert BetaUpstream().inward(raw) == (raw,)


def test_an_upstream_that_completes_nothing_is_remembered_up_to_a_limit() -> None:
    upstream = BetaUpstream()
    for number in range(2 * MAX_IDS):
        item = {"type": "function_call", "id": f"item_{number}", "status": "in_progress"}
        upstream.inward(encode({"type": "conversation.item.created", "item": item}))
        upstream.inward(encode({"type": "response.output_item.added", "item": item}))

    assert len(upstream._server._incomplete) <= MAX_IDS
    assert len(upstream._server._call_names) <= MAX_IDS
