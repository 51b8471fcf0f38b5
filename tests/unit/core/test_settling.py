"""The end of a session at the upstream: events that are cancelled, awaited, read and estimated."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from playbook import PERSONA, Answer, Play, _readable, start, to_upstream

from relay.core.commands import End, Record, Send, Side
from relay.core.errors import SessionExpired
from relay.core.events import MAX_SERVER_VALUES
from relay.core.messages import Binary
from relay.core.meter import MAX_UNDERWAY, MAX_UNTRANSCRIBED
from relay.core.policy import Policy
from relay.core.pricing import Price, Prices
from relay.core.reports import Report
from relay.core.settling import SETTLE_SECONDS
from relay.core.tokens import Tokens
from relay.dialects.beta.peers import BetaUpstream

DAY = date(2020, 1, 1)
LEFT = End("client", "completed", 1000, 1000, "client closed")
LOST = End("upstream", "upstream_lost", 1011, 1000, "")

DETECTING = PERSONA | {
    "audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": None}}
}
"""A session in which the upstream answers each turn, and transcribes none."""

USAGE = {
    "input_token_details": {
        "text_tokens": 40,
        "audio_tokens": 20,
        "image_tokens": 5,
        "cached_tokens_details": {"text_tokens": 30, "audio_tokens": 10, "image_tokens": 5},
    },
    "output_token_details": {"text_tokens": 7, "audio_tokens": 3},
}

CREATED = {"type": "response.created", "response": {"id": "resp_1"}}
DONE = {"type": "response.done", "response": {"id": "resp_1", "usage": USAGE}}
SECOND = {"type": "response.output_audio.delta", "delta": "A" * 10_668}  # 8,001 bytes of G.711
FOUR_CHARS = {"type": "response.output_text.delta", "delta": "\u00e9\u00e9\u00e9\u00e9"}
COMMITTED = {"type": "input_audio_buffer.committed", "item_id": "item_1"}
MINUTE: dict[str, Any] = {"type": "input_audio_buffer.append", "audio": "AAAA" * (60 * 16_000)}


def settle(play: Play, end: End = LEFT) -> list[Answer]:
    """End the session; return the commands that follow."""
    return [_readable(command) for command in play.session.settle(end, play.now)]


def is_settled(play: Play) -> bool:
    """Return whether nothing more is awaited."""
    return play.session.settling.is_settled


def late(play: Play, **event: Any) -> list[Answer]:
    """Receive an event of the upstream after the end; return the commands for the upstream."""
    commands = play.session.record_late(json.dumps(event).encode(), play.now)
    play.recorded += [command.report for command in commands if isinstance(command, Record)]
    return [_readable(command) for command in commands if not isinstance(command, Record)]


def cut_off(play: Play) -> list[Report]:
    """Return the estimated reports."""
    commands = play.session.record_cut_off(play.now)
    return [command.report for command in commands if isinstance(command, Record)]


def cancel(number: int, **response: str) -> Answer:
    event_id = f"relay_unguessable_cancel_{number}"
    return to_upstream(type="response.cancel", event_id=event_id, **response)


def test_a_session_with_nothing_in_progress_is_settled_at_once() -> None:
    play = start()
    play.client(type="response.create")
    play.upstream(**CREATED)
    play.upstream(**DONE)
    assert not is_settled(play)

    assert settle(play) == []
    assert is_settled(play)
    assert cut_off(play) == []


def test_a_response_in_progress_is_cancelled_and_its_report_awaited() -> None:
    play = start()
    play.upstream(**CREATED)
    play.now = 7.0

    assert settle(play) == [cancel(1, response_id="resp_1")]
    assert play.session.settling.deadline == 7.0 + SETTLE_SECONDS
    assert not is_settled(play)

    assert late(play, **DONE) == []
    assert is_settled(play)
    assert [(report.status, report.estimated) for report in play.recorded] == [("other", False)]
    assert late(play, **DONE) == []
    assert len(play.recorded) == 1
    assert cut_off(play) == []


def test_an_upstream_that_is_lost_is_not_awaited_and_its_response_is_estimated() -> None:
    play = start()
    play.upstream(**CREATED)

    assert settle(play, LOST) == []
    assert is_settled(play)
    assert [report.status for report in cut_off(play)] == ["cut_off"]


def test_a_report_with_too_many_values_after_the_end_is_not_read() -> None:
    play = start()
    play.upstream(**CREATED)
    settle(play)

    assert late(play, **DONE, a=[0] * MAX_SERVER_VALUES) == []
    assert not is_settled(play)
    assert [report.status for report in cut_off(play)] == ["cut_off"]


def test_an_upstream_that_begins_more_than_it_reports_is_lost() -> None:
    play = start()
    for number in range(MAX_UNDERWAY):
        play.upstream(type="response.created", response={"id": f"resp_{number}"})
    (_, end) = play.upstream(type="response.created", response={"id": "one_more"})

    assert "upstream_lost" in str(end)
    assert len(cut_off(play)) == MAX_UNDERWAY + 1


def test_turns_that_an_upstream_commits_after_the_end_are_limited() -> None:
    play = start()
    play.upstream(**CREATED)
    settle(play)
    for number in range(2 * MAX_UNTRANSCRIBED):
        late(play, type="input_audio_buffer.committed", item_id=f"item_{number}")

    assert is_settled(play)
    assert len(cut_off(play)) == MAX_UNTRANSCRIBED + 2


@pytest.mark.parametrize("event", [{"type": "response.create"}, None])
def test_a_requested_response_is_cancelled_before_and_after_it_begins(
    event: dict[str, Any] | None,
) -> None:
    """Of a client, and of the relay: the greeting."""
    play = start(greeting=None if event else {})
    if event:
        play.client(**event)
    else:
        play.session.open(0.0)

    assert settle(play) == [cancel(1)]
    assert late(play, **CREATED) == [cancel(2, response_id="resp_1")]
    assert late(play, **CREATED) == []
    assert late(play, type="error", error={"event_id": "relay_unguessable_cancel_2"}) == []
    assert not is_settled(play)
    assert late(play, **DONE) == []
    assert is_settled(play)
    assert play.session.counts.upstream_errors == {}


def test_the_answer_to_a_tool_is_awaited() -> None:
    play = start(served=frozenset({"hours"}))
    play.upstream(**CREATED)
    call = {"type": "function_call", "call_id": "call_1", "name": "hours", "arguments": "{}"}
    play.upstream(type="response.output_item.done", response_id="resp_1", item=call)
    play.upstream(**DONE)
    (tool,) = play.session._state.calls.running
    assert tool == "hours"
    finished = play.session._state.calls.finish("call_1", "from 8 to 5")
    request = json.loads(finished[-1].message) if isinstance(finished[-1], Send) else {}

    assert settle(play) == [cancel(1)]
    assert not is_settled(play)
    late(play, type="error", error={"event_id": request["event_id"], "code": "x"})
    assert is_settled(play)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "conversation_already_has_active_response"},
        {"code": "invalid_value", "event_id": "mine"},
    ],
)
def test_an_error_takes_a_request_back(error: dict[str, Any]) -> None:
    play = start()
    play.client(type="response.create", event_id="mine")
    play.upstream(type="error", error=error)

    assert settle(play) == []
    assert is_settled(play)
    assert cut_off(play) == []


@pytest.mark.parametrize("kind", ["input_audio_buffer.commit", "response.cancel"])
def test_an_error_with_the_id_of_two_events_takes_no_response_back(kind: str) -> None:
    play = start()
    play.client(type="response.create", event_id="mine")
    play.client(type=kind, event_id="mine")
    play.upstream(
        type="error", error={"code": "input_audio_buffer_commit_empty", "event_id": "mine"}
    )

    assert settle(play) == [cancel(1)]
    assert [report.report_id for report in cut_off(play)] == ["requested_1"]


def test_a_done_response_that_was_never_created_answers_the_request() -> None:
    play = start()
    play.client(type="response.create")
    play.upstream(**DONE)

    settle(play)
    assert is_settled(play)


def test_a_response_that_nothing_led_to_after_the_end_is_no_part_of_the_session() -> None:
    play = start()
    settle(play)

    assert late(play, **CREATED) == []
    assert is_settled(play)
    assert cut_off(play) == []


def test_audio_and_text_count_also_after_the_end() -> None:
    play = start(binary_audio=frozenset({Side.UPSTREAM}))
    play.client(type="response.create")
    play.upstream(**CREATED)
    for event in (SECOND, FOUR_CHARS):
        play.upstream(**event)
    settle(play)
    more: list[dict[str, Any]] = [SECOND, FOUR_CHARS, {**FOUR_CHARS, "delta": 7}]
    for event in more:
        assert late(play, **event) == []
    assert late(play, type="response.function_call_arguments.delta", delta='{"a":"b"}') == []
    assert late(play, type="response.output_text.done", text="not counted again") == []
    play.session.record_late(Binary(bytes(8_000)), 0)

    (report,) = cut_off(play)
    # 8 characters of text and 9 of arguments; 8,001 + 8,001 + 8,000 bytes of G.711.
    assert report.tokens == Tokens(output_text=5, output_audio=61)
    assert report.estimated
    assert play.session.counts.audio_seconds_to_client == pytest.approx(1, abs=0.001)


def test_binary_messages_after_the_end_are_not_audio_unless_the_upstream_sends_it_so() -> None:
    play = start()
    play.upstream(**CREATED)
    settle(play)
    play.session.record_late(Binary(bytes(8_000)), 0)

    (report,) = cut_off(play)
    assert report.tokens == Tokens()


def test_the_context_is_the_prompt_before_any_report_and_then_the_last_response() -> None:
    play = start(prompt_chars=401)
    play.upstream(**CREATED)
    play.upstream(**DONE)
    item = {"type": "message", "role": "user"}
    content = [{"type": "input_text", "text": "12345"}, {"type": "input_audio", "audio": "AAAA"}]
    play.client(type="conversation.item.create", item=item | {"content": content})
    play.client(type="response.create", response={"metadata": {"a": "bcd"}})
    settle(play)

    (second,) = cut_off(play)
    assert second.report_id == "requested_1"
    assert second.tokens == Tokens(
        input_text=40 + 7 + 2,  # 5 characters more
        input_audio=20 + 3 + 1,
        input_image=5,
    )

    play = start(prompt_chars=401)
    play.client(type="response.create")
    settle(play)
    assert [report.tokens for report in cut_off(play)] == [Tokens(input_text=101)]


def test_an_item_that_the_client_creates_again_with_its_id_is_transcribed_again() -> None:
    play = start()
    part = {"type": "input_audio", "audio": "AAAA"}
    item = {"type": "message", "role": "user", "id": "item_1", "content": [part]}
    usage = {"type": "duration", "seconds": 60}
    transcribed = "conversation.item.input_audio_transcription.completed"
    for _ in range(5):
        play.client(type="conversation.item.create", item=item)
        play.upstream(type="conversation.item.added", item=item)
        for _ in range(2):
            play.upstream(type=transcribed, item_id="item_1", usage=usage)
        play.client(type="conversation.item.delete", item_id="item_1")

    assert [report.transcription_seconds for report in play.recorded] == [60] * 5
    settle(play)
    assert is_settled(play)


def test_a_report_without_usage_leaves_its_estimate_as_the_context() -> None:
    play = start(prompt_chars=40)
    play.upstream(**CREATED)
    play.upstream(**FOUR_CHARS)
    play.upstream(type="response.done", response={"id": "resp_1"})
    play.client(type="response.create")
    settle(play)

    (report,) = play.recorded
    assert (report.unknown, report.tokens) == (True, Tokens())
    assert [report.tokens for report in cut_off(play)] == [Tokens(input_text=11)]


def test_the_output_of_a_tool_and_opened_instructions_are_text_for_the_model() -> None:
    policy = Policy(session=frozenset({("instructions",)}))
    play = start(policy, delegated=frozenset({"hours"}))
    call = {"type": "function_call", "call_id": "call_1", "name": "hours", "arguments": "{}"}
    play.upstream(type="conversation.item.done", item=call)
    output = {"type": "function_call_output", "call_id": "call_1", "output": "12345678"}
    play.client(type="conversation.item.create", item=output)
    play.client(type="session.update", session={"instructions": "1234"})
    play.client(type="response.create")

    assert [report.tokens for report in cut_off(play)] == [Tokens(input_text=3)]


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_minute_of_audio_and_a_commit_are_recorded_although_the_client_leaves(
    *, confirmed: bool
) -> None:
    play = start(session=DETECTING)
    play.client(**MINUTE)
    play.client(type="input_audio_buffer.commit")
    if confirmed:
        play.upstream(**COMMITTED)
    settle(play)

    assert not is_settled(play)
    assert [report.tokens for report in cut_off(play)] == [Tokens(input_audio=600)]


@pytest.mark.parametrize("transcribes", [False, True])
@pytest.mark.parametrize("detects", [False, True])
def test_an_unconfirmed_commit_leads_to_a_transcription_or_a_response(
    *, transcribes: bool, detects: bool
) -> None:
    turns = {
        "transcription": {"model": "whisper-1"} if transcribes else None,
        "turn_detection": {"type": "server_vad"} if detects else None,
    }
    play = start(session=PERSONA | {"audio": {"input": turns}})
    play.client(**MINUTE)
    play.client(type="input_audio_buffer.commit")
    settle(play)

    reports = {report.kind: report for report in cut_off(play)}
    assert ("transcription" in reports) == transcribes
    assert ("response" in reports) == (detects or not transcribes)
    if transcribes:
        assert reports["transcription"].transcription_seconds == 60
        assert reports["transcription"].report_id == "requested_1/0"


def test_a_commit_that_is_confirmed_and_leads_to_nothing_costs_nothing() -> None:
    turns = {"transcription": None, "turn_detection": None}
    play = start(session=PERSONA | {"audio": {"input": turns}})
    play.client(type="input_audio_buffer.commit")
    assert not is_settled(play)
    settle(play)
    late(play, **COMMITTED)

    assert is_settled(play)
    assert cut_off(play) == []


@pytest.mark.parametrize(
    ("detection", "is_answered"),
    [
        ({"type": "server_vad"}, True),
        ({"type": "semantic_vad", "create_response": True}, True),
        ({"type": "server_vad", "create_response": False}, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("kind", ["input_audio_buffer.speech_stopped", COMMITTED["type"]])
def test_the_end_of_a_turn_leads_to_a_response_if_the_upstream_creates_it(
    detection: dict[str, Any] | None, *, is_answered: bool, kind: str
) -> None:
    turns = {"transcription": None, "turn_detection": detection}
    play = start(session=PERSONA | {"audio": {"input": turns}})
    play.upstream(type=kind, item_id="item_1")

    settle(play)
    assert is_settled(play) != is_answered
    if is_answered:
        assert late(play, **CREATED) == [cancel(2, response_id="resp_1")]
        late(play, **DONE)
    assert is_settled(play)
    assert cut_off(play) == []


def test_a_session_that_only_transcribes_requests_no_response() -> None:
    session = {"type": "transcription", **DETECTING}
    play = start(Policy(session_type="transcription"), session=session, transcriber="whisper-1")
    play.client(type="input_audio_buffer.commit")

    assert settle(play) == []
    assert not is_settled(play)
    assert [report.kind for report in cut_off(play)] == []


def test_a_transcription_in_progress_is_awaited() -> None:
    play = start()
    play.client(type="input_audio_buffer.commit")
    assert settle(play) == []
    late(play, **COMMITTED)
    assert not is_settled(play)
    done = "conversation.item.input_audio_transcription.completed"
    late(play, type=done, item_id="item_1", usage={"type": "duration", "seconds": 3})

    assert is_settled(play)
    assert [report.transcription_seconds for report in play.recorded] == [3]


def test_a_transcription_whose_commit_no_event_has_shown_answers_the_commit() -> None:
    play = start()
    play.client(type="input_audio_buffer.commit")
    settle(play)
    failed = "conversation.item.input_audio_transcription"
    late(play, type=f"{failed}.completed", item_id="item_1", usage=None)

    assert is_settled(play)
    assert [report.unknown for report in play.recorded] == [True]


def test_a_request_that_the_relay_takes_over_is_not_a_second_one() -> None:
    """The client asks for the answer that follows the tools, and the relay has asked for it."""
    play = start(served=frozenset({"hours"}), delegated=frozenset({"map"}))
    play.upstream(**CREATED)
    for call_id, name in (("call_1", "hours"), ("call_2", "map")):
        call = {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}
        play.upstream(type="response.output_item.done", response_id="resp_1", item=call)
    play.upstream(**DONE)
    output = {"type": "function_call_output", "call_id": "call_2", "output": "a map"}
    play.client(type="conversation.item.create", item=output)
    assert play.client(type="response.create") == []

    assert settle(play) == []
    assert is_settled(play)


def test_a_beta_upstream_is_cancelled_and_awaited_too() -> None:
    play = start(upstream=BetaUpstream())
    play.upstream(**CREATED)

    assert settle(play) == [cancel(1, response_id="resp_1")]
    late(play, **DONE)
    assert is_settled(play)


def test_an_error_of_the_relay_ends_a_session_that_is_settled_too() -> None:
    play = start()
    play.upstream(**CREATED)
    (end,) = play.session.end(SessionExpired())
    assert isinstance(end, End)

    assert settle(play, end) == [cancel(1, response_id="resp_1")]


PRICED = Prices(
    (
        Price("gpt-realtime-2.1", DAY, {"input_text": Decimal(4), "output_text": Decimal(24)}),
        Price("whisper-1", DAY, {}, Decimal("0.006")),
    )
)


def test_the_cost_of_everything_that_is_outstanding_is_held_until_it_is_reported() -> None:
    play = start(prices=PRICED, prompt_chars=4000)
    assert play.session.outstanding_usd(0) == 0
    play.upstream(**CREATED)
    play.upstream(**FOUR_CHARS | {"delta": "four" * 1000})
    play.client(type="response.create")
    play.client(**MINUTE)
    play.client(type="input_audio_buffer.commit")

    # The prompt and the words; the prompt and the audio at the highest price; the transcription.
    response, request = Decimal("0.028"), Decimal("0.004") + 600 * Decimal("0.000024")
    minute = Decimal("0.006")
    assert play.session.outstanding_usd(0) == response + request + minute
    settle(play)
    assert sum(report.charge_usd for report in cut_off(play)) == response + request + minute
    assert play.session.outstanding_usd(0) == 0


def test_without_a_price_nothing_is_outstanding() -> None:
    play = start()
    play.upstream(**CREATED)
    play.upstream(**COMMITTED)

    assert play.session.outstanding_usd(0) == 0


def test_a_commit_without_a_transcription_is_outstanding_as_a_response() -> None:
    rates = {"input_audio": Decimal(32)}
    prices = Prices((Price("gpt-realtime-2.1", DAY, rates),))
    play = start(session=DETECTING, prices=prices)
    play.client(**MINUTE)
    play.client(type="input_audio_buffer.commit")

    assert play.session.outstanding_usd(0) == Decimal("0.0192")
