"""The local upstream accepts, refuses and closes connections as observed on the API."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from fakes import Wire
from simulated import Upstream, simulated
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from relay.simulator import Connected, Disconnected, Observation, Received, Script, Sent, connection

KEY = "sk-the-only-one"
MODEL = "model=gpt-realtime-2.1"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with simulated() as running:
        yield running


async def _error_and_close(url: str, **options: Any) -> tuple[str, int | None, str]:
    """Return the code of the first error, the close code and the reason."""
    async with connect(url, compression=None, **options) as socket:
        event = json.loads(await socket.recv())
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert event["type"] == "error"
    return event["error"]["code"], socket.close_code, socket.close_reason or ""


@pytest.mark.parametrize("model", ["gpt-realtime-2.1", "gpt-realtime", "local-demo"])
async def test_the_first_event_is_session_created(upstream: Upstream, model: str) -> None:
    async with upstream.connect(f"model={model}") as client:
        created = await client.receive()

    assert created["type"] == "session.created"
    session = created["session"]
    assert session["type"] == "realtime"
    assert session["object"] == "realtime.session"
    assert session["model"] == model
    assert session["instructions"]
    assert session["audio"]["input"]["turn_detection"]["create_response"] is True


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_model"),
        ("model=", "missing_model"),
        ("model=gpt-4o", "invalid_model"),
        ("model=gpt-4o-realtime-preview", "invalid_model"),
        ("intent=transcription&model=gpt-transcribe", "invalid_parameter"),
        (f"{MODEL}&script=[{{on: nowhere, do: stall}}]", "invalid_script"),
    ],
)
async def test_a_wrong_model_is_refused_in_band_after_101(
    upstream: Upstream, query: str, code: str
) -> None:
    expected = (code, 4000, f"invalid_request_error.{code}")

    assert await _error_and_close(upstream.url(query)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"OpenAI-Beta": "realtime=v1"}},
        {"subprotocols": [Subprotocol("realtime"), Subprotocol("openai-beta.realtime-v1")]},
    ],
)
async def test_a_beta_client_is_refused_in_band_after_101(
    upstream: Upstream, options: dict[str, Any]
) -> None:
    code = "beta_api_shape_disabled"

    error_and_close = await _error_and_close(upstream.url(), **options)

    assert error_and_close == (code, 4000, f"invalid_request_error.{code}")


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": f"Bearer {KEY}"}},
        {"additional_headers": {"api-key": KEY}},
        {
            "subprotocols": [
                Subprotocol("realtime"),
                Subprotocol(f"openai-insecure-api-key.{KEY}"),
            ]
        },
    ],
)
async def test_the_right_key_is_accepted_in_each_place(options: dict[str, Any]) -> None:
    async with simulated(api_key=KEY) as upstream, upstream.connect(**options) as client:
        assert (await client.receive())["type"] == "session.created"
        assert client.socket.subprotocol in (None, "realtime")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-another"}])
async def test_a_wrong_key_is_refused_in_band_after_101(headers: dict[str, str]) -> None:
    async with simulated(api_key=KEY) as upstream:
        error_and_close = await _error_and_close(upstream.url(), additional_headers=headers)

    assert error_and_close == ("invalid_api_key", 3000, "invalid_request_error.invalid_api_key")


async def test_events_of_a_refused_client_are_not_answered() -> None:
    async with simulated(api_key=KEY) as upstream, connect(upstream.url()) as socket:
        await socket.send(json.dumps({"type": "response.create"}))
        received = [json.loads(await socket.recv())]
        with pytest.raises(ConnectionClosed):
            await socket.recv()

    assert [event["type"] for event in received] == ["error"]


async def test_an_unknown_call_is_refused_over_http(upstream: Upstream) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(upstream.url("call_id=rtc_1"))

    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body)["error"]["code"] == "call_id_not_found"


async def test_there_is_no_compression(upstream: Upstream) -> None:
    async with connect(upstream.url()) as socket:  # this client offers it
        assert socket.protocol.extensions == []


async def test_at_the_limit_the_session_is_closed_with_the_reason_of_the_api() -> None:
    async with simulated(session_seconds=0.05) as upstream, upstream.connect() as client:
        with pytest.raises(ConnectionClosed):
            await client.until("never")

    assert client.socket.close_code == 1001
    reason = client.socket.close_reason or ""
    assert reason.startswith("Your session hit the maximum duration of ")
    assert reason.endswith(" minutes.")


async def test_the_server_pings(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(upstream.url(), autoping=False) as socket,
    ):
        await socket.receive()
        message = await socket.receive()

    assert message.type is aiohttp.WSMsgType.PING
    assert len(message.data) == 4


async def test_a_client_without_pongs_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    monkeypatch.setattr(connection, "_LOST_AFTER_SECONDS", 0.03)
    gone = asyncio.Event()

    def observe(observation: Observation) -> None:
        if isinstance(observation, Disconnected):
            gone.set()

    async with (
        simulated(observer=observe) as upstream,
        aiohttp.ClientSession() as http,
        http.ws_connect(upstream.url(), autoping=False),
    ):
        await gone.wait()


async def test_a_ping_of_the_client_is_answered(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await (await client.socket.ping())


async def test_a_pong_of_the_client_changes_nothing(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await client.socket.pong()

        assert await client.update()


async def test_a_close_without_a_code_is_answered_with_1000(upstream: Upstream) -> None:
    client = await _raw(upstream)
    client.close_frame(None)

    assert await client.closing() == (1000, "")
    await client.hang_up()


async def test_a_client_that_breaks_the_protocol_is_disconnected(upstream: Upstream) -> None:
    client = await _raw(upstream)
    client.send(b"x", opcode=5)

    assert (await client.closing())[0] == 1002
    await client.lost()
    await client.hang_up()


async def test_a_connection_that_is_closed_while_the_server_reads_ends(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def receive(_: aiohttp.web.WebSocketResponse) -> aiohttp.WSMessage:
        return aiohttp.WSMessage(aiohttp.WSMsgType.CLOSED, None, None)

    monkeypatch.setattr(aiohttp.web.WebSocketResponse, "receive", receive)
    client = await _raw(upstream)

    assert (await client.closing())[0] == 1000
    client.close_frame(1000)
    await client.lost()
    await client.hang_up()


async def test_a_connection_that_is_closed_while_the_server_writes_ends(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(_: aiohttp.web.WebSocketResponse, text: str) -> None:
        raise aiohttp.ClientConnectionResetError(text)

    monkeypatch.setattr(aiohttp.web.WebSocketResponse, "send_str", send)
    client = await _raw(upstream)

    await client.lost()
    await client.hang_up()


async def _raw(upstream: Upstream) -> Wire:
    client = await Wire.dial(upstream.port)
    assert await client.ask(f"/v1/realtime?{MODEL}") == 101
    return client


async def test_fifteen_mebibytes_of_audio_fit_into_one_event(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await client.update(audio={"input": {"turn_detection": None}})
        audio = base64.b64encode(bytes(15 * 1024 * 1024)).decode()
        await client.send("input_audio_buffer.append", audio=audio)
        await client.send("input_audio_buffer.commit")
        committed = await client.until("conversation.item.done")

    assert committed["item"]["role"] == "user"


async def test_stopping_closes_each_connection(upstream: Upstream) -> None:
    async with upstream.connect() as client:
        await client.receive()
        await upstream.runner.cleanup()
        with pytest.raises(ConnectionClosed):
            await client.receive()

    assert client.socket.close_code == 1001


async def test_the_observer_sees_each_connection_and_each_message() -> None:
    seen: list[Observation] = []
    async with simulated(observer=seen.append) as upstream:
        headers = {"X-Test": "1"}
        async with upstream.connect(MODEL, additional_headers=headers) as client:
            await client.receive()
            await client.send("input_audio_buffer.clear")
            await client.receive()

    connected, *rest = seen
    assert isinstance(connected, Connected)
    assert connected.target == f"/v1/realtime?{MODEL}"
    assert connected.headers["x-test"] == "1"
    assert [type(observation) for observation in rest] == [Sent, Received, Sent, Disconnected]
    assert {observation.session_id for observation in seen} == {
        client.received[0]["session"]["id"] if client.received else None
    }
    received = rest[1]
    assert isinstance(received, Received)
    assert json.loads(received.message) == {"type": "input_audio_buffer.clear"}
    assert isinstance(rest[-1], Disconnected)
    assert rest[-1].code == 1000


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_no_task_outlives_its_client(ending: str) -> None:
    gone = asyncio.Event()

    def observe(observation: Observation) -> None:
        if isinstance(observation, Disconnected):
            gone.set()

    async with simulated(observer=observe, pace=0.01) as upstream:
        before = asyncio.all_tasks()
        async with upstream.connect() as client:
            await client.send("conversation.item.create", item=_long_message())
            await client.send("response.create")
            await client.until("response.output_audio.delta")
            if ending == "abort":
                client.socket.transport.abort()
            else:
                await client.socket.close()
            await gone.wait()
        await _settled(before)


async def _settled(before: set["asyncio.Task[object]"]) -> None:
    """Wait for all tasks that are newer than ``before``."""
    own = asyncio.current_task()
    newer = [task for task in asyncio.all_tasks() - before if task is not own]
    async with asyncio.timeout(1):
        await asyncio.gather(*newer, return_exceptions=True)


def _long_message() -> dict[str, object]:
    text = "word " * 200
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


async def test_stopping_does_not_wait_for_a_client_that_does_not_read() -> None:
    stuck, gone = asyncio.Event(), asyncio.Event()

    def observe(observation: Observation) -> None:
        if isinstance(observation, Sent) and "output_item.done" in str(observation.message):
            stuck.set()  # the next message is larger than all buffers
        if isinstance(observation, Disconnected):
            gone.set()

    script = Script.load("[{on: response.done, do: send, pad_bytes: 60000000}]")
    async with simulated(observer=observe, script=script) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(
            f"GET /v1/realtime?{MODEL} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await reader.readline()
        writer.write(_frame(json.dumps({"type": "response.create"}).encode()))
        await stuck.wait()
        async with asyncio.timeout(5):
            await upstream.runner.cleanup()
            await gone.wait()
        writer.transport.abort()
        await asyncio.sleep(0)


def _frame(payload: bytes) -> bytes:
    """Return a masked text message; the mask is zero."""
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


async def test_a_fault_of_the_server_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    def break_down(observation: Observation) -> None:
        if not isinstance(observation, Received):
            return
        raise RuntimeError("the observer broke")

    async with simulated(observer=break_down) as upstream, upstream.connect() as client:
        await client.send("input_audio_buffer.clear")
        with pytest.raises(ConnectionClosed):
            await client.until("never")

    assert client.socket.close_code == 1011
    assert "the observer broke" in caplog.text
