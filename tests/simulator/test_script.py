"""The faults of a script happen at the right point, the right number of times."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from conformance import check_events
from simulated import Client, simulated
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from relay.simulator import InvalidScript, Script, ScriptedReply

LONG = ScriptedReply.of("", "This goes on. " * 40)


@asynccontextmanager
async def with_script(script: str, **options: Any) -> AsyncIterator[Client]:
    """Run a server with a script, and connect a client."""
    async with (
        simulated(script=Script.load(script), **options) as upstream,
        connect(upstream.url(), max_size=None) as socket,
    ):
        yield Client(socket)


async def test_a_confirmation_can_be_delayed() -> None:
    async with with_script("[{on: session.updated, do: delay, seconds: 0.2}]") as client:
        await client.receive()
        sent_at = asyncio.get_running_loop().time()
        await client.update()

    assert asyncio.get_running_loop().time() - sent_at >= 0.2


async def test_the_first_event_can_be_delayed() -> None:
    began_at = asyncio.get_running_loop().time()
    async with with_script("[{on: session.created, do: delay, seconds: 0.2}]") as client:
        await client.receive()

    assert asyncio.get_running_loop().time() - began_at >= 0.2


async def test_the_handling_of_a_client_event_can_be_delayed() -> None:
    async with with_script("[{on: session.update, do: delay, seconds: 0.2}]") as client:
        await client.receive()
        sent_at = asyncio.get_running_loop().time()
        await client.update()

    assert asyncio.get_running_loop().time() - sent_at >= 0.2


@pytest.mark.parametrize("on", ["session.updated", "session.update"])
async def test_a_stalled_server_keeps_the_connection_and_sends_nothing(on: str) -> None:
    async with with_script(f"[{{on: {on}, do: stall}}]") as client:
        await client.receive()
        await client.send("session.update", session={"type": "realtime"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.receive()
        assert client.socket.close_code is None


async def test_a_stalled_server_answers_no_later_event() -> None:
    async with with_script("[{on: session.update, do: stall}]") as client:
        await client.receive()
        await client.send("session.update", session={"type": "realtime"})
        await client.send("input_audio_buffer.clear")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.receive()


async def test_an_event_that_cannot_be_read_passes_no_point_of_the_script() -> None:
    async with with_script("[{on: session.update, do: ignore}]") as client:
        await client.receive()
        await client.socket.send("garbage")

        assert (await client.receive())["error"]["code"] == "invalid_json"


async def test_a_connection_is_refused_over_http() -> None:
    words = "status: 429, code: rate_limit_exceeded, type: tokens, message: Slow down"
    script = Script.load(f"[{{on: connect, do: refuse, {words}, times: 1}}]")
    async with simulated(script=script) as upstream:
        with pytest.raises(InvalidStatus) as refused:
            await connect(upstream.url())
        async with upstream.connect() as client:
            assert (await client.receive())["type"] == "session.created"

    assert refused.value.response.status_code == 429
    assert json.loads(refused.value.response.body) == {
        "error": {
            "message": "Slow down",
            "type": "tokens",
            "code": "rate_limit_exceeded",
            "param": None,
        }
    }


async def test_a_connection_is_dropped_before_it_is_answered() -> None:
    async with simulated(script=Script.load("[{on: connect, do: drop}]")) as upstream:
        with pytest.raises((InvalidMessage, ConnectionError, EOFError)):
            await connect(upstream.url())


async def test_a_connection_is_never_answered() -> None:
    """The handler ends when its client gives up: closing the server does not wait for it."""
    async with simulated(script=Script.load("[{on: connect, do: stall}]")) as upstream:
        with pytest.raises(TimeoutError):
            await connect(upstream.url(), open_timeout=0.1)
        async with asyncio.timeout(2):
            await upstream.runner.cleanup()


async def test_the_handshake_can_be_delayed() -> None:
    began_at = asyncio.get_running_loop().time()
    async with with_script("[{on: connect, do: delay, seconds: 0.2}]") as client:
        await client.receive()

    assert asyncio.get_running_loop().time() - began_at >= 0.2


async def test_the_model_is_refused_in_band_as_the_api_does() -> None:
    words = "code: invalid_model, type: invalid_request_error, param: model, close: 4000"
    async with with_script(f"[{{on: session.created, do: error, {words}}}]") as client:
        error = (await client.receive())["error"]
        with pytest.raises(ConnectionClosed):
            await client.receive()

    assert (error["code"], error["param"]) == ("invalid_model", "model")
    assert client.socket.close_code == 4000
    assert client.socket.close_reason == "invalid_request_error.invalid_model"


async def test_a_refused_update_returns_the_clients_event_id() -> None:
    words = "code: unknown_parameter, type: invalid_request_error, param: session.x, message: No"
    async with with_script(f"[{{on: session.update, do: error, {words}}}]") as client:
        error = await client.refused("session.update", session={"type": "realtime"})

    assert error == {
        "type": "invalid_request_error",
        "code": "unknown_parameter",
        "message": "No",
        "param": "session.x",
        "event_id": "mine",
    }
    assert "session.updated" not in client.types()


@pytest.mark.parametrize("on", ["session.update", "session.updated"])
async def test_an_ignored_event_has_no_answer(on: str) -> None:
    async with with_script(f"[{{on: {on}, do: ignore, times: 1}}]") as client:
        await client.send("session.update", session={"type": "realtime", "instructions": "x"})
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")

    assert "session.updated" not in client.types()


async def test_the_connection_is_closed_in_mid_audio() -> None:
    rule = "{on: response.output_audio.delta, skip: 3, do: close, code: 1011, reason: keepalive}"
    async with with_script(f"[{rule}]", replies=[LONG]) as client:
        await client.send("response.create")
        with pytest.raises(ConnectionClosed):
            await client.until("response.done")

    assert (client.socket.close_code, client.socket.close_reason) == (1011, "keepalive")
    assert len(list(client.all("response.output_audio.delta"))) >= 3


async def test_the_connection_is_dropped_in_mid_audio() -> None:
    rule = "{on: response.output_audio.delta, skip: 3, do: drop}"
    async with with_script(f"[{rule}]", replies=[LONG]) as client:
        await client.send("response.create")
        with pytest.raises(ConnectionClosed):
            await client.until("response.done")

    assert client.socket.close_code == 1006


@pytest.mark.parametrize(
    ("on", "skip"),
    [
        ("response.created", 0),
        ("response.output_item.added", 0),
        ("response.output_audio_transcript.delta", 2),
        ("response.output_audio.delta", 3),
        ("response.output_item.done", 0),
    ],
)
async def test_a_response_fails(on: str, skip: int) -> None:
    words = "code: rate_limit_exceeded, type: tokens, message: Too many tokens"
    rule = f"{{on: {on}, skip: {skip}, do: fail, {words}, times: 1}}"
    async with with_script(f"[{rule}]", replies=[LONG]) as client:
        failed = await client.exchange("Hello")
        next_one = await client.exchange("Hello", output_modalities=["text"])
        check_events(client.received)

    assert failed["status"] == "failed"
    assert failed["status_details"] == {
        "type": "failed",
        "error": {
            "code": "rate_limit_exceeded",
            "type": "tokens",
            "message": "Too many tokens",
        },
    }
    assert failed["usage"]["total_tokens"] == 0
    assert next_one["status"] == "completed"


async def test_an_unknown_event_can_be_sent() -> None:
    rule = "{on: session.created, do: send, event: {type: weather.changed, sunny: true}}"
    async with with_script(f"[{rule}]") as client:
        unknown = await client.receive()
        created = await client.receive()

    assert (unknown["type"], unknown["sunny"]) == ("weather.changed", True)
    assert unknown["event_id"].startswith("event_")
    assert created["type"] == "session.created"


async def test_a_huge_event_can_be_sent() -> None:
    rule = "{on: session.created, do: send, pad_bytes: 3000000}"
    async with with_script(f"[{rule}]") as client:
        huge = await client.receive()

    assert len(huge["padding"]) == 3_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [('text: "not json"', "not json"), ("binary: AAEC", b"\x00\x01\x02")],
)
async def test_garbage_can_be_sent(words: str, message: str | bytes) -> None:
    async with with_script(f"[{{on: session.created, do: send, {words}}}]") as client:
        assert await client.socket.recv() == message


async def test_a_script_can_be_in_the_address() -> None:
    script = "[{on: session.created, do: close, code: 1013, reason: later}]"
    async with simulated() as upstream, aiohttp.ClientSession() as http:
        params = {"model": "local-demo", "script": script}
        url = upstream.url("").removesuffix("?")
        async with http.ws_connect(url, params=params) as socket:
            await socket.receive()
            assert socket.close_code == 1013


async def test_a_rule_counts_its_times_over_all_sessions_and_its_skips_in_each() -> None:
    script = Script.load("[{on: session.updated, do: ignore, skip: 1, times: 2}]")
    sessions = [script.begin() for _ in range(3)]

    happened = [
        [bool(session.rules_at("session.updated")) for _ in range(3)] for session in sessions
    ]

    assert happened == [[False, True, True], [False, False, False], [False, False, False]]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("[{on: session.created}]", "script[0].do"),
        ("[{do: stall}]", "script[0].on"),
        ("[{on: session.made, do: stall}]", "script[0].on"),
        ("[{on: connect, do: explode}]", "script[0].do"),
        ("[{on: connect, do: stall, seconds: 1}]", "script[0].seconds"),
        ("[{on: connect, do: close, code: 70000}]", "script[0].code"),
        ("[{on: error, do: send, binary: '%'}]", "script[0].binary"),
        ("[{on: connect, do: close}]", "close cannot happen at connect"),
        ("[{on: session.created, do: refuse}]", "refuse cannot happen at session.created"),
        ("[{on: session.created, do: fail}]", "fail cannot happen at session.created"),
        ("stall", "script"),
        ("[", "not YAML"),
    ],
)
def test_the_error_of_a_script_names_the_place(script: str, problem: str) -> None:
    with pytest.raises(InvalidScript) as refused:
        Script.load(script)

    assert problem in str(refused.value)


def test_an_empty_text_is_an_empty_script() -> None:
    assert Script.load("").begin().is_empty
