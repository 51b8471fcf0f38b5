"""Sessions that only transcribe, from the handshake to the ledger."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from accounting import (
    TRANSCRIBED,
    accounting,
    by_kind,
    checked_ledger,
    reports,
    rest,
    second_of_audio,
    sends,
    transcribed,
    until,
)
from conformance import check_event
from fakes import Call
from relays import receive, relaying, running_relay, send, write_config
from simulated import SILENCE, knowing, simulated, tone

from relay.ledger.query import query_usage

pytestmark = pytest.mark.usefixtures("nothing_is_left")

BY_THE_MINUTE, BY_THE_TOKEN = "by-the-minute", "by-the-token"
CLERK = """
    upstream: fake
    session:
      type: transcription
      audio:
        input:
          transcription: {model: by-the-minute, prompt: PLANTED-PROMPT, keywords: [PLANTED-WORD]}
          turn_detection: {type: server_vad, silence_duration_ms: 400}
"""
OPENS_TURNS = "    client: {session: [audio.input.turn_detection]}\n"
OF_CENTS = "    limits: {usd_per_session: 0.0001}\n"
TYPE = {"type": "transcription"}


def turns(turn_detection: Any) -> dict[str, Any]:
    """Return a session update with this turn detection."""
    return TYPE | {"audio": {"input": {"turn_detection": turn_detection}}}


# Events to the upstream.


async def test_the_upstream_is_opened_with_the_intent_and_no_model(tmp_path: Path) -> None:
    async with (
        relaying(tmp_path, receptionist=CLERK) as (relay, upstream),
        relay.connect("?model=gpt-realtime-2.1&intent=transcription"),
    ):
        (call,) = upstream.calls

    assert dict(call.request.query) == {"intent": "transcription"}
    hints = {"prompt": "PLANTED-PROMPT", "keywords": ["PLANTED-WORD"]}
    detection = {"type": "server_vad", "silence_duration_ms": 400}
    audio_input = {"transcription": {"model": BY_THE_MINUTE} | hints, "turn_detection": detection}
    assert call.received[0]["session"] == TYPE | {"audio": {"input": audio_input}}


async def test_no_client_event_requests_an_answer(tmp_path: Path) -> None:
    async with relaying(tmp_path, receptionist=CLERK) as (relay, upstream):
        async with relay.connect() as client:
            await receive(client)
            content = [{"type": "input_text", "text": "Hello"}]
            item = {"type": "message", "role": "user", "content": content}
            await send(client, type="conversation.item.create", event_id="e1", item=item)
            await send(client, type="response.create", event_id="e2")
            refused = [(await receive(client))["error"] for _ in range(2)]
            await send(client, type="input_audio_buffer.commit")
        await upstream.calls[0].closed

    assert [error["code"] for error in refused] == ["event_not_allowed"] * 2
    assert [error["event_id"] for error in refused] == ["e1", "e2"]
    assert [event["type"] for event in upstream.calls[0].received] == [
        "session.update",
        "input_audio_buffer.commit",
    ]


# Events to the client.


async def test_every_event_to_the_client_is_an_event_of_the_api(tmp_path: Path) -> None:
    """A session that transcribes has no field for instructions, not even an empty one."""
    persona = CLERK.replace(BY_THE_MINUTE, "gpt-transcribe") + OPENS_TURNS
    async with simulated(engines=knowing("ten of clubs")) as upstream:
        path = write_config(tmp_path, upstream.base_url, personas={"receptionist": persona})
        async with running_relay(path) as relay, relay.connect() as client:
            events = [await receive(client)]
            for session in (turns({"type": "server_vad"}), turns(None), TYPE | {"include": None}):
                await send(client, type="session.update", session=session)
                events.append(await until(client, "session.updated"))
            audio = base64.b64encode(tone(0.5) + SILENCE).decode()
            await send(client, type="input_audio_buffer.append", audio=audio)
            await send(client, type="input_audio_buffer.commit")
            while events[-1]["type"] != TRANSCRIBED:
                events.append(await receive(client))

    sessions = [event["session"] for event in events[:4]]
    assert [session["type"] for session in sessions] == ["transcription"] * 4
    detections = [session["audio"]["input"]["turn_detection"] for session in sessions]
    assert [detection is None for detection in detections] == [False, False, True, True]
    assert events[-1]["transcript"] == "ten of clubs"
    assert "PLANTED" not in json.dumps(events)
    for event in events:
        is_ours = event["event_id"].startswith("relay_")
        check_event(event | ({"event_id": f"event_{21 * 'x'}"} if is_ours else {}))


async def test_no_error_quotes_the_prompt_of_the_transcription(tmp_path: Path) -> None:
    prompt = "It is about PLANTED-PATIENTS and their names."
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": f"No: {prompt}"}
    script = sends({"type": "error", "event_id": "e", "error": error})
    persona = CLERK.replace("PLANTED-PROMPT", prompt)
    async with (
        relaying(tmp_path, script, receptionist=persona) as (relay, _),
        relay.connect() as client,
    ):
        event = await until(client, "error")

    assert event["error"]["message"] == "A value in the event is not valid."


# Usage.


@pytest.mark.parametrize(
    ("model", "used", "tokens", "seconds", "micros"),
    [
        (BY_THE_MINUTE, {"type": "duration", "seconds": 4.2}, {}, 4.2, 315),
        (
            BY_THE_TOKEN,
            {"type": "tokens", "input_tokens": 50, "output_tokens": 7},
            {"transcription_input": 50, "transcription_output": 7},
            0,
            50 * 6 + 7 * 10,
        ),
    ],
)
async def test_log_metrics_and_ledger_agree_on_the_usage_of_a_transcription(
    tmp_path: Path,
    model: str,
    used: dict[str, Any],
    tokens: dict[str, int],
    seconds: float,
    micros: int,
) -> None:
    persona = CLERK.replace(BY_THE_MINUTE, model)
    script = sends(transcribed("item_1", **used), transcribed("item_1", **used))
    async with accounting(tmp_path, script, receptionist=persona) as (relay, _):
        async with relay.connect() as client:
            for _ in range(2):
                await until(client, TRANSCRIBED)
        line = await relay.ended()
        samples = await relay.metrics()

    labels = f'{{model="{model}",persona="receptionist"}}'
    assert (line["model"], line["tokens"], line["responses"]) == (model, tokens, {})
    assert (line["transcription_seconds"], line["cost_usd"]) == (seconds, f"0.{micros:06}")
    assert by_kind(samples) == tokens
    assert samples[f"relay_transcription_seconds_total{labels}"] == seconds
    assert samples[f"relay_cost_usd_total{labels}"] == pytest.approx(micros / 1e6)
    (row,) = query_usage(checked_ledger(tmp_path), by=("model",))
    assert row.group == {"model": model}
    assert {kind: count for kind, count in row.tokens.items() if count} == tokens
    assert (row.transcription_seconds, row.cost_usd_micros, row.responses) == (seconds, micros, 0)


async def test_without_a_reported_transcription_model_the_model_of_the_persona_is_billed(
    tmp_path: Path,
) -> None:
    updated = {"type": "session.updated", "event_id": "u", "session": {"id": "sess_1"}}
    script = sends(updated, transcribed("item_1", type="duration", seconds=60))
    async with accounting(tmp_path, script, receptionist=CLERK) as (relay, _):
        async with relay.connect() as client:
            await until(client, TRANSCRIBED)

    assert reports(tmp_path, "model, cost_usd_micros") == [(BY_THE_MINUTE, 4500)]


async def test_the_transcription_that_exceeds_a_budget_is_delivered_and_then_the_session_ends(
    tmp_path: Path,
) -> None:
    script = sends(transcribed("item_1", type="duration", seconds=60))
    persona = CLERK + OF_CENTS
    async with accounting(tmp_path, script, receptionist=persona) as (relay, _):
        async with relay.connect() as client:
            _, event, error = await rest(client)

    assert (event["type"], event["transcript"]) == (TRANSCRIBED, "the words")
    assert error["error"]["code"] == "budget_exhausted"
    assert client.close_code == 4429


async def test_a_cut_off_transcription_is_estimated_and_marked(tmp_path: Path) -> None:
    """Otherwise a client that leaves before the report would pay nothing."""

    async def never_reports(call: Call) -> None:
        await call.open()
        for _ in range(3):
            await call.receive()
        await call.send({"type": "input_audio_buffer.committed", "item_id": "item_1"})
        await call.listen()

    async with accounting(tmp_path, never_reports, receptionist=CLERK) as (relay, _):
        async with relay.connect() as client:
            for _ in range(2):
                await send(client, type="input_audio_buffer.append", audio=second_of_audio())
            await send(client, type="input_audio_buffer.commit")
            await until(client, "input_audio_buffer.committed")
        line = await relay.ended()

    assert reports(tmp_path, "report_id, kind, model, status, estimated, cost_usd_micros") == [
        ("item_1/0", "transcription", BY_THE_MINUTE, "cut_off", 1, 150)
    ]
    assert (line["estimated"], line["transcription_seconds"], line["cost_usd"]) == (
        1,
        2,
        "0.000150",
    )
    (row,) = query_usage(checked_ledger(tmp_path), by=())
    assert (row.transcription_seconds, row.estimated, row.cost_usd_micros) == (2, 1, 150)
