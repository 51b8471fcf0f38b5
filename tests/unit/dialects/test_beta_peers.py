"""Messages of peers that speak the beta interface: what passes as it came, and what does not."""

import bisect
import json
from typing import Any

import hostile
import pytest
from beta import EACH_KIND, GA_SERVER_EVENTS, SERVER_EVENTS, check_told, objects
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidEvent
from relay.core.events import Binary, decode_client, decode_server, peek
from relay.dialects.beta.events import ServerUp, server_down
from relay.dialects.beta.peers import FROM_CLIENT, SAME_FROM_UPSTREAM, BetaClient, BetaUpstream
from relay.dialects.beta.vocabulary import CLIENT_EVENTS

Json = dict[str, Any]

APPEND = b'{"type":"input_audio_buffer.append","audio":"AAAA"}'
PLACE = '"response_id":"r","item_id":"i","output_index":0,"content_index":0'
GA_DELTA = (
    f'{{"type":"response.output_audio.delta","event_id":"e",{PLACE},"delta":"AAAA"}}'.encode()
)
BETA_DELTA = GA_DELTA.replace(b"output_audio", b"audio")


def said(*messages: bytes | None) -> list[Json]:
    return [json.loads(message) for message in messages if message is not None]


# What a client says.


@pytest.mark.parametrize(
    "raw",
    [
        APPEND,
        b'{"audio": "AAAA", "event_id": "e", "type": "input_audio_buffer.append"}',
        b'{"type":"response.cancel"}',
        b'{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":1}',
    ],
)
def test_what_is_the_same_in_both_passes_as_the_bytes_it_came_in(raw: bytes) -> None:
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
def test_what_can_be_read_in_two_ways_goes_to_the_session_as_it_came(raw: bytes) -> None:
    (heard,) = BetaClient().inward(raw)

    assert heard is raw


@pytest.mark.parametrize("data", [b'{"type":"session.update","session":{"voice":"ash"}}', b"\0\1"])
def test_a_binary_message_passes_as_it_is(data: bytes) -> None:
    """Whether it is audio, the session decides; no event of its own is binary."""
    raw = Binary(data)

    assert BetaClient().inward(raw)[0] is raw
    assert BetaClient().outward(raw) is raw
    assert BetaUpstream().inward(raw)[0] is raw


def test_binary_audio_of_a_client_goes_to_a_beta_upstream() -> None:
    raw = Binary(b"\0\1")

    assert BetaUpstream().outward(raw) is raw


@given(hostile.messages)
def test_what_is_translated_could_be_read_in_one_way(raw: bytes) -> None:
    (heard,) = BetaClient().inward(raw)

    try:
        kind = decode_client(raw)["type"]
    except InvalidEvent:
        kind = None
    assert (heard is not raw) == (kind in FROM_CLIENT)
    assert heard is raw or decode_client(heard)["type"] in FROM_CLIENT


def test_the_types_that_are_translated_are_those_with_a_shape() -> None:
    assert set(CLIENT_EVENTS) == FROM_CLIENT


def test_an_update_is_answered_under_the_name_that_was_asked_by() -> None:
    client = BetaClient()
    updated = {"type": "session.updated", "event_id": "e", "session": {"type": "transcription"}}

    def answer(kind: str) -> str:
        client.inward(json.dumps({"type": kind, "session": {}}).encode())
        (told,) = said(client.outward(json.dumps(updated).encode()))
        check_told([told])
        return str(told["type"])

    assert answer("session.update") == "session.updated"
    assert answer("transcription_session.update") == "transcription_session.updated"
    assert answer("response.create") == "transcription_session.updated"


# What a client is told.


def test_audio_gets_another_name_and_no_more() -> None:
    assert BetaClient().outward(GA_DELTA) == BETA_DELTA
    assert BetaUpstream().inward(BETA_DELTA) == (GA_DELTA,)


ODD_AUDIO: list[tuple[bytes, list[Json]]] = [
    (GA_DELTA.replace(b'"AAAA"', b"5"), []),
    (GA_DELTA.replace(b'"i"', b"5"), []),
    (GA_DELTA.replace(b'"content_index":0,', b""), said(BETA_DELTA)),
    (GA_DELTA.replace(b'"event_id"', b'"sample_rate":8000,"event_id"'), said(BETA_DELTA)),
    (GA_DELTA[:-1] + b',"type":"x"}', []),
    (json.dumps(dict(reversed(json.loads(GA_DELTA).items()))).encode(), said(BETA_DELTA)),
    (b'{"type":"response.output_audio.delta"}', []),
    (b'{"type":"response.output_audio.delta"', []),
    (GA_DELTA.replace(b'"e"', b'"\xff"'), []),
]


@pytest.mark.parametrize(("raw", "told"), ODD_AUDIO)
def test_audio_in_another_form_is_told_as_far_as_it_can_be(raw: bytes, told: list[Json]) -> None:
    assert said(BetaClient().outward(raw)) == told


@given(objects(GA_SERVER_EVENTS["response.output_audio.delta"]))
def test_the_short_way_of_audio_leads_where_the_long_one_does(event: Json) -> None:
    for ordered in ({"type": event["type"], **event}, {**event, "type": event.pop("type")}):
        raw = json.dumps(ordered).encode()

        assert said(BetaClient().outward(raw)) == [server_down(ordered)]


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_not_told(raw: bytes) -> None:
    assert BetaClient().outward(raw) is None


@pytest.mark.parametrize(
    "kind",
    ["relay.usage", "response.created.v2", "conversation.item.done", "mcp_list_tools.failed"],
)
def test_what_the_types_do_not_know_is_not_told(kind: str) -> None:
    assert BetaClient().outward(json.dumps({"type": kind, "event_id": "e"}).encode()) is None


def test_the_events_of_the_relay_are_told_to_whoever_asked_for_them() -> None:
    usage = b'{"type":"relay.usage","event_id":"relay_1","tokens":{}}'

    assert BetaClient(announces=True).outward(usage) is usage
    assert BetaClient(announces=True).outward(b'{"type":"unknown","event_id":"e"}') is None


# What an upstream says, and is told.


@pytest.mark.parametrize("kind", sorted(SERVER_EVENTS))
@EACH_KIND
@given(data=st.data())
def test_what_passes_from_an_upstream_as_it_came_is_the_same_in_ga(
    kind: str, data: st.DataObject
) -> None:
    event = data.draw(objects(SERVER_EVENTS[kind]))
    raw = json.dumps(event).encode()
    heard = BetaUpstream().inward(raw)

    assert said(*heard) == list(ServerUp().say(event))
    assert (heard[0] is raw) == (kind in SAME_FROM_UPSTREAM)


def test_what_an_upstream_says_that_nobody_knows_keeps_its_fields() -> None:
    event = {"type": "response.something.new", "event_id": "e", "session_field": {"voice": "ash"}}

    assert said(*BetaUpstream().inward(json.dumps(event).encode())) == [event]


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"type":1}', b"\xff", b"[" * 100_000])
def test_what_is_no_event_goes_to_the_session(raw: bytes) -> None:
    assert BetaUpstream().inward(raw) == (raw,)


def test_what_is_too_deep_to_be_written_in_ga_cannot_be_read() -> None:
    """Near the deepest that can be decoded, the two levels more of GA cannot be encoded."""

    def nested(depth: int) -> bytes:
        voice = b"[" * depth + b"]" * depth
        return b'{"type":"session.updated","session":{"voice":%b}}' % voice

    deepest = bisect.bisect(range(10**6), 0, key=lambda n: decode_server(nested(n)) is None)
    # From Python 3.12 on, bisect uses some of the depth that a decoder has: the deepest is deeper.
    near = map(nested, range(deepest - 8, deepest + 8))
    decoded = [raw for raw in near if decode_server(raw) is not None]
    heard = [said for raw in decoded for said in BetaUpstream().inward(raw)]

    assert {peek(said) is None for said in heard} == {True, False}
    assert not any(isinstance(said, Binary) for said in heard), "that could pass for audio"


def test_an_upstream_is_told_what_it_can_read() -> None:
    upstream = BetaUpstream(extra_session_fields=("smooth_output",))
    session = b'{"type":"realtime","output_modalities":["text"],"smooth_output":true}'
    update = b'{"type":"session.update","session":%b}' % session
    approval = b'{"type":"conversation.item.create","item":{"type":"mcp_approval_response"}}'

    assert said(upstream.outward(update)) == [
        {"type": "session.update", "session": {"modalities": ["text"], "smooth_output": True}}
    ]
    assert upstream.outward(approval) is None
