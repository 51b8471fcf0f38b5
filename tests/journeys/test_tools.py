"""Tools that the relay runs, end to end: the upstream calls, a real tool runs, no client sees it.

The upstream is scripted, because the tests check the events that it receives, and their order. The
last test uses the local upstream, which decides on its own.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import clinic_tools
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from fakes import Call
from paths import ROOT
from relays import RunningRelay, receive, relaying, running_relay, send, write_config
from simulated import simulated
from websockets.asyncio.client import ClientConnection

from relay import app, cli
from relay.config.loading import load
from relay.core.close import CloseCode
from relay.wire import handshake

pytestmark = pytest.mark.usefixtures("nothing_is_left")

Event = dict[str, Any]
Tool = Callable[[web.Request], Awaitable[web.StreamResponse]]

SUPPORT = ROOT / "tests" / "support"
MCP = {"command": [sys.executable, str(SUPPORT / "mcp_clinic.py")]}
needs_mcp = pytest.mark.skipif(find_spec("mcp") is None, reason='needs the extra "mcp"')

ANNOUNCING = [handshake.SUBPROTOCOL, handshake.EVENTS_SUBPROTOCOL]
SPOKEN = "resp_answer"
"""The response in which a model speaks about the outputs of its tools."""


@pytest.fixture(autouse=True)
def _release() -> Iterator[None]:
    """End the hanging threads of a test with the test."""
    clinic_tools.released.clear()
    yield
    clinic_tools.released.set()


# The persona.


def persona(*tools: Event, max_tool_seconds: float = 5, **session: Any) -> str:
    """Return a persona with these tools; YAML reads JSON."""
    configured = {
        "model": "gpt-realtime-2.1",
        "instructions": "Be kind.",
        "tools": tools,
        **session,
    }
    limits = {"max_tool_seconds": max_tool_seconds}
    return json.dumps({"upstream": "fake", "session": configured, "limits": limits})


def tool(name: str, **run: Any) -> Event:
    """Return a function tool; without a ``run``, the client runs it."""
    return {"type": "function", "name": name, **({"run": run} if run else {})}


def python(name: str, **run: Any) -> Event:
    return tool(name, python=f"clinic_tools:{name}", **run)


@asynccontextmanager
async def http_server(**tools: Tool) -> AsyncIterator[str]:
    """Serve tools on a free port of loopback; yield the address without their names."""
    served = web.Application()
    for name, handle in tools.items():
        served.router.add_post(f"/{name}", handle)
    runner = web.AppRunner(served, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def over_http(base: str, name: str, **run: Any) -> Event:
    return tool(name, http={"url": f"{base}/{name}"}, **run)


# The upstream.


def function_call(call_id: str, name: str, arguments: str = "{}") -> Event:
    fields = {"call_id": call_id, "name": name, "arguments": arguments}
    return {"id": f"item_{call_id}", "type": "function_call", "status": "completed", **fields}


async def begin(call: Call, response_id: str) -> None:
    response = {"id": response_id, "status": "in_progress", "output": []}
    await call.send({"type": "response.created", "event_id": "e", "response": response})


async def stream_calls(call: Call, *items: Event, response_id: str = "resp_1") -> None:
    """Stream function calls, each from its first event to its last."""
    for index, item in enumerate(items):
        here = {"event_id": "e", "response_id": response_id, "output_index": index}
        about = {**here, "item_id": item["id"], "call_id": item["call_id"]}
        empty = {**item, "status": "in_progress", "arguments": ""}
        arguments = item["arguments"]
        events: list[Event] = [
            {"type": "response.output_item.added", **here, "item": empty},
            {"type": "conversation.item.added", "event_id": "e", "item": empty},
            {"type": "response.function_call_arguments.delta", **about, "delta": arguments},
            {"type": "response.function_call_arguments.done", **about, "arguments": arguments},
            {"type": "conversation.item.done", "event_id": "e", "item": item},
            {"type": "response.output_item.done", **here, "item": item},
        ]
        for event in events:
            await call.send(event)


async def finish(call: Call, *items: Event, response_id: str = "resp_1") -> None:
    response = {"id": response_id, "status": "completed", "output": items}
    await call.send({"type": "response.done", "event_id": "e", "response": response})


async def ask(call: Call, *items: Event) -> None:
    """Call functions in one response."""
    await begin(call, "resp_1")
    await stream_calls(call, *items)
    await finish(call, *items)


async def send_audio(call: Call, audio: str = "AAAA", response_id: str = SPOKEN) -> None:
    """Send some audio."""
    about = {"response_id": response_id, "item_id": "item_answer", "output_index": 0}
    delta = {"content_index": 0, "delta": audio}
    await call.send({"type": "response.output_audio.delta", "event_id": "e", **about, **delta})


async def confirm_item(call: Call, item: Event) -> None:
    """Confirm a received item, as the API does when it is in the conversation."""
    for step in ("added", "done"):
        event = {"type": f"conversation.item.{step}", "event_id": "e", "item": item}
        await call.send({**event, "previous_item_id": "item_call_1"})


async def until(call: Call, type_: str) -> Event:
    """Confirm items until an event of this type comes."""
    while True:
        event = await call.receive()
        if "item" in event:
            await confirm_item(call, {"id": f"item_{len(call.received)}", **event["item"]})
        if event["type"] == type_:
            return event


async def answer(call: Call) -> None:
    """Wait for a request, and speak."""
    await until(call, "response.create")
    await begin(call, SPOKEN)
    await send_audio(call)
    await finish(call, response_id=SPOKEN)


def calling(*items: Event) -> Callable[[Call], Awaitable[None]]:
    """Return an upstream that calls functions once, and speaks after a request."""

    async def script(call: Call) -> None:
        await call.open()
        await ask(call, *items)
        await answer(call)
        await call.listen()

    return script


def outputs(call: Call) -> dict[str, str]:
    """Return the outputs that an upstream received, by call."""
    items = [event["item"] for event in call.received if "item" in event]
    got = [i for i in items if i["type"] == "function_call_output"]
    assert len({i["call_id"] for i in got}) == len(got), "a call was answered twice"
    return {i["call_id"]: i["output"] for i in got}


def types(call: Call) -> list[str]:
    """Return the types of the events that an upstream received after the session was opened."""
    return [event["type"] for event in call.received[1:]]


# The client.


async def receive_answer(client: ClientConnection, response_id: str = SPOKEN) -> list[Event]:
    """Return the events until the end of a response."""
    received = [await receive(client)]
    while (received[-1]["type"], received[-1].get("response", {}).get("id")) != (
        "response.done",
        response_id,
    ):
        received.append(await receive(client))
    return received


async def receive_until(client: ClientConnection, type_: str) -> list[Event]:
    received = [await receive(client)]
    while received[-1]["type"] != type_:
        received.append(await receive(client))
    return received


async def one_session(relay: RunningRelay, **options: Any) -> list[Event]:
    """Return the events of a session until the end of the answer."""
    async with relay.connect(**options) as client:
        return await receive_answer(client)


async def hours(request: web.Request) -> web.Response:
    day = (await request.json())["day"]
    return web.Response(text=f"PLANTED {day} 9-17")


@pytest.mark.parametrize("way", ["http", "python", pytest.param("mcp", marks=needs_mcp)])
async def test_a_tool_runs_and_the_model_answers_and_the_client_sees_no_call(
    tmp_path: Path, way: str
) -> None:
    item = function_call("call_1", "opening_hours", '{"day":"sunday"}')
    async with http_server(opening_hours=hours) as base:
        runs: dict[str, Event] = {
            "http": {"http": {"url": f"{base}/opening_hours"}},
            "python": {"python": "clinic_tools:opening_hours"},
            "mcp": {"mcp": MCP},
        }
        receptionist = persona(tool("opening_hours", **runs[way]))
        async with relaying(tmp_path, calling(item), receptionist=receptionist) as (relay, up):
            received = await one_session(relay)
            line = await relay.ended()
            metrics = await relay.metrics()

    [call] = up.calls
    [declared] = call.received[0]["session"]["tools"]
    expected = {"http": "PLANTED sunday 9-17", "python": "SUNDAY False call_1 None"}
    assert outputs(call) == {"call_1": expected.get(way, "sunday False 9-17")}
    assert types(call) == ["conversation.item.create", "response.create"]
    assert "run" not in declared
    assert ("day" in declared.get("parameters", {}).get("properties", {})) == (way != "http")
    for secret in ("call_1", "opening_hours", "sunday", "SUNDAY", "9-17", "function_call"):
        assert secret not in json.dumps(received)
    assert [event["type"] for event in received].count("response.done") == 2
    assert "response.output_audio.delta" in [event["type"] for event in received]
    assert line["tool_calls"] == 1
    assert metrics['relay_tool_seconds_count{outcome="completed",tool="opening_hours"}'] == 1
    [finished] = relay.lines("tool.finished")
    assert (finished["tool"], finished["outcome"]) == ("opening_hours", "completed")
    assert finished["session_id"] == line["session_id"]


async def test_two_calls_run_side_by_side_and_lead_to_one_response(tmp_path: Path) -> None:
    second_came = asyncio.Event()

    async def first(_request: web.Request) -> web.Response:
        await second_came.wait()
        return web.Response(text="one")

    async def second(_request: web.Request) -> web.Response:
        second_came.set()
        return web.Response(text="two")

    items = [function_call("call_1", "first"), function_call("call_2", "second")]
    async with http_server(first=first, second=second) as base:
        receptionist = persona(over_http(base, "first"), over_http(base, "second"))
        async with relaying(tmp_path, calling(*items), receptionist=receptionist) as (relay, up):
            await one_session(relay)
            line = await relay.ended()

    assert outputs(up.calls[0]) == {"call_1": "one", "call_2": "two"}
    assert types(up.calls[0]) == [*["conversation.item.create"] * 2, "response.create"]
    assert line["tool_calls"] == 2


async def test_an_output_is_sent_at_once_and_the_response_requested_when_the_last_is_done(
    tmp_path: Path,
) -> None:
    item = function_call("call_1", "text")

    async def continues_speaking(call: Call) -> None:
        await call.open()
        await begin(call, "resp_1")
        await stream_calls(call, item)
        await until(call, "conversation.item.create")
        await send_audio(call, response_id="resp_1")
        await until(call, "input_audio_buffer.clear")
        await finish(call, item)
        await answer(call)
        await call.listen()

    receptionist = persona(python("text"))
    async with relaying(tmp_path, continues_speaking, receptionist=receptionist) as (relay, up):
        async with relay.connect() as client:
            await receive_until(client, "response.output_audio.delta")
            await send(client, type="input_audio_buffer.clear")
            await receive_answer(client)
        await relay.ended()

    create = "conversation.item.create"
    assert types(up.calls[0]) == [create, "input_audio_buffer.clear", "response.create"]


@pytest.mark.parametrize("first", ["client", "server"])
async def test_the_answer_to_calls_of_both_sides_waits_for_both(tmp_path: Path, first: str) -> None:
    client_answered = asyncio.Event()

    async def lookup(_request: web.Request) -> web.Response:
        if first == "client":
            await client_answered.wait()
        return web.Response(text="ours")

    items = [function_call("call_1", "lookup"), function_call("call_2", "show_map")]

    async def script(call: Call) -> None:
        await call.open()
        await ask(call, *items)
        await until(call, "conversation.item.create")
        if first == "client":
            client_answered.set()
        else:
            await send_audio(call, response_id="resp_1")
        await answer(call)
        await call.listen()

    async with http_server(lookup=lookup) as base:
        receptionist = persona(over_http(base, "lookup"), tool("show_map"))
        async with relaying(tmp_path, script, receptionist=receptionist) as (relay, up):
            async with relay.connect() as client:
                received = await receive_until(client, "response.done")
                if first == "server":
                    await receive_until(client, "response.output_audio.delta")
                theirs = {"type": "function_call_output", "call_id": "call_2", "output": "theirs"}
                await send(client, type="conversation.item.create", item=theirs)
                await send(client, type="response.create")
                received += await receive_answer(client)
            await relay.ended()

    assert outputs(up.calls[0]) == {"call_1": "ours", "call_2": "theirs"}
    assert types(up.calls[0]) == [*["conversation.item.create"] * 2, "response.create"]
    assert "call_1" not in json.dumps(received)
    assert "show_map" in json.dumps(received)


async def test_a_client_cannot_answer_a_call_that_the_relay_runs(tmp_path: Path) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def lookup(_request: web.Request) -> web.Response:
        asked.set()
        await answered.wait()
        return web.Response(text="ours")

    script = calling(function_call("call_1", "lookup"))
    async with http_server(lookup=lookup) as base:
        receptionist = persona(over_http(base, "lookup"))
        async with relaying(tmp_path, script, receptionist=receptionist) as (relay, up):
            async with relay.connect() as client:
                await asked.wait()
                forged = {"type": "function_call_output", "call_id": "call_1", "output": "forged"}
                await send(client, type="conversation.item.create", item=forged)
                refused = (await receive_until(client, "error"))[-1]["error"]
                answered.set()
                await receive_answer(client)
            await relay.ended()

    assert refused["code"] == "event_not_allowed"
    assert outputs(up.calls[0]) == {"call_1": "ours"}


async def test_a_hanging_tool_delays_no_audio_and_times_out(tmp_path: Path) -> None:
    deltas = [base64.b64encode(f"{number:03}".encode()).decode() for number in range(50)]
    hanging = asyncio.Event()

    async def hangs(_request: web.Request) -> web.Response:
        hanging.set()
        await asyncio.Event().wait()
        raise AssertionError

    item = function_call("call_1", "hangs")

    async def continues_speaking(call: Call) -> None:
        await call.open()
        await begin(call, "resp_1")
        await stream_calls(call, item)
        await hanging.wait()
        for delta in deltas:
            await send_audio(call, delta, "resp_1")
            await until(call, "input_audio_buffer.append")
        await finish(call, item)
        await answer(call)
        await call.listen()

    async with http_server(hangs=hangs) as base:
        receptionist = persona(over_http(base, "hangs"), max_tool_seconds=1)
        async with relaying(tmp_path, continues_speaking, receptionist=receptionist) as (relay, up):
            async with relay.connect() as client:
                received = []
                for _ in deltas:
                    received += await receive_until(client, "response.output_audio.delta")
                    await send(client, type="input_audio_buffer.append", audio="AAAA")
                assert not relay.lines("tool.finished"), "the machine is too slow for this test"
                await receive_answer(client)
            await relay.ended()
            metrics = await relay.metrics()

    assert [e["delta"] for e in received if "delta" in e] == deltas
    assert "did not answer in time" in json.loads(outputs(up.calls[0])["call_1"])["error"]
    appended = ["input_audio_buffer.append"] * len(deltas)
    assert types(up.calls[0]) == [*appended, "conversation.item.create", "response.create"]
    [line] = relay.lines("tool.finished")
    assert (line["outcome"], line["cause"]) == ("timeout", "it took more than 1.0 s")
    assert metrics['relay_tool_seconds_count{outcome="timeout",tool="hangs"}'] == 1


async def answers_500(_request: web.Request) -> web.Response:
    return web.Response(status=500, text="PLANTED")


async def no_text(_request: web.Request) -> web.Response:
    return web.Response(body=b"PLANTED \xff\xfe")


async def ten_megabytes(_request: web.Request) -> web.Response:
    return web.Response(body=b"PLANTED" * 1_500_000)


async def closes(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "arguments", "outcome", "cause", "message"),
    [
        ("answers_500", "{}", "failed", "HTTP 500", "HTTP 500"),
        ("no_text", "{}", "failed", "not valid UTF-8", "not readable text"),
        ("ten_megabytes", "{}", "failed", "larger than 65536 bytes", "too large"),
        ("closes", "{}", "failed", "no reply: ", "The tool failed"),
        ("raises", '{"secret":"PLANTED"}', "failed", "ValueError", "The tool failed"),
        ("raises", '{"secret":', "invalid_arguments", "no JSON", "not valid JSON"),
        ("raises", '{"PLANTED":"x"}', "invalid_arguments", "they break ", "do not fit"),
        ("raises", '["PLANTED"]', "invalid_arguments", "no object", "one JSON object"),
        ("PLANTED", "{}", "unknown_tool", "no such tool", "no tool of this name"),
    ],
)
async def test_a_failed_call_sends_a_message_to_the_model_and_its_cause_to_the_log(
    tmp_path: Path, name: str, arguments: str, outcome: str, cause: str, message: str
) -> None:
    script = calling(function_call("call_1", name, arguments), function_call("call_2", "text"))
    faulty: dict[str, Tool] = {
        "answers_500": answers_500,
        "no_text": no_text,
        "ten_megabytes": ten_megabytes,
        "closes": closes,
    }
    async with http_server(**faulty) as base:
        tools = [over_http(base, faulty_name) for faulty_name in faulty]
        receptionist = persona(*tools, python("raises"), python("text"))
        async with relaying(tmp_path, script, receptionist=receptionist) as (relay, up):
            received = await one_session(relay)
            line = await relay.ended()
            metrics = await relay.metrics()

    got = outputs(up.calls[0])
    assert message in json.loads(got["call_1"])["error"]
    assert got["call_2"] == "plain"
    assert types(up.calls[0]).count("response.create") == 1
    assert "call_1" not in json.dumps(received)
    known = "other" if name == "PLANTED" else name
    [logged] = [entry for entry in relay.lines("tool.finished") if entry["call_id"] == "call_1"]
    assert (logged["tool"], logged["outcome"]) == (known, outcome)
    assert cause in logged["cause"]
    assert metrics[f'relay_tool_seconds_count{{outcome="{outcome}",tool="{known}"}}'] == 1
    assert (line["outcome"], line["tool_calls"]) == ("completed", 2)


@pytest.mark.parametrize("side", ["client", "upstream", "relay"])
async def test_the_end_of_a_session_cancels_its_tools(tmp_path: Path, side: str) -> None:
    hanging, left = asyncio.Event(), asyncio.Event()

    async def hangs(_request: web.Request) -> web.Response:
        hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async def script(call: Call) -> None:
        await call.open()
        items = function_call("call_1", "hangs"), function_call("call_2", "hangs_in_a_thread")
        await ask(call, *items)
        if side == "upstream":
            await hanging.wait()
            await call.socket.close(code=CloseCode.GOING_AWAY)
        await call.listen()

    async with http_server(hangs=hangs) as base:
        receptionist = persona(over_http(base, "hangs"), python("hangs_in_a_thread"))
        async with relaying(tmp_path, script, receptionist=receptionist) as (relay, up):
            async with asyncio.timeout(3), relay.connect() as client:
                await hanging.wait()
                if side == "client":
                    await client.close()
                if side == "relay":
                    relay.sessions.stop()
                await client.wait_closed()
                await left.wait()
                line = await relay.ended()

    cancelled = relay.lines("tool.finished")
    assert {entry["outcome"] for entry in cancelled} == {"cancelled"}
    assert {entry["tool"] for entry in cancelled} == {"hangs", "hangs_in_a_thread"}
    assert (line["ended_by"], line["tool_calls"]) == (side, 2)
    assert types(up.calls[0]) == []


async def test_concurrent_sessions_get_only_their_own_outputs(tmp_path: Path) -> None:
    sessions = 200
    all_called = asyncio.Event()
    waiting: list[str] = []

    async def lookup(request: web.Request) -> web.Response:
        waiting.append(request.headers["relay-session-id"])
        if len(waiting) == sessions:
            all_called.set()
        await all_called.wait()
        token = (await request.json())["token"]
        return web.Response(text=f"{token} {request.headers['relay-session-id']}")

    async def script(call: Call) -> None:
        number = upstream_calls.index(call)
        await call.open()
        # All calls have one id, so only their sessions distinguish them.
        arguments = json.dumps({"token": f"PLANTED-{number}"})
        await ask(call, function_call("call_1", "lookup", arguments))
        await answer(call)
        await call.listen()

    async with http_server(lookup=lookup) as base:
        receptionist = persona(over_http(base, "lookup"))
        async with relaying(tmp_path, script, receptionist=receptionist) as (relay, up):
            upstream_calls = up.calls
            async with asyncio.TaskGroup() as tasks:
                sessions_run = [tasks.create_task(one_session(relay)) for _ in range(sessions)]
            await relay.ended()

    got = [outputs(call)["call_1"].split() for call in up.calls]
    assert [token for token, _ in got] == [f"PLANTED-{number}" for number in range(sessions)]
    assert {session_id for _, session_id in got} == set(waiting)
    assert len(set(waiting)) == sessions
    assert all(types(call).count("response.create") == 1 for call in up.calls)
    assert "PLANTED" not in json.dumps([task.result() for task in sessions_run])


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("subprotocols", [ANNOUNCING, [handshake.SUBPROTOCOL], None])
async def test_a_client_gets_events_of_a_tool_only_if_client_and_persona_ask_for_them(
    tmp_path: Path, subprotocols: list[str] | None, *, announce: bool
) -> None:
    script = calling(function_call("call_1", "token", '{"token":"PLANTED"}'))
    receptionist = persona(python("token", announce=announce), python("text", announce=True))
    async with relaying(tmp_path, script, receptionist=receptionist) as (relay, _):
        received = await one_session(relay, subprotocols=subprotocols)
        await relay.ended()

    announced = [event for event in received if event["type"].startswith("relay.tool")]
    assert [(event["type"], event["name"]) for event in announced] == (
        [("relay.tool_started", "token"), ("relay.tool_finished", "token")]
        if announce and subprotocols == ANNOUNCING
        else []
    )
    assert {key for event in announced for key in event} <= {"type", "event_id", "name"}
    assert "PLANTED" not in json.dumps(received)


async def test_the_relay_waits_for_an_active_response_and_shows_no_error(
    tmp_path: Path,
) -> None:
    async def script(call: Call) -> None:
        await call.open()
        await ask(call, function_call("call_1", "text"))
        asked = await until(call, "response.create")
        error = {
            "type": "invalid_request_error",
            "code": "conversation_already_has_active_response",
            "message": "Conversation already has an active response in progress: resp_turn.",
            "event_id": asked["event_id"],
        }
        await call.send({"type": "error", "event_id": "e", "error": error})
        await finish(call, response_id="resp_turn")
        await answer(call)
        await call.listen()

    async with relaying(tmp_path, script, receptionist=persona(python("text"))) as (relay, up):
        received = await one_session(relay)
        await relay.ended()

    assert "error" not in [event["type"] for event in received]
    creates = ["response.create"] * 2
    assert types(up.calls[0]) == ["conversation.item.create", *creates]


async def test_a_request_to_a_tool_is_signed_and_names_session_and_persona(tmp_path: Path) -> None:
    key = base64.b64encode(b"a key of some thirty-two bytes..").decode()
    requests: list[tuple[dict[str, str], bytes]] = []

    async def lookup(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        requests.append((headers, await request.read()))
        return web.Response(text="ok")

    settings = f"tools: {{signing_key: whsec_{key}}}\n"
    script = calling(function_call("call_1", "lookup", '{"token":"t"}'))
    async with http_server(lookup=lookup) as base:
        receptionist = persona(over_http(base, "lookup"))
        started = relaying(tmp_path, script, settings, receptionist=receptionist)
        async with started as (relay, _):
            await one_session(relay)
            line = await relay.ended()

    [(headers, body)] = requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(base64.b64decode(key), signed, hashlib.sha256)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert json.loads(body) == {"token": "t"}
    assert headers["relay-session-id"] == line["session_id"]
    assert headers["relay-persona"] == "receptionist"
    assert headers["relay-call-id"] == "call_1"


async def test_a_reload_gives_new_sessions_new_tools_and_keeps_those_of_running_sessions(
    tmp_path: Path,
) -> None:
    go_on = asyncio.Event()

    async def before(_request: web.Request) -> web.Response:
        return web.Response(text="before")

    async def after(_request: web.Request) -> web.Response:
        return web.Response(text="after")

    async def script(call: Call) -> None:
        await call.open()
        await go_on.wait()
        await ask(call, function_call("call_1", "lookup"))
        await answer(call)
        await call.listen()

    async with http_server(before=before, after=after) as base:
        old = tool("lookup", http={"url": f"{base}/before"})
        new = tool("lookup", http={"url": f"{base}/after"})
        broken = tool("lookup", mcp={"command": ["/nowhere/clinic"]})
        async with relaying(tmp_path, script, receptionist=persona(old)) as (relay, up):
            running = relay.application[app.RELAY]
            async with relay.connect() as client:
                for changed in (new, *([broken] if find_spec("mcp") else [])):
                    text = persona(changed)
                    path = write_config(tmp_path, up.url, personas={"receptionist": text})
                    await running.reload(lambda path=path: load(path, {}))  # type: ignore[misc]
                async with relay.connect() as later:
                    go_on.set()
                    await receive_answer(later)
                await receive_answer(client)
            await relay.ended()

    assert [outputs(call)["call_1"] for call in up.calls] == ["before", "after"]
    assert len(relay.lines("config.reloaded")) == 1
    assert len(relay.lines("config.refused")) == (1 if find_spec("mcp") else 0)


@needs_mcp
async def test_a_reload_that_waits_for_its_tools_does_not_undo_a_later_one(tmp_path: Path) -> None:
    slow, quick = persona(tool("slots", mcp=MCP)), persona(python("text"))
    async with relaying(tmp_path, receptionist=quick) as (relay, up):
        path = write_config(tmp_path, up.url, personas={"receptionist": slow})
        earlier = load(path, {})
        path = write_config(tmp_path, up.url, personas={"receptionist": quick})
        later = load(path, {})
        running = relay.application[app.RELAY]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(running.reload(lambda: earlier))
            tasks.create_task(running.reload(lambda: later))

        assert running.config is later


async def command(*arguments: str) -> tuple[int, str]:
    """Run ``relay`` in a process of its own; return its status and its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


NO_FUNCTIONS = [
    ({"python": "clinic_tools:nobody"}, "is not in its module"),
    ({"python": "nowhere.at:all"}, "nowhere"),
]
NO_SERVERS = [
    ({"mcp": {"command": ["/nowhere/clinic"]}}, "did not start"),
    ({"mcp": {"url": f"http://127.0.0.1:{unused_port()}/mcp"}}, "cannot be asked for its tools"),
    ({"mcp": {**MCP, "tool": "slot"}}, "no tool of this name: did you mean slots?"),
]


@pytest.mark.parametrize("asked", ["check", "serve"])
@pytest.mark.parametrize(
    "faults", [pytest.param(NO_FUNCTIONS), pytest.param(NO_SERVERS, marks=needs_mcp)]
)
async def test_each_tool_that_cannot_be_run_is_reported_and_the_status_is_2(
    tmp_path: Path, asked: str, faults: list[tuple[Event, str]]
) -> None:
    unusable = [tool(f"lookup_{index}", **run) for index, (run, _) in enumerate(faults)]
    text = json.dumps(json.loads(persona(python("text"), *unusable)), indent=1)
    path = write_config(tmp_path, "http://127.0.0.1:9/v1", personas={"receptionist": text})

    status, printed = await command(asked, "--config", str(path))

    assert status == cli.WRONG
    for index, (problem, (_, reason)) in enumerate(
        zip(printed.splitlines(), faults, strict=True), start=1
    ):
        file, line, key = problem.split(":", 2)
        key, _, _ = key.partition(": ")
        assert file == str(tmp_path / "personas" / "receptionist.yaml")
        assert key.startswith(f" session.tools[{index}].run")
        assert f'"{key.rpartition(".")[2]}":' in text.splitlines()[int(line) - 1]
        assert reason in problem


async def test_the_local_upstream_speaks_about_the_output_of_a_tool(
    tmp_path: Path,
) -> None:
    described = {"description": "The opening hours of the clinic on a day of the week."}
    receptionist = persona(python("opening_hours") | described, output_modalities=["text"])
    async with simulated() as local:
        path = write_config(tmp_path, local.base_url, personas={"receptionist": receptionist})
        async with running_relay(path) as relay:
            async with relay.connect() as client:
                text = "What are your opening hours on Sunday?"
                content = [{"type": "input_text", "text": text}]
                item = {"type": "message", "role": "user", "content": content}
                await send(client, type="conversation.item.create", item=item)
                await send(client, type="response.create")
                called = await receive_until(client, "response.done")
                spoken = await receive_until(client, "response.done")
            line = await relay.ended()

    assert called[-1]["response"]["output"] == []
    assert "SUNDAY" in json.dumps(spoken[-1]["response"]["output"])
    assert "function_call" not in json.dumps(called + spoken)
    assert "error" not in [event["type"] for event in called + spoken]
    assert (line["outcome"], line["tool_calls"]) == ("completed", 1)
