"""Clients and upstreams that use the beta interface, over real sockets and with the stock SDK."""

import asyncio
import base64
import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import openai.resources.beta  # takes seconds, which a running relay would wait for
import pytest
import websockets
from beta import GA_SERVER_EVENTS, check_client_events, check_server_events
from conformance import check_type
from fakes import Call, FakeUpstream
from relays import PERSONA, RunningRelay, receive, relaying, running_relay, send, write_config
from simulated import SILENCE, clip, knowing, simulated

Json = dict[str, Any]

MODEL = "gpt-4o-realtime-preview"
BETA = {"OpenAI-Beta": "realtime=v1"}


def written(text: str) -> Any:
    """Return a text message of the user."""
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def chunks(pcm: bytes) -> Iterator[str]:
    return (base64.b64encode(pcm[at : at + 9_600]).decode() for at in range(0, len(pcm), 9_600))


def beta_sdk(relay: RunningRelay) -> openai.AsyncOpenAI:
    """Return the stock SDK. In this path, it uses wss if it gets no other address."""
    ws = relay.base_url.replace("http", "ws", 1)
    return openai.AsyncOpenAI(api_key="any", base_url=relay.base_url, websocket_base_url=ws)


@asynccontextmanager
async def on_the_simulator(folder: Path, settings: str = "") -> AsyncIterator[RunningRelay]:
    """Run a relay on the local upstream, which refuses everything of the beta interface."""
    async with simulated(engines=knowing("ten of clubs")) as upstream:
        async with running_relay(write_config(folder, upstream.base_url, settings)) as relay:
            yield relay


# The stock SDK.


async def test_code_of_the_beta_interface_completes_a_conversation(tmp_path: Path) -> None:
    received: list[Json] = []

    async with on_the_simulator(tmp_path) as relay:
        client = beta_sdk(relay)

        async with client.beta.realtime.connect(model="gpt-4o-realtime-preview") as connection:
            await connection.session.update(
                session={
                    "modalities": ["audio"],
                    "instructions": "You are a voice transcription system.",
                }
            )

            async def until(kind: str) -> Any:
                async for event in connection:
                    received.append(event.to_dict())
                    if event.type == kind:
                        return event
                raise AssertionError("the relay closed")

            updated = await until("session.updated")
            assert updated.session.modalities == ["audio", "text"]
            assert updated.session.voice == "marin"
            assert updated.session.instructions == ""

            await connection.conversation.item.create(
                item=written("When are you open? My opening hours?")
            )
            await connection.response.create(response={"modalities": ["text", "audio"]})
            call = await until("response.function_call_arguments.done")
            await until("response.done")
            output: Any = {"type": "function_call_output", "call_id": call.call_id}
            await connection.conversation.item.create(item=output | {"output": '{"opens": "8:00"}'})
            await connection.response.create()
            answered = await until("response.done")
            assert answered.response.status == "completed"

            for chunk in chunks(clip("cards-001.wav") + SILENCE):
                await connection.input_audio_buffer.append(audio=chunk)
            spoken = await until("response.audio_transcript.done")
            assert spoken.transcript.endswith("You said: ten of clubs")
            done = await until("response.done")
            assert done.response.output[0].content[0].type == "audio"
        line = await relay.ended()

    check_server_events(received)
    audio = [event["delta"] for event in received if event["type"] == "response.audio.delta"]
    assert sum(len(base64.b64decode(delta)) for delta in audio) > 48_000
    assert received[0]["type"] == "session.created"
    assert "PLANTED" not in json.dumps(received)
    assert line["responses"] == {"completed": 3}


TRANSCRIBER = """
    upstream: fake
    session:
      type: transcription
      audio:
        input:
          transcription: {model: gpt-4o-transcribe, prompt: PLANTED-PROMPT}
          turn_detection: {type: server_vad, silence_duration_ms: 400}
"""


async def test_transcription_code_of_the_beta_interface_gets_the_transcript(tmp_path: Path) -> None:
    """With the update for a conversation, and with the update for a transcription session."""
    received: list[Json] = []
    async with simulated(engines=knowing("ten of clubs")) as upstream:
        personas = {"receptionist": PERSONA, "clerk": TRANSCRIBER}
        path = write_config(tmp_path, upstream.base_url, personas=personas)
        async with running_relay(path) as relay:
            intent: Any = {"intent": "transcription"}
            connecting = beta_sdk(relay).beta.realtime.connect(model=MODEL, extra_query=intent)
            async with connecting as connection:

                async def until(kind: str) -> Any:
                    async for event in connection:
                        received.append(event.to_dict())
                        if event.type == kind:
                            return event
                    raise AssertionError("the relay closed")

                asked: Any = {"input_audio_format": "pcm16"}
                await connection.transcription_session.update(session=asked)
                updated = await until("transcription_session.updated")
                assert updated.session.input_audio_transcription.model == "gpt-4o-transcribe"
                await connection.session.update(session={"modalities": ["audio"]})
                await until("session.updated")
                for chunk in chunks(clip("cards-001.wav") + SILENCE):
                    await connection.input_audio_buffer.append(audio=chunk)
                completed = await until("conversation.item.input_audio_transcription.completed")

    check_server_events(received)
    assert received[0]["type"] == "session.created"
    assert completed.transcript == "ten of clubs"
    assert "PLANTED" not in json.dumps(received)


def _talk(relay: RunningRelay) -> list[Json]:
    """Have a turn in the blocking SDK, with a call; return the events of the server."""
    ws = relay.base_url.replace("http", "ws", 1)
    received: list[Json] = []
    with (
        openai.OpenAI(api_key="any", base_url=relay.base_url, websocket_base_url=ws) as client,
        client.beta.realtime.connect(model=MODEL) as connection,
    ):
        connection.session.update(session={"modalities": ["audio"], "instructions": "mine"})
        connection.conversation.item.create(item=written("What are your opening hours?"))
        connection.response.create()
        for event in connection:
            received.append(event.to_dict())
            if event.type == "response.function_call_arguments.done":
                output: Any = {"type": "function_call_output", "call_id": event.call_id}
                connection.conversation.item.create(item=output | {"output": "8 to 18"})
            if event.type == "response.done":
                if [e["type"] for e in received].count("response.done") == 2:
                    break
                connection.response.create()
    return received


# A warning of the SDK itself, with websockets 17.1 and later.
@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")
async def test_blocking_code_of_the_beta_interface_completes_a_conversation(tmp_path: Path) -> None:
    async with on_the_simulator(tmp_path) as relay:
        received = await asyncio.to_thread(_talk, relay)
        await asyncio.get_running_loop().shutdown_default_executor()

    check_server_events(received)
    kinds = [event["type"] for event in received]
    assert kinds[0] == "session.created"
    assert "session.updated" in kinds
    assert "response.audio.delta" in kinds


# The handshake.


SELECTS_BETA: list[Json] = [
    {"additional_headers": BETA},
    {"additional_headers": {"OpenAI-Beta": "assistants=v2, realtime=v1"}},
    {"subprotocols": ["realtime", "openai-insecure-api-key.any", "openai-beta.realtime-v1"]},
    {"subprotocols": ["openai-beta.realtime-v1"]},
]


@pytest.mark.parametrize("options", SELECTS_BETA)
async def test_a_client_selects_beta_in_the_handshake(tmp_path: Path, options: Json) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        async with relay.connect(**options) as client:
            created = await receive(client)
            assert client.subprotocol in {None, "realtime"}

    check_server_events([created])
    assert created["session"]["voice"] == "marin"
    assert "OpenAI-Beta" not in upstream.calls[0].request.headers
    assert "Sec-WebSocket-Protocol" not in upstream.calls[0].request.headers


async def test_a_beta_header_for_another_interface_is_ignored(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _):
        async with relay.connect(additional_headers={"OpenAI-Beta": "assistants=v2"}) as client:
            created = await receive(client)

    assert created["session"]["type"] == "realtime"


async def test_the_refusal_of_a_beta_client_has_the_shape_of_its_types(tmp_path: Path) -> None:
    settings = "clients: {kiosk: {key: kiosk-key-one}}\n"
    async with relaying(tmp_path, settings=settings) as (relay, _):
        async with relay.connect(subprotocols=["realtime", "openai-beta.realtime-v1"]) as client:
            error = await receive(client)
            await client.wait_closed()

    check_server_events([error])
    assert (error["error"]["code"], client.close_code) == ("invalid_api_key", 3000)


async def test_a_beta_client_may_ask_for_the_relays_own_events(tmp_path: Path) -> None:
    async with simulated() as upstream:
        async with running_relay(write_config(tmp_path, upstream.base_url)) as relay:
            protocols = ["realtime", "openai-beta.realtime-v1", "relay.events"]
            async with relay.connect(subprotocols=protocols) as client:
                await send(client, type="response.create", response={"modalities": ["text"]})
                received = [await receive(client)]
                while received[-1]["type"] != "relay.usage":
                    received.append(await receive(client))

    created, ignored, *answered, usage = received
    check_server_events([created, *answered])
    assert (ignored["type"], ignored["fields"]) == ("relay.fields_ignored", ["output_modalities"])
    assert answered[-1]["type"] == "response.done"
    assert usage["tokens"]["output_audio"] > 0


async def test_a_flat_update_of_a_ga_client_is_read(tmp_path: Path) -> None:
    opened = PERSONA + "    client: {session: [audio.output.voice]}\n"
    async with simulated() as upstream:
        path = write_config(tmp_path, upstream.base_url, personas={"receptionist": opened})
        async with running_relay(path) as relay, relay.connect() as client:
            await receive(client)
            await send(client, type="session.update", session={"voice": "ash", "instructions": "x"})
            updated = await receive(client)

    assert updated["type"] == "session.updated"
    assert updated["session"]["audio"]["output"]["voice"] == "ash"
    assert updated["session"]["type"] == "realtime"


# An upstream of the beta interface, frame by frame.

FLAT: Json = {
    "id": "sess_upstream",
    "modalities": ["audio", "text"],
    "instructions": "You are a default.",
    "voice": "alloy",
    "input_audio_format": "pcm16",
    "output_audio_format": "pcm16",
    "input_audio_transcription": None,
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "create_response": True,
        "interrupt_response": True,
    },
    "tools": [],
    "tool_choice": "auto",
    "temperature": 0.8,
    "max_response_output_tokens": "inf",
}
RESPONSE: Json = {
    "object": "realtime.response",
    "conversation_id": "conv_1",
    "status": "in_progress",
    "status_details": None,
    "output": [],
    "modalities": ["audio", "text"],
    "voice": "marin",
    "output_audio_format": "pcm16",
    "temperature": 0.8,
    "max_output_tokens": "inf",
    "usage": None,
    "metadata": None,
}
USAGE: Json = {
    "total_tokens": 30,
    "input_tokens": 10,
    "output_tokens": 20,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
}
CALL: Json = {
    "id": "item_call",
    "object": "realtime.item",
    "type": "function_call",
    "status": "in_progress",
    "name": "opening_hours",
    "call_id": "call_1",
    "arguments": "",
}
CALLED = CALL | {"status": "completed", "arguments": "{}"}
IN_CALL: Json = {
    "response_id": "resp_1",
    "output_index": 0,
    "item_id": "item_call",
    "call_id": "call_1",
}
BEGUN: Json = {
    "id": "item_said",
    "object": "realtime.item",
    "type": "message",
    "status": "in_progress",
    "role": "assistant",
    "content": [],
}
AUDIO: Json = {"type": "audio", "transcript": "Hi."}
SPOKEN = BEGUN | {"status": "completed", "content": [AUDIO]}
IN_PART: Json = {
    "response_id": "resp_2",
    "output_index": 0,
    "item_id": "item_said",
    "content_index": 0,
}


def _response(kind: str, response_id: str, **changed: Any) -> Json:
    return {"type": f"response.{kind}", "response": {"id": response_id, **RESPONSE, **changed}}


def _item(kind: str, response_id: str, item: Json) -> Json:
    place = {"response_id": response_id, "output_index": 0}
    return {"type": f"response.output_item.{kind}", **place, "item": item}


def _done(response_id: str, item: Json) -> list[Json]:
    done = _response("done", response_id, status="completed", output=[item], usage=USAGE)
    return [_item("done", response_id, item), done]


TURNS: list[list[Json]] = [
    [
        _response("created", "resp_1"),
        _item("added", "resp_1", CALL),
        {"type": "conversation.item.created", "previous_item_id": "item_1", "item": CALL},
        {"type": "response.function_call_arguments.delta", **IN_CALL, "delta": "{}"},
        {"type": "response.function_call_arguments.done", **IN_CALL, "arguments": "{}"},
        *_done("resp_1", CALLED),
        {"type": "rate_limits.updated", "rate_limits": [{"name": "requests", "limit": 9}]},
    ],
    [
        _response("created", "resp_2"),
        _item("added", "resp_2", BEGUN),
        {"type": "conversation.item.created", "previous_item_id": "item_2", "item": BEGUN},
        {"type": "response.content_part.added", **IN_PART, "part": AUDIO | {"transcript": ""}},
        {"type": "response.audio_transcript.delta", **IN_PART, "delta": "Hi."},
        {"type": "response.audio.delta", **IN_PART, "delta": "AAAA" * 16},
        {"type": "response.audio.done", **IN_PART},
        {"type": "response.audio_transcript.done", **IN_PART, "transcript": "Hi."},
        {"type": "response.content_part.done", **IN_PART, "part": AUDIO},
        *_done("resp_2", SPOKEN),
    ],
]
"""The upstream's answer to each ``response.create``."""


async def answers_in_beta(call: Call) -> None:
    """Have a conversation in the beta interface, and check each event in both directions."""
    named = made = 0

    async def answer(event: Json) -> None:
        nonlocal named
        named += 1
        with_id = {**event, "event_id": f"event_{named}"}
        check_server_events([with_id])
        await call.send(with_id)

    async def request() -> Json:
        event = await call.receive()
        check_client_events([event])
        return event

    await answer({"type": "session.created", "session": FLAT})
    session = FLAT | (await request())["session"]
    await answer({"type": "session.updated", "session": session})
    turns = iter(TURNS)
    while event := await request():
        match event["type"]:
            case "session.update":
                await answer({"type": "session.updated", "session": session | event["session"]})
            case "conversation.item.create":
                made += 1
                item = {"id": f"item_{made}", "status": "completed"} | event["item"]
                await answer({"type": "conversation.item.created", "item": item})
            case "response.create":
                for reaction in next(turns):
                    await answer(reaction)
            case "response.cancel":
                await answer({"type": "error", "error": REFUSAL})


REFUSAL = {
    "type": "invalid_request_error",
    "code": "invalid_value",
    "message": "Invalid value.",
    "param": "session.voice",
    "event_id": None,
}


def beta_config(folder: Path, upstream: str, persona: str = PERSONA) -> Path:
    """Write the configuration of a relay on a beta upstream; return its path."""
    path = write_config(folder, upstream, personas={"receptionist": persona})
    path.write_text(path.read_text().replace("sk-PLANTED-KEY", "sk-PLANTED-KEY, dialect: beta"))
    return path


@asynccontextmanager
async def on_a_beta_upstream(folder: Path) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    async with FakeUpstream(answers_in_beta).running() as upstream:
        async with running_relay(beta_config(folder, upstream.url)) as relay:
            yield relay, upstream


async def _converse(connection: Any) -> list[Json]:
    """Have two turns in either interface, the first with a call; return the server's events."""
    received: list[Json] = []

    async def until(kind: str) -> Any:
        async for event in connection:
            received.append(event.to_dict())
            if event.type == kind:
                return event
        raise AssertionError("the relay closed")

    await connection.conversation.item.create(item=written("What are your opening hours?"))
    await connection.response.create()
    call = await until("response.function_call_arguments.done")
    await until("response.done")
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "8 to 18"}
    await connection.conversation.item.create(item=output)
    await connection.response.create()
    await until("response.done")
    await connection.response.cancel()
    await until("error")
    return received


async def test_a_ga_client_has_a_conversation_with_a_beta_upstream(tmp_path: Path) -> None:
    async with on_a_beta_upstream(tmp_path) as (relay, upstream):
        async with relay.sdk().realtime.connect(model="any") as connection:
            received = await _converse(connection)
        line = await relay.ended()

    untyped = {"RealtimeSessionCreateRequest": frozenset({"id", "object", "expires_at"})}
    for event in received:
        check_type(event, GA_SERVER_EVENTS[event["type"]], allowed=untyped)
    by_type = {event["type"]: event for event in received}
    assert by_type["response.function_call_arguments.done"]["name"] == "opening_hours"
    assert by_type["response.done"]["response"]["output"][0]["content"] == [
        {"type": "output_audio", "transcript": "Hi."}
    ]
    assert by_type["response.done"]["response"]["audio"]["output"]["voice"] == "marin"
    assert by_type["response.output_audio.delta"]["delta"] == "AAAA" * 16
    assert by_type["error"]["error"]["param"] == "session.audio.output.voice"
    kinds = [event["type"] for event in received]
    assert kinds.count("conversation.item.added") == kinds.count("conversation.item.done") == 4
    assert line["tokens"]["output_audio"] == 30
    assert upstream.calls[0].request.headers["OpenAI-Beta"] == "realtime=v1"


async def test_a_beta_client_has_a_conversation_with_a_beta_upstream(tmp_path: Path) -> None:
    async with on_a_beta_upstream(tmp_path) as (relay, _):
        async with beta_sdk(relay).beta.realtime.connect(model=MODEL) as connection:
            received = await _converse(connection)

    check_server_events(received)
    kinds = [event["type"] for event in received if event["type"] != "session.created"]
    turns = [event["type"] for turn in TURNS for event in turn]
    hidden = {"rate_limits.updated", "conversation.item.created", "error"}
    assert [k for k in kinds if k not in hidden] == [k for k in turns if k not in hidden]


async def test_the_persona_is_sent_flat_and_without_fields_that_beta_lacks(
    tmp_path: Path,
) -> None:
    more = """
        reasoning: {effort: low}
        truncation: disabled
        output_modalities: [audio]
        max_output_tokens: 100
        tool_choice: required
    """
    persona = PERSONA.replace(
        "      tools:", textwrap.indent(textwrap.dedent(more), " " * 6) + "      tools:"
    )
    async with FakeUpstream(answers_in_beta).running() as upstream:
        path = beta_config(tmp_path, upstream.url, persona)
        async with running_relay(path) as relay, relay.connect() as client:
            created = await receive(client)

    update = upstream.calls[0].received[0]
    assert update["event_id"].startswith("relay_")
    assert update["session"] == {
        "instructions": "You are the receptionist of the clinic; the canary is PLANTED-PROMPT.",
        "voice": "marin",
        "modalities": ["audio", "text"],
        "max_response_output_tokens": 100,
        "tool_choice": "required",
        "tools": [
            {
                "type": "function",
                "name": "opening_hours",
                "description": "PLANTED-TOOL",
                "parameters": {"type": "object"},
            }
        ],
    }
    assert created["session"]["audio"]["output"]["voice"] == "marin"
    assert created["session"]["type"] == "realtime"
    assert "PLANTED" not in json.dumps(created)


async def test_the_refusal_of_the_persona_by_a_beta_upstream_is_understood(tmp_path: Path) -> None:
    async def refuses(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": FLAT})
        await call.receive()
        await call.send({"type": "error", "event_id": "2", "error": REFUSAL})
        await call.listen()

    async with FakeUpstream(refuses).running() as upstream:
        path = beta_config(tmp_path, upstream.url)
        async with running_relay(path) as relay:
            with pytest.raises(websockets.InvalidStatus):
                async with relay.connect():
                    pass
            (line,) = relay.lines("session.refused")

    assert line["code"] == "persona_rejected"
    assert "session.audio.output.voice" in line["detail"]


async def test_a_beta_upstream_receives_the_fields_that_only_it_knows(tmp_path: Path) -> None:
    async def listens(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": FLAT})
        session = FLAT | (await call.receive())["session"]
        await call.send({"type": "session.updated", "event_id": "2", "session": session})
        await call.listen()

    theirs = "smooth_output: true\n      turn_detection: {type: their_own_vad}\n      tools:"
    persona = PERSONA.replace("tools:", theirs)
    async with FakeUpstream(listens).running() as upstream:
        path = beta_config(tmp_path, upstream.url, persona)
        known = "dialect: beta, extra_session_fields: [smooth_output, turn_detection]"
        path.write_text(path.read_text().replace("dialect: beta", known))
        async with running_relay(path) as relay, relay.connect() as client:
            created = await receive(client)

    update = upstream.calls[0].received[0]["session"]
    assert (update["smooth_output"], update["turn_detection"]) == (True, {"type": "their_own_vad"})
    assert created["session"]["audio"]["input"]["turn_detection"] == {"type": "their_own_vad"}
