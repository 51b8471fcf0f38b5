"""The commands of a session for each client event, server event and deadline."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from playbook import PERSONA, SHOWN, Refusal, start, to_client, to_upstream

from relay.core.commands import End, ObserveFirstAudio, Pause, Record, Send, Side
from relay.core.errors import (
    EventNotAllowed,
    InvalidEvent,
    MessageTooBig,
    RelayDraining,
    SlowClient,
    UpstreamLost,
)
from relay.core.messages import Binary
from relay.core.policy import Policy
from relay.core.pricing import Price, Prices
from relay.core.reports import Report
from relay.core.tokens import TOKEN_KINDS, Tokens

SECOND_TO_UPSTREAM = {"type": "input_audio_buffer.append", "audio": "AAAA" * 16_000}
SECOND_TO_CLIENT = {"type": "response.output_audio.delta", "delta": "AAAA" * 2666 + "AAA="}
CREATE = {"type": "response.create"}
IDLE = "session_idle"
ONE_EACH = dict.fromkeys(TOKEN_KINDS, Decimal(1))
PRICES = Prices(
    (
        Price("gpt-*", date(2026, 1, 1), ONE_EACH),
        Price("gpt-*", date(2026, 11, 24), {kind: 2 * usd for kind, usd in ONE_EACH.items()}),
        Price("whisper-1", date(2026, 1, 1), {}, usd_per_minute=Decimal("0.006")),
    )
)
"""One dollar per million tokens of each kind, and two dollars from the next day on."""


def ends(commands: Any) -> list[str]:
    return [command.outcome for command in commands if isinstance(command, End)]


# The start of a session.


def test_the_client_receives_the_confirmed_session() -> None:
    (created,) = start().session.open(0)

    assert isinstance(created, Send)
    assert created.to is Side.CLIENT
    assert json.loads(created.message) == {
        "type": "session.created",
        "event_id": "relay_1",
        "session": SHOWN,
    }


def test_the_relay_requests_the_first_response_of_a_persona_with_a_greeting() -> None:
    play = start(greeting={"response": {"instructions": "Say hello."}})

    _, asked = play.session.open(1)
    play.now = 1.5

    assert isinstance(asked, Send)
    assert asked.to is Side.UPSTREAM
    assert json.loads(asked.message) == {
        "type": "response.create",
        "event_id": "relay_unguessable_greeting",
        "response": {"instructions": "Say hello."},
    }
    assert play.upstream(**SECOND_TO_CLIENT)[1] == ObserveFirstAudio(0.5)


# Messages that pass unchanged.


def test_audio_passes_as_the_same_bytes() -> None:
    play = start()
    there = b'{ "audio":"AAAA","type":"input_audio_buffer.append" }'
    back = b'{"delta":"AAAA", "type":"response.output_audio.delta"}'

    assert play.session.receive(Side.CLIENT, there, 0) == (Send(Side.UPSTREAM, there),)
    assert play.session.receive(Side.UPSTREAM, back, 0) == (Send(Side.CLIENT, back),)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"what.is.not.known.yet", "x":[1e3]}',
        b'{"type":"response.output_text.delta","delta":"Hi","obfuscation":"x"}',
        b'{"type":"conversation.item.added", "item":{"id":"item_1","type":"message"}}',
        b'{"type":"conversation.item.deleted", "item_id":"item_1"}',
        b'{"type":"input_audio_buffer.committed", "item_id":"item_1"}',
        b'{"type":"response.created", "response":{"id":"resp_1","status":"in_progress"}}',
        b'{"type":"response.function_call_arguments.done", "call_id":"call_1"}',
    ],
)
def test_server_events_without_secrets_pass_unchanged(raw: bytes) -> None:
    assert start().session.receive(Side.UPSTREAM, raw, 0) == (Send(Side.CLIENT, raw),)


def test_an_append_with_an_escaped_type_is_encoded_again() -> None:
    play = start()
    raw = rb'{"type":"input_audio_buffer.\u0061ppend","audio":"AAAA","event_id":null,"x":1}'

    assert play.receive(Side.CLIENT, raw) == [
        to_upstream(type="input_audio_buffer.append", audio="AAAA")
    ]
    assert play.session.counts.audio_seconds_to_upstream == 3 / 48_000


# Refused events.
def test_a_refused_event_is_answered_and_counted() -> None:
    play = start()

    assert play.client(type="session.close", event_id="e1") == [Refusal("event_not_allowed", "e1")]
    assert play.client(type="response.cancel", response_id=1) == [Refusal("invalid_event")]
    assert play.receive(Side.CLIENT, Binary(b"{}")) == [Refusal("invalid_event")]
    assert play.session.counts.blocked == {
        ("other", "event_not_allowed"): 1,
        ("response.cancel", "invalid_event"): 1,
        ("other", "invalid_event"): 1,
    }


@pytest.mark.parametrize("event_id", [7, None, ["e1"], "e" * 513])
def test_a_refusal_does_not_repeat_an_invalid_event_id(event_id: Any) -> None:
    assert start().client(type="x", event_id=event_id) == [Refusal("event_not_allowed")]


def test_a_client_that_continues_to_send_refused_events_is_closed() -> None:
    play = start(max_blocked_events=2)
    answers = [play.client(type="x", event_id=f"e{n}") for n in range(3)]

    (end,) = answers.pop()

    assert answers == [
        [Refusal("event_not_allowed", "e0")],
        [Refusal("event_not_allowed", "e1")],
    ]
    assert isinstance(end, End)
    assert (end.by, end.outcome, end.client_code) == ("relay", "event_not_allowed", 1008)
    assert json.loads(end.farewell or b"") == {
        "type": "error",
        "event_id": "relay_3",
        "error": EventNotAllowed("Events of this type are not allowed here.").body()
        | {"event_id": "e2"},
    }


def test_stripped_fields_close_no_session() -> None:
    play = start(max_blocked_events=0)
    answers = [play.client(**CREATE, response={"instructions": "x"}) for _ in range(3)]

    assert answers == [[to_upstream(**CREATE)]] * 3
    assert play.session.counts.blocked == {("response.create", "field_stripped"): 3}


def test_an_event_without_stripped_fields_is_not_counted() -> None:
    play = start()
    play.client(**CREATE, event_id="e1", response={"metadata": {"a": "b"}})
    play.receive(Side.CLIENT, json.dumps(SECOND_TO_UPSTREAM).encode())

    assert not play.session.counts.blocked


# The rate of events that the relay reads.


def paused(commands: Any) -> float:
    return sum(command.seconds for command in commands if isinstance(command, Pause))


def test_a_long_event_pauses_the_client_even_if_it_is_refused() -> None:
    """The relay reads 200 events a second, and an event counts once more for each kibibyte."""
    text = "x" * 400 * 1024
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    accepted = start().client(type="conversation.item.create", item=item)
    refused = start().client(type="conversation.item.create", item=item | {"role": "system"})
    too_long = start().client(type="x", x=text * 3)

    assert paused(accepted) == paused(refused) == pytest.approx(1.0, abs=0.1)
    assert paused(too_long) == pytest.approx(5.0, abs=0.1)
    assert Refusal("invalid_event") in too_long


def test_the_audio_of_an_item_counts_as_audio_and_not_as_text() -> None:
    part = {"type": "input_audio", "audio": "AAAA" * 16_000 * 80}
    item = {"type": "message", "role": "user", "content": [part]}
    play = start()

    assert paused(play.client(type="conversation.item.create", item=item)) == 0
    assert play.session.counts.audio_seconds_to_upstream == 80.0
    assert paused(play.client(type="conversation.item.create", item=item)) == pytest.approx(20.0)


def test_an_append_in_an_unusual_notation_counts_as_audio() -> None:
    raw = rb'{"type":"input_audio_buffer.\u0061ppend","audio":"' + b"AAAA" * 16_000 * 4 + b'"}'

    assert len(start().session.receive(Side.CLIENT, raw, 0)) == 1


# Updates of the session.


def test_an_update_by_the_client_is_answered_with_the_updated_session() -> None:
    play = start(Policy(session=frozenset({("audio", "output", "voice")})))
    asked = {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
    sent = play.client(type="session.update", event_id="e1", session=asked)
    audio = PERSONA["audio"] | {"output": {"voice": "ash"}}
    received = play.upstream(
        type="session.updated", event_id="event_1", session=PERSONA | {"audio": audio}
    )

    shown = SHOWN | {"audio": SHOWN["audio"] | {"output": {"voice": "ash"}}}
    assert sent == [to_upstream(type="session.update", event_id="e1", session=asked)]
    assert received == [to_client(type="session.updated", event_id="event_1", session=shown)]
    assert play.client(type="session.update", session={"tools": []}) == [
        to_client(type="session.updated", event_id="relay_1", session=shown)
    ]


def test_an_upstream_message_that_is_no_event_ends_the_session() -> None:
    play = start()

    for raw in (b"", b"[]", b"\xff", b'{"x":1}', Binary(b'{"type":"x"}')):
        (end,) = play.session.receive(Side.UPSTREAM, raw, 0)
        assert isinstance(end, End)
        assert (end.by, end.outcome, end.client_code) == ("upstream", "upstream_lost", 1011)


# Deadlines.


def idle_at(play: Any) -> float:
    """Return the time at which the session ends as idle; check that it is its next deadline."""
    deadline: float = play.session.deadline
    assert play.session.tick(deadline - 0.001) == ()
    assert ends(play.session.tick(deadline)) == [IDLE]
    return deadline


@pytest.mark.parametrize(
    "event",
    [
        CREATE,
        {"type": "response.cancel"},
        {"type": "input_audio_buffer.commit"},
        {"type": "input_audio_buffer.clear"},
        {"type": "session.update", "session": {"instructions": "x"}},
        {
            "type": "conversation.item.create",
            "item": {"type": "message", "role": "user", "content": []},
        },
    ],
    ids=lambda event: event["type"],
)
def test_any_client_event_is_activity(event: dict[str, Any]) -> None:
    play = start()
    play.now = 100.0

    play.client(**event)

    assert idle_at(play) == 400.0


def test_an_append_is_no_activity() -> None:
    """A microphone that stays open in an empty room sends all day."""
    play = start()
    play.now = 100.0

    play.client(type="input_audio_buffer.append", audio="AAAA")
    play.client(type="input_audio_buffer.append", audio="AAAA", event_id="no fast way \\")

    assert idle_at(play) == 300.0


def test_a_refused_event_is_no_activity() -> None:
    play = start()
    play.now = 100.0

    play.client(type="x")

    assert idle_at(play) == 300.0


@pytest.mark.parametrize(
    ("kind", "until"),
    [
        ("input_audio_buffer.speech_started", 400.0),
        ("input_audio_buffer.speech_stopped", 400.0),
        ("response.created", 400.0),
        ("response.output_text.delta", 400.0),
        ("response.mcp_call.in_progress", 400.0),
        ("response.done", 400.0),
        ("conversation.item.input_audio_transcription.delta", 400.0),
        ("conversation.item.input_audio_transcription.completed", 400.0),
        ("session.updated", 300.0),
        ("input_audio_buffer.committed", 300.0),
        ("rate_limits.updated", 300.0),
        ("what.is.not.known.yet", 300.0),
    ],
)
def test_server_events_of_speech_and_responses_are_activity(kind: str, until: float) -> None:
    play = start()
    play.now = 100.0

    play.upstream(type=kind)

    assert idle_at(play) == until


def test_audio_that_is_still_playing_is_activity() -> None:
    """Audio arrives faster than it plays: 3 seconds that arrive at second 10 play until 13."""
    play = start()
    play.now = 10.0
    for _ in range(3):
        play.upstream(**SECOND_TO_CLIENT)

    assert idle_at(play) == pytest.approx(313.0, abs=0.01)


def test_audio_after_a_silence_plays_from_its_arrival() -> None:
    play = start()
    play.upstream(**SECOND_TO_CLIENT)
    play.now = 100.0
    play.upstream(**SECOND_TO_CLIENT)

    assert idle_at(play) == pytest.approx(401.0, abs=0.01)


@pytest.mark.parametrize(
    ("side", "event"),
    [
        (Side.UPSTREAM, {"type": "input_audio_buffer.speech_started"}),
        (Side.CLIENT, {"type": "response.cancel"}),
        (
            Side.CLIENT,
            {
                "type": "conversation.item.truncate",
                "item_id": "item_1",
                "content_index": 0,
                "audio_end_ms": 1,
            },
        ),
    ],
)
def test_an_interruption_ends_the_playback(side: Side, event: dict[str, Any]) -> None:
    play = start()
    play.upstream(type="conversation.item.added", item={"id": "item_1", "type": "message"})
    for _ in range(60):
        play.upstream(**SECOND_TO_CLIENT)
    play.now = 1.0

    play.receive(side, json.dumps(event).encode())

    assert idle_at(play) == 301.0


def test_an_active_session_expires_too() -> None:
    play = start(max_session_seconds=200)
    play.now = 199.0
    play.client(**CREATE)

    assert play.session.deadline == 200.0
    assert play.session.tick(199.9) == ()
    (end,) = play.session.tick(200.0)
    assert isinstance(end, End)
    assert (end.outcome, end.client_code, end.upstream_code) == ("session_expired", 1001, 1000)
    assert b"session_expired" in (end.farewell or b"")


def test_an_idle_session_ends() -> None:
    (end,) = start().session.tick(300.0)

    assert isinstance(end, End)
    assert (end.by, end.outcome, end.client_code) == ("relay", IDLE, 4408)
    assert end.reason == "The session had no activity for too long."


@pytest.mark.parametrize(
    "trigger",
    [(Side.CLIENT, CREATE), (Side.UPSTREAM, {"type": "input_audio_buffer.speech_stopped"})],
)
def test_the_first_audio_of_an_answer_is_timed(trigger: tuple[Side, dict[str, Any]]) -> None:
    play = start()
    side, event = trigger
    play.receive(side, json.dumps(event).encode())
    play.now = 0.75

    first, second = play.upstream(**SECOND_TO_CLIENT), play.upstream(**SECOND_TO_CLIENT)

    assert first == [to_client(**SECOND_TO_CLIENT), ObserveFirstAudio(0.75)]
    assert second == [to_client(**SECOND_TO_CLIENT)]
    assert play.session.counts.first_audio_seconds == [0.75]


@pytest.mark.parametrize("ends_first", [True, False], ids=["silent", "speaking"])
def test_a_running_response_does_not_answer_speech_that_ends_during_it(*, ends_first: bool) -> None:
    play = start()
    play.upstream(type="response.created", response={"id": "r1"})
    play.upstream(type="input_audio_buffer.speech_stopped", item_id="i")
    play.now = 0.25
    if not ends_first:
        assert play.upstream(**SECOND_TO_CLIENT) == [to_client(**SECOND_TO_CLIENT)]
    play.upstream(type="response.done", response={"id": "r1", "status": "completed", "usage": {}})
    play.upstream(type="response.created", response={"id": "r2"})
    play.now = 2

    assert play.upstream(**SECOND_TO_CLIENT)[1:] == [ObserveFirstAudio(2)]


def test_a_response_without_audio_is_not_timed_by_the_audio_of_the_next() -> None:
    play = start()
    play.client(**CREATE)
    play.upstream(type="response.done", response={})
    play.now = 60.0

    assert play.upstream(**SECOND_TO_CLIENT) == [to_client(**SECOND_TO_CLIENT)]


# Metering.


def test_audio_seconds_are_counted_with_the_formats_of_the_session() -> None:
    play = start()
    play.client(**SECOND_TO_UPSTREAM)
    play.upstream(**SECOND_TO_CLIENT)

    assert play.session.counts.audio_seconds_to_upstream == 1.0
    assert play.session.counts.audio_seconds_to_client == 1.0


@pytest.mark.parametrize("delta", ["", None, 7, {}])
def test_a_delta_without_audio_has_no_seconds(delta: Any) -> None:
    play = start()
    play.upstream(type="response.output_audio.delta", delta=delta)
    play.upstream(type="response.output_audio.delta")

    assert play.session.counts.audio_seconds_to_client == 0.0


USAGE = {
    "input_token_details": {"text_tokens": 10, "audio_tokens": 20, "cached_tokens": 4},
    "output_token_details": {"text_tokens": 3, "audio_tokens": 9},
}
USED = Tokens(input_text=6, input_audio=20, cached_text=4, output_text=3, output_audio=9)


def test_the_tokens_of_responses_and_transcriptions_are_added() -> None:
    play = start()
    transcribed = "conversation.item.input_audio_transcription.completed"
    for status in ("completed", "cancelled", "completed", "invented", ["x"], None):
        play.upstream(type="response.done", response={"status": status, "usage": USAGE})
    play.upstream(type="response.done")
    play.upstream(type=transcribed, usage={"type": "tokens", "input_tokens": 5, "output_tokens": 7})
    play.upstream(type=transcribed, usage={"type": "duration", "seconds": 1.5})
    play.upstream(type=transcribed, transcript="Hello.")

    responses = sum([USED] * 6, Tokens())
    assert play.session.counts.tokens == responses + Tokens(
        transcription_input=5, transcription_output=7
    )
    assert play.session.counts.transcription_seconds == 1.5
    assert play.session.counts.responses == {"completed": 2, "cancelled": 1, "other": 4}


def test_a_client_of_the_relays_own_events_receives_its_usage() -> None:
    play = start(announces=True, prices=PRICES)
    play.upstream(type="response.done", response={"id": "resp_1", "usage": USAGE})

    (_, (side, usage)) = play.upstream(  # type: ignore[misc]  # both are sent
        type="response.done", response={"id": "resp_2", "usage": USAGE}
    )

    assert side == "client"
    assert (usage["type"], usage["response_id"]) == ("relay.usage", "resp_2")
    assert usage["tokens"] == USED.by_kind()
    assert usage["cost_usd"] == f"{sum(USED.by_kind().values()) / 1_000_000:.6f}"
    assert usage["total"]["tokens"] == (USED + USED).by_kind()
    assert usage["total"]["cost_usd"] == f"{2 * sum(USED.by_kind().values()) / 1_000_000:.6f}"


def test_usage_is_recorded_before_the_event_that_reports_it_is_sent() -> None:
    done = b'{"type":"response.done","response":{"id":"resp_1","status":"completed"}}'

    record, sent = start().session.receive(Side.UPSTREAM, done, 0.0)

    assert record == Record(
        Report("resp_1", "response", "gpt-realtime-2.1", "completed", Tokens(), unknown=True)
    )
    assert sent == Send(Side.CLIENT, done)


def test_a_repeated_report_is_passed_on_and_not_counted_again() -> None:
    play = start(announces=True)
    done = {"type": "response.done", "response": {"id": "resp_1", "usage": USAGE}}
    play.upstream(**done)

    assert play.upstream(**done) == [to_client(**done)]
    assert len(play.recorded) == 1
    assert play.session.counts.tokens == USED


def test_a_transcription_is_recorded_once_under_the_transcription_model() -> None:
    play = start(prices=PRICES)
    kind = "conversation.item.input_audio_transcription.completed"
    for _ in range(2):
        play.upstream(type=kind, item_id="item_1", usage={"type": "duration", "seconds": 90})

    assert play.recorded == [
        Report(
            "item_1/0",
            "transcription",
            "whisper-1",
            "completed",
            Tokens(),
            90.0,
            cost_usd=Decimal("0.009000"),
        )
    ]


def test_a_response_that_was_cut_off_is_estimated_from_its_audio() -> None:
    play = start()
    play.client(**SECOND_TO_UPSTREAM)
    play.client(**SECOND_TO_UPSTREAM)
    play.upstream(type="response.created", response={"id": "resp_1"})
    play.upstream(**SECOND_TO_CLIENT)

    (command,) = play.session.record_cut_off(play.now)

    assert isinstance(command, Record)
    assert (command.report.status, command.report.estimated) == ("cut_off", True)
    assert command.report.tokens == Tokens(input_audio=20, output_audio=20)
    assert play.session.counts.estimated == 1
    assert play.session.record_cut_off(play.now) == ()


TURN: list[dict[str, Any]] = [
    {"type": "input_audio_buffer.speech_started", "item_id": "item_1", "audio_start_ms": 500},
    {"type": "input_audio_buffer.speech_stopped", "item_id": "item_1", "audio_end_ms": 2000},
    {"type": "input_audio_buffer.committed", "item_id": "item_1"},
]
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def transcribing(**transcription: Any) -> dict[str, Any]:
    """Return a session with this audio input."""
    return PERSONA | {"audio": {"input": transcription}}


@pytest.mark.parametrize(
    ("session", "model"),
    [
        (PERSONA, "whisper-1"),
        (transcribing(), "gpt-of-the-persona"),
        (transcribing(transcription={}), "gpt-of-the-persona"),
    ],
)
def test_a_transcription_that_was_cut_off_is_estimated(session: dict[str, Any], model: str) -> None:
    play = start(session=session, transcriber="gpt-of-the-persona")
    for _ in range(3):
        play.client(**SECOND_TO_UPSTREAM)
    for event in TURN:
        assert play.upstream(**event) == [to_client(**event)]

    (command,) = play.session.record_cut_off(play.now)

    assert isinstance(command, Record)
    assert (command.report.model, command.report.status) == (model, "cut_off")
    assert command.report.transcription_seconds == 1.5
    assert play.session.counts.estimated == 1
    assert play.session.counts.responses == {}
    assert play.session.record_cut_off(play.now) == ()


@pytest.mark.parametrize("kind", [f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed"])
def test_a_transcription_that_has_ended_is_not_estimated(kind: str) -> None:
    play = start()
    for event in (*TURN, {"type": kind, "item_id": "item_1"}):
        play.upstream(**event)

    assert play.session.record_cut_off(play.now) == ()


def test_a_session_without_transcription_has_no_estimate() -> None:
    play = start(session=transcribing(transcription=None), transcriber="gpt-of-the-persona")
    for event in TURN:
        play.upstream(**event)

    assert play.session.record_cut_off(play.now) == ()


def test_cleared_audio_belongs_to_no_turn() -> None:
    play = start()
    play.client(**SECOND_TO_UPSTREAM)
    cleared = {"type": "input_audio_buffer.cleared", "event_id": "e"}
    assert play.upstream(**cleared) == [to_client(**cleared)]
    play.client(**SECOND_TO_UPSTREAM)
    play.upstream(**TURN[-1])

    (command,) = play.session.record_cut_off(play.now)

    assert isinstance(command, Record)
    assert command.report.transcription_seconds == 1.0


def test_a_transcription_without_a_model_is_billed_as_unknown() -> None:
    play = start(session=transcribing(transcription=None))
    usage = {"type": "duration", "seconds": 2}
    play.upstream(type=f"{TRANSCRIPTION}.completed", item_id="item_1", usage=usage)

    assert [report.model for report in play.recorded] == ["unknown"]


def test_a_report_has_the_prices_of_its_own_day() -> None:
    """The session begins a minute before midnight, and prices change at midnight."""
    play = start(prices=PRICES)
    play.upstream(type="response.done", response={"id": "resp_1", "usage": USAGE})
    play.now = 61
    play.upstream(type="response.done", response={"id": "resp_2", "usage": USAGE})

    first, second = (report.cost_usd for report in play.recorded)

    assert first is not None
    assert second == 2 * first


def test_a_session_without_budget_ends_after_its_running_response() -> None:
    play = start()
    play.upstream(type="response.created", response={"id": "resp_1"})

    assert play.session.exhaust_budget() == ()

    done, end = play.upstream(type="response.done", response={"id": "resp_1"})
    assert done == to_client(type="response.done", response={"id": "resp_1"})
    assert isinstance(end, End)
    assert (end.outcome, end.client_code) == ("budget_exhausted", 4429)


def test_a_session_without_budget_ends_when_another_response_begins() -> None:
    """An upstream may never report the response that is under way."""
    play = start()
    play.upstream(type="response.created", response={"id": "lost"})
    assert play.session.exhaust_budget() == ()
    play.upstream(type="response.done", response={"id": "resp_2"})
    assert play.session.exhaust_budget() == ()

    _, end = play.upstream(type="response.created", response={"id": "resp_3"})
    assert isinstance(end, End)
    assert end.outcome == "budget_exhausted"


def test_a_session_without_budget_and_without_a_response_ends_at_once() -> None:
    (end,) = start().session.exhaust_budget()

    assert isinstance(end, End)
    assert end.outcome == "budget_exhausted"


def test_any_other_client_receives_no_usage() -> None:
    done = {"type": "response.done", "response": {"id": "resp_1", "usage": USAGE}}

    assert start().upstream(**done) == [to_client(**done)]


def test_errors_of_the_upstream_are_counted_by_code() -> None:
    play = start()
    failed = {"type": "failed", "error": {"code": "insufficient_quota"}}
    for code in ("invalid_value", "invented", ["invalid_value"], None):
        play.upstream(type="error", error={"code": code})
    play.upstream(type="response.done", response={"status": "failed", "status_details": failed})
    play.upstream(type="response.done", response={"status": "failed"})
    play.upstream(
        type="conversation.item.input_audio_transcription.failed",
        error={"code": "audio_unintelligible"},
    )

    assert play.session.counts.upstream_errors == {
        "invalid_value": 1,
        "other": 4,
        "insufficient_quota": 1,
        "audio_unintelligible": 1,
    }


def test_an_error_about_an_event_of_the_relay_is_not_sent_to_the_client() -> None:
    play = start()
    error = {"code": "invalid_value", "event_id": "relay_unguessable_greeting"}

    assert play.upstream(type="error", error=error) == []
    assert play.session.counts.upstream_errors == {"invalid_value": 1}


def test_a_failed_transcription_is_reported_without_words_of_the_account() -> None:
    kind = "conversation.item.input_audio_transcription.failed"
    error = {"code": "quota", "message": "Pay."}

    assert start().upstream(type=kind, item_id="item_1", error=error) == [
        to_client(
            type=kind,
            item_id="item_1",
            error={
                "type": None,
                "code": "quota",
                "message": "The upstream reported an error.",
                "param": None,
                "event_id": None,
            },
        )
    ]


# Items that the client may name.
@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.speech_started", "item_id": "item_1"},
        {"type": "input_audio_buffer.speech_stopped", "item_id": "item_1"},
        {"type": "input_audio_buffer.committed", "item_id": "item_1"},
        {"type": "conversation.item.created", "item": {"id": "item_1"}},
        {"type": "conversation.item.added", "item": {"id": "item_1"}},
        {"type": "conversation.item.done", "item": {"id": "item_1"}},
        {"type": "response.output_item.added", "item": {"id": "item_1"}},
        {"type": "response.output_item.done", "item": {"id": "item_1"}},
    ],
    ids=lambda event: event["type"],
)
def test_the_client_may_name_an_item_of_an_event_that_it_received(event: dict[str, Any]) -> None:
    play = start()
    retrieve = {"type": "conversation.item.retrieve", "item_id": "item_1"}
    before = play.client(**retrieve)
    play.upstream(**event)

    assert before == [Refusal("event_not_allowed")]
    assert play.client(**retrieve) == [to_upstream(**retrieve)]


def test_the_client_may_not_name_a_deleted_item() -> None:
    play = start()
    play.upstream(type="conversation.item.added", item={"id": "item_1"})
    play.upstream(type="conversation.item.deleted", item_id="item_1")

    assert play.client(type="conversation.item.delete", item_id="item_1") == [
        Refusal("event_not_allowed")
    ]


def test_an_item_can_be_replaced_under_its_id() -> None:
    play = start()
    play.upstream(type="conversation.item.added", item={"id": "item_1"})
    delete = {"type": "conversation.item.delete", "item_id": "item_1"}
    item = {"id": "item_1", "type": "message", "role": "user", "content": []}
    create = {"type": "conversation.item.create", "item": item}

    sent = [*play.client(**delete), *play.client(**create)]
    play.upstream(type="conversation.item.deleted", item_id="item_1")
    play.upstream(type="conversation.item.added", item=item)

    assert sent == [to_upstream(**delete), to_upstream(**create)]
    assert play.client(**delete) == [to_upstream(**delete)]


# The end of a session.
@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (1000, 1000),
        (1001, 1001),
        (4999, 4999),
        (1005, 1000),
        (0, 1000),
        (5000, 1000),
        (65535, 1000),
    ],
)
def test_when_the_client_closes_both_sides_get_a_code_that_may_be_sent(
    code: int, answer: int
) -> None:
    (end,) = start().session.closed(Side.CLIENT, code)

    assert end == End("client", "completed", answer, 1000, "client closed")


@pytest.mark.parametrize(
    ("code", "error"),
    [(1009, MessageTooBig), *((code, InvalidEvent) for code in (1002, 1007, 1008))],
)
def test_a_client_that_broke_a_rule_reads_the_error_in_its_close(
    code: int, error: type[MessageTooBig] | type[InvalidEvent]
) -> None:
    (end,) = start().session.closed(Side.CLIENT, code)

    assert end == End("client", error.code, code, 1000, error.message)


def test_a_client_that_leaves_without_a_close_is_lost() -> None:
    (end,) = start().session.closed(Side.CLIENT, 1006)

    assert isinstance(end, End)
    assert (end.by, end.outcome, end.farewell) == ("client", "client_lost", None)


@pytest.mark.parametrize(("code", "passed_on"), [(1001, 1001), (1005, 1011), (4000, 1011)])
def test_when_the_upstream_closes_the_client_receives_an_error(code: int, passed_on: int) -> None:
    (end,) = start().session.closed(Side.UPSTREAM, code)

    assert isinstance(end, End)
    assert (end.by, end.outcome, end.client_code) == ("upstream", "upstream_lost", passed_on)
    assert json.loads(end.farewell or b"") == {
        "type": "error",
        "event_id": "relay_1",
        "error": UpstreamLost().body() | {"event_id": None},
    }


def test_a_slow_client_receives_no_farewell() -> None:
    (slow,) = start().session.end(SlowClient())
    (draining,) = start().session.end(RelayDraining(), upstream_code=1012)

    assert isinstance(slow, End)
    assert isinstance(draining, End)
    assert (slow.farewell, slow.client_code) == (None, 1013)
    assert b"relay_draining" in (draining.farewell or b"")
    assert (draining.client_code, draining.upstream_code) == (1012, 1012)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"input_audio_buffer.cleared", "event_id":"event_1"}',
        b'{"type":"response.function_call_arguments.delta", "call_id":"call_1","delta":"{"}',
    ],
)
def test_an_event_that_only_the_calls_read_passes_unchanged(raw: bytes) -> None:
    assert start().session.receive(Side.UPSTREAM, raw, 0) == (Send(Side.CLIENT, raw),)


def test_after_the_end_only_usage_is_read_from_messages_of_the_upstream() -> None:
    """Audio that reaches no client is not counted as sent to the client."""
    session = start().session
    delta = json.dumps(SECOND_TO_CLIENT).encode()
    done = json.dumps({"type": "response.done", "response": {"id": "resp_1", "usage": USAGE}})

    assert session.record_late(delta, 0) == ()
    assert session.record_late(Binary(b"\x00"), 0) == ()
    assert session.record_late(b"garbage", 0) == ()
    (record,) = session.record_late(done.encode(), 0)

    assert isinstance(record, Record)
    assert record.report.tokens == USED
    assert session.counts.audio_seconds_to_client == 0
