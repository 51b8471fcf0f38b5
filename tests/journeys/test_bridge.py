"""A session carries all messages, in order and unchanged."""

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import PING, PONG, TEXT, Call, FakeUpstream, Wire, frame, rude_upstream
from relays import PERSONA, RunningRelay, receive, relaying, running_relay, send, write_config
from scripts import SMALL_BUFFER_BYTES, receives

from relay.core.commands import CallTool, Side
from relay.sessions.bridge import Bridge

PLAIN = """
    upstream: fake
    session: {model: gpt-realtime-2.1, instructions: Be brief.}
"""

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_500_simultaneous_appends_arrive_complete_and_in_order(tmp_path: Path) -> None:
    audio = [base64.b64encode(number.to_bytes(4) * 800).decode() for number in range(500)]
    received = asyncio.Event()
    async with relaying(tmp_path, receives(len(audio), received)) as (relay, upstream):
        async with relay.sdk().realtime.connect(model="gpt-realtime-2.1") as client:
            async with asyncio.TaskGroup() as tasks:
                for piece in audio:
                    tasks.create_task(client.input_audio_buffer.append(audio=piece))
            await received.wait()
        line = await relay.ended()

    appends = upstream.calls[0].received[1:]
    assert [event["audio"] for event in appends] == audio
    assert {event["type"] for event in appends} == {"input_audio_buffer.append"}
    assert line["audio_seconds_to_upstream"] == pytest.approx(500 * 3200 / 48_000, abs=1e-3)
    assert line["messages_to_upstream"] == 501  # the relay sent the persona, too


async def test_an_unknown_event_arrives_byte_for_byte(tmp_path: Path) -> None:
    unknown = ' {"type" : "some.new_event", "x":[1.0, 1e3, "\\u00e9 \u00e9"], "event_id":"e" }\n'
    large = json.dumps({"type": "conversation.item.retrieved.x", "audio": "A" * 3_000_000})
    delta = '{"delta":"AAAA","type":"response.output_audio.delta","future_field":{"a":[]}}'

    async def speaks(call: Call) -> None:
        await call.open()
        for message in (unknown, large, delta):
            await call.send(message)
        await call.listen()

    async with relaying(tmp_path, speaks) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            assert [await client.recv() for _ in range(3)] == [unknown, large, delta]
        line = await relay.ended()
    assert line["bytes_to_client"] > len(large)


async def test_no_session_receives_the_audio_of_another(tmp_path: Path) -> None:
    """Each of twenty simultaneous sessions has its own sounds, and only these come back to it."""
    sessions, sounds = 20, 30

    async def echoes(call: Call) -> None:
        await call.open()
        while True:
            audio = (await call.receive())["audio"]
            await call.send(
                {"type": "response.output_audio.delta", "event_id": "e", "delta": audio}
            )

    async def converse(relay: RunningRelay, number: int) -> list[str]:
        async with relay.connect() as client:
            await receive(client)
            for sound in range(sounds):
                audio = base64.b64encode(bytes([number, sound] * 60)).decode()
                await send(client, type="input_audio_buffer.append", audio=audio)
            return [(await receive(client))["delta"] for _ in range(sounds)]

    async with relaying(tmp_path, echoes) as (relay, upstream):
        async with asyncio.TaskGroup() as tasks:
            conversations = [
                tasks.create_task(converse(relay, number)) for number in range(sessions)
            ]

    owners = [{base64.b64decode(audio)[0] for audio in task.result()} for task in conversations]
    assert owners == [{number} for number in range(sessions)]
    order = [[base64.b64decode(audio)[1] for audio in task.result()] for task in conversations]
    assert order == [list(range(sounds))] * sessions
    for call in upstream.calls:
        assert len({base64.b64decode(event["audio"])[0] for event in call.received[1:]}) == 1


@pytest.mark.parametrize("mebibytes", [1, 15])
async def test_an_append_of_15_mebibytes_passes(tmp_path: Path, mebibytes: int) -> None:
    message = json.dumps({"type": "input_audio_buffer.append", "audio": ""})
    audio = "AAAA" * ((mebibytes * 2**20 - len(message)) // 4)
    received = asyncio.Event()
    settings = "limits: {audio_rate: 1e6}"
    async with relaying(tmp_path, receives(1, received), settings) as (relay, upstream):
        async with relay.connect() as client:
            await send(client, type="input_audio_buffer.append", audio=audio)
            await received.wait()
    assert upstream.calls[0].received[1] == {"type": "input_audio_buffer.append", "audio": audio}


async def test_both_directions_flow_at_the_same_time(tmp_path: Path) -> None:
    async def echoes(call: Call) -> None:
        await call.open()
        while True:
            event = await call.receive()
            await call.send({"type": "echo", "was": event})

    async with relaying(tmp_path, echoes) as (relay, _):
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)
            for number in range(200):
                audio = base64.b64encode(number.to_bytes(2) * 1000).decode()
                tasks.create_task(send(client, type="input_audio_buffer.append", audio=audio))
            echoed = [(await receive(client))["was"]["audio"] for _ in range(200)]
    assert [base64.b64decode(audio)[1] for audio in echoed] == list(range(200))


async def test_a_fragmented_message_arrives_whole(tmp_path: Path) -> None:
    received = asyncio.Event()
    async with relaying(tmp_path, receives(1, received)) as (relay, upstream):
        client = await Wire.connect(relay.port)
        message = b'{"type":"input_audio_buffer.append","audio":"AAAA"}'
        pieces = [message[at : at + 10] for at in range(0, len(message), 10)]
        for number, piece in enumerate(pieces):
            opcode, final = TEXT if number == 0 else 0, number == len(pieces) - 1
            client.writer.write(frame(piece, opcode, masked=True, final=final))
            client.send(b"between", PING)
        await received.wait()
        await client.receive()
        assert await client.receive() == (PONG, b"between")
        await client.hang_up()
    assert upstream.calls[0].received[1] == json.loads(message)


async def test_an_upstream_that_waits_for_a_slow_client_loses_nothing(tmp_path: Path) -> None:
    """Backpressure: messages wait in the upstream until the client reads."""
    count, delta = 400, {"type": "response.output_audio.delta", "delta": "A" * 32_000}

    async def speaks(call: Call) -> None:
        await call.open()
        for number in range(count):
            await call.send(delta | {"event_id": f"{number}"})
        await call.listen()

    async with relaying(tmp_path, speaks) as (relay, _):
        client = await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        await client.receive()
        event_ids = [json.loads((await client.receive())[1])["event_id"] for _ in range(count)]
        await client.hang_up()
    assert event_ids == [f"{number}" for number in range(count)]


async def test_the_wait_for_a_client_counts_as_the_relays_own_part_of_first_audio(
    tmp_path: Path,
) -> None:
    held_seconds, filler = 0.1, {"type": "some.new_event", "x": "A" * 8_000_000}

    async def speaks(call: Call) -> None:
        await call.open()
        await call.receive()
        await call.send(filler)
        await call.send({"type": "response.output_audio.delta", "delta": "AAAA"})
        await call.listen()

    async with relaying(tmp_path, speaks) as (relay, _):
        client = await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        client.send(json.dumps({"type": "response.create"}).encode())
        held = asyncio.Event()
        asyncio.get_running_loop().call_later(held_seconds, held.set)
        await held.wait()
        while b"audio.delta" not in (await client.receive())[1]:
            pass
        metrics = await relay.metrics()
        await client.hang_up()
    assert metrics["relay_first_audio_own_seconds_count"] == 1
    assert metrics["relay_first_audio_own_seconds_sum"] > held_seconds / 2


async def test_the_message_that_exceeds_a_budget_is_still_delivered(
    tmp_path: Path,
) -> None:
    """Also if the budget is found exhausted before the task that records the usage starts."""
    done = {
        "type": "response.done",
        "event_id": "event_1",
        "response": {"id": "resp_1", "status": "completed", "output": [], "usage": None},
    }
    async with relaying(tmp_path) as (relay, _), relay.connect() as client:
        await receive(client)
        (session,) = relay.sessions.running.values()
        bridge = session.bridge

        decide = bridge.session.receiver(Side.UPSTREAM)
        rest = bridge._receive(Side.UPSTREAM, decide, json.dumps(done).encode())
        bridge.exhaust_budget()
        assert rest is not None
        await rest

        assert (await receive(client))["type"] == "response.done"
        assert (await receive(client))["error"]["code"] == "budget_exhausted"


async def test_a_tool_that_sends_its_output_is_not_cancelled_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output waits for room in an upstream that does not read, when the session ends."""
    relay_is_prepared, session_ended = asyncio.Event(), asyncio.Event()
    running, finish, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def calls_and_stops_reading(upstream: Wire) -> None:
        await upstream.open()
        await relay_is_prepared.wait()
        call = {"type": "function_call", "id": "i", "call_id": "c", "name": "text"}
        for event in (
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_item.done", "response_id": "r", "item": call},
        ):
            upstream.send(json.dumps(event).encode())
        await session_ended.wait()

    async def run_tool(_call: CallTool) -> str:
        running.set()
        await finish.wait()
        finished.set()
        return "an output"

    tool = "{type: function, name: text, run: {python: 'clinic_tools:text'}}"
    persona = f"upstream: fake\nsession: {{model: m, instructions: x, tools: [{tool}]}}\n"
    async with rude_upstream(calls_and_stops_reading, receive_buffer_bytes=4096) as url:
        path = write_config(tmp_path, url, personas={"receptionist": persona})
        async with running_relay(path) as relay, relay.connect() as client:
            await receive(client)
            (session,) = relay.sessions.running.values()
            bridge = session.bridge
            services = replace(bridge._services, run_tool=run_tool)
            monkeypatch.setattr(bridge, "_services", services)
            relay_is_prepared.set()
            await running.wait()
            (task,) = bridge._running_tools
            bridge.peers[Side.UPSTREAM]._writer.send(b" " * 16_000_000)
            finish.set()
            await finished.wait()
            assert not task.done()

            relay.sessions.stop()
            await client.wait_closed()
            await relay.ended()
            session_ended.set()

    assert task.done()
    assert not task.cancelled()


@pytest.mark.parametrize(
    ("persona", "fields"), [(PERSONA, {"response": {"tool_choice": "none"}}), (PLAIN, {})]
)
async def test_a_persona_that_greets_speaks_first_and_calls_no_tool(
    tmp_path: Path, persona: str, fields: dict[str, Any]
) -> None:
    received = asyncio.Event()
    greeting = persona + "    greeting: true\n"
    async with relaying(tmp_path, receives(1, received), receptionist=greeting) as (
        relay,
        upstream,
    ):
        async with relay.connect() as client:
            await receive(client)
            await received.wait()

    event = upstream.calls[0].received[1]
    assert event.pop("event_id").startswith("relay_")
    assert event == {"type": "response.create", **fields}


async def test_a_pause_of_the_relay_itself_ends_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual machine that is paused for a minute: after it all timers are due at once."""
    loop = asyncio.get_running_loop()
    clock, paused_seconds = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + paused_seconds)
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url)
        async with running_relay(path, seconds=1000) as relay:
            async with relay.connect(ping_interval=None) as client:
                await receive(client)
                paused_seconds = 60.0
                for _ in range(3):  # each takes a few turns of the loop, in which timers fire
                    await (await client.ping())
                assert relay.sessions.running
            assert (await relay.ended())["outcome"] == "completed"


async def test_a_pause_at_the_start_of_a_session_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is over when the clock of the session looks for the first time."""
    loop = asyncio.get_running_loop()
    clock, paused_seconds = loop.time, 0.0
    open_session = Bridge._open

    async def opens_and_pauses(bridge: Bridge) -> None:
        nonlocal paused_seconds
        await open_session(bridge)
        paused_seconds = 60.0

    monkeypatch.setattr(loop, "time", lambda: clock() + paused_seconds)
    monkeypatch.setattr(Bridge, "_open", opens_and_pauses)
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url)
        async with running_relay(path, seconds=1000) as relay:
            async with relay.connect(ping_interval=None) as client:
                await receive(client)
                await (await client.ping())
                assert relay.sessions.running
            assert (await relay.ended())["outcome"] == "completed"
