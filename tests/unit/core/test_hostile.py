"""Properties that hold for any message of a peer, and for any JSON parser of the upstream."""

import json
import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import hostile
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playbook import Play, start

from relay.core.commands import End, Send, Side
from relay.core.messages import Binary
from relay.core.policy import OPEN_IN, Policy
from relay.core.server_events import REACTIONS
from relay.dialects.beta.peers import BetaClient, BetaUpstream
from relay.dialects.beta.vocabulary import server_events
from relay.dialects.translated import Dialect, Ga

Pairs = list[tuple[str, Any]]
Reader = Callable[[bytes], Any]

GENEROUS = Policy(
    session=frozenset({("audio", "output", "voice"), ("max_output_tokens",)}),
    response=frozenset({("output_modalities",)}),
)
TRANSCRIBING = Policy("transcription")


def _ascii_lower(key: str) -> str:
    return "".join(chr(ord(c) | 0x20) if "A" <= c <= "Z" else c for c in key)


def _reader(
    spell: Callable[[str], str], order: Callable[[Pairs], Iterable[tuple[str, Any]]]
) -> Reader:
    """Return a parser that compares keys by their spelling, and uses the last of equal keys."""

    def choose(pairs: Pairs) -> dict[str, Any]:
        return {spell(key): value for key, value in order(pairs)}

    return lambda raw: json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=choose)


READERS: dict[str, Reader] = {
    f"{spelling}, {wins} key wins": _reader(spell, order)
    for spelling, spell in (
        ("exact", lambda key: key),
        ("casefold", str.casefold),
        ("ASCII without case", _ascii_lower),
        ("cut at NUL", lambda key: key.split("\0")[0]),
    )
    for wins, order in (("last", iter), ("first", reversed))
}
"""The ways in which JSON parsers choose between keys."""


def readings(raw: bytes) -> list[dict[str, Any]]:
    """Return the event that each parser reads in a message."""
    return [read(raw) for read in READERS.values()]


def scanned_type(raw: bytes) -> str:
    """Return the first type in the text, which a proxy could read."""
    found = re.search(rb'"type"\s*:\s*"([^"]*)"', raw)
    assert found
    return found[1].decode()


def a_conversation(policy: Policy, new_client: Callable[[], Dialect]) -> Play:
    """Return a session whose client knows an item and a call."""
    play = start(policy, max_blocked_events=10**6, client=new_client())
    play.upstream(type="conversation.item.added", item={"id": "item_1", "type": "message"})
    play.upstream(type="response.function_call_arguments.done", call_id="call_1")
    return play


def is_harmless(event: dict[str, Any], policy: Policy) -> bool:
    """Return whether an event has only fields that this policy opens: a second implementation."""
    session, response = event.get("session", {}), event.get("response", {})
    item = event.get("item", {"type": "message", "role": "user", "content": []})
    opened_session = {"type"} | {path[0] for path in policy.session}
    opened_response = {"metadata"} | {path[0] for path in policy.response}
    return (
        event["type"] in OPEN_IN[policy.session_type]
        and event.keys()
        <= {"type", "event_id", "session", "response", "item", "audio", "item_id", "response_id"}
        | {"content_index", "audio_end_ms"}
        and session.keys() <= opened_session
        and response.keys() <= opened_response
        and (
            (item["type"], item.get("role")) == ("message", "user")
            or (item["type"] == "function_call_output" and item["call_id"] == "call_1")
        )
        and item.keys() <= {"type", "id", "role", "content", "call_id", "output"}
    )


CLIENTS: tuple[Callable[[], Dialect], ...] = (Ga, BetaClient)
PAIRS = list(product(CLIENTS, (Ga, BetaUpstream)))


def check_sent(raw: bytes, policy: Policy) -> None:
    for new_client in CLIENTS:
        check_sent_by(new_client, raw, policy)


def check_sent_by(new_client: Callable[[], Dialect], raw: bytes, policy: Policy) -> None:
    commands = a_conversation(policy, new_client).session.receive(Side.CLIENT, raw, 1.0)
    sent = [c.message for c in commands if isinstance(c, Send) and c.to is Side.UPSTREAM]
    for message in sent:
        read = readings(message)
        assert all(is_harmless(event, policy) for event in read)
        assert {event["type"] for event in read} == {scanned_type(message)}
        if message is raw:
            assert all(event == read[0] for event in read)
            assert read[0].keys() - {"event_id"} == {"type", "audio"}
            assert read[0]["type"] == "input_audio_buffer.append"


@pytest.mark.parametrize("raw", hostile.CORPUS, ids=lambda raw: repr(raw[:60]))
def test_every_parser_reads_a_known_trick_in_the_same_way(raw: bytes) -> None:
    check_sent(raw, Policy())
    check_sent(raw, GENEROUS)
    check_sent(raw, TRANSCRIBING)


@given(hostile.messages, st.sampled_from([Policy(), GENEROUS, TRANSCRIBING]))
def test_every_parser_reads_only_open_events(raw: bytes, policy: Policy) -> None:
    check_sent(raw, policy)


@given(hostile.near_appends())
def test_every_parser_reads_the_same_bytes_as_an_append(raw: bytes) -> None:
    check_sent(raw, Policy())


def test_the_properties_are_not_empty() -> None:
    """Messages of the strategies reach the upstream, as the same bytes and encoded again."""
    sent = {True: 0, False: 0}

    @given(hostile.messages)
    def count(raw: bytes) -> None:
        for command in a_conversation(GENEROUS, Ga).session.receive(Side.CLIENT, raw, 1.0):
            if isinstance(command, Send) and command.to is Side.UPSTREAM:
                sent[command.message is raw] += 1

    count()

    assert min(sent.values()) > 0


@pytest.mark.parametrize("raw", hostile.CORPUS, ids=lambda raw: repr(raw[:60]))
@pytest.mark.parametrize("side", Side)
def test_no_known_trick_breaks_the_session(raw: bytes, side: Side) -> None:
    for client, upstream in PAIRS:
        play = start(session={}, client=client(), upstream=upstream())

        for message in (raw, Binary(raw)):
            play.session.receive(side, message, 1.0)
        play.session.tick(2.0)


_KINDS = sorted({*REACTIONS, *server_events()})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Side),
            hostile.messages
            | hostile.server_events
            | st.builds(
                lambda kind, name, value: f'{{"type":"{kind}","{name}":{value}}}'.encode(
                    "utf-8", "replace"
                ),
                st.sampled_from([*_KINDS, "response.output_audio.delta"]),
                st.sampled_from(
                    ["session", "response", "item", "item_id", "error", "usage", "delta", "call_id"]
                ),
                hostile.anything,
            ),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from(PAIRS),
)
def test_no_message_of_a_side_breaks_the_session(
    lines: list[tuple[Side, bytes, bool]],
    speaking: tuple[Callable[[], Dialect], Callable[[], Dialect]],
) -> None:
    client, upstream = speaking
    play = start(client=client(), upstream=upstream())

    for now, (side, raw, binary) in enumerate(lines):
        play.session.receive(side, Binary(raw) if binary else raw, float(now))
        play.session.tick(float(now))


@pytest.mark.parametrize("kind", hostile.SERVER_EVENTS)
@given(data=st.data(), speaking=st.sampled_from(PAIRS))
def test_no_server_event_reveals_the_persona_or_the_account(
    kind: str,
    data: st.DataObject,
    speaking: tuple[Callable[[], Dialect], Callable[[], Dialect]],
) -> None:
    raw = data.draw(hostile.SERVER_EVENTS[kind])
    client, upstream = speaking
    play = start(client=client(), upstream=upstream())

    for command in play.session.receive(Side.UPSTREAM, raw, 1.0):
        sent = command.message if isinstance(command, Send) else b""
        assert b"PLANTED" not in sent
        assert not isinstance(command, End)
