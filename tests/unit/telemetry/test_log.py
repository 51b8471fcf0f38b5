"""The content of the log, and the content that must never be in it."""

import io
import json
import logging
from pathlib import Path

import pytest
import structlog
from fakes import Call, Wire
from relays import RunningRelay, relaying, running_relay, write_config

from relay.telemetry import log


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_line_is_json_with_a_time_a_level_and_an_event(stream: io.StringIO) -> None:
    log.create(stream, "json").info("session.ended", session_id="sess_1", tokens={"a": 1})
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "session.ended",
        "level": "info",
        "session_id": "sess_1",
        "tokens": {"a": 1},
    }


def test_without_a_terminal_the_form_is_json(stream: io.StringIO) -> None:
    log.create(stream).info("relay.started")
    assert json.loads(stream.getvalue())["event"] == "relay.started"


def test_the_console_form_is_not_json(stream: io.StringIO) -> None:
    log.create(stream, "console").info("relay.started", url="http://h")
    assert "relay.started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(
    "secret",
    [
        "Incorrect API key provided: sk-PLANTED",
        "sk-proj-PLANTED_1.2",
        "ek_PLANTEDPLANTED",
        "Authorization: Bearer PLANTED/+=",
        "{'authorization': 'bearer PLANTED'}",
        "['realtime', 'openai-insecure-api-key.PLANTED']",
    ],
)
def test_text_that_looks_like_a_key_is_masked_in_each_place(
    stream: io.StringIO, secret: str
) -> None:
    logger = log.create(stream, "json")
    logger.info("x", detail=secret, problems=[secret], nested={"a": [{"b": secret}]})
    logger.error("session.failed", exc_info=ValueError(secret))
    assert "PLANTED" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_one_event_is_one_line_with_any_fields(stream: io.StringIO) -> None:
    log.create(stream, "json").info("x", detail="a\n2026 INFO admin\x1b[2J" + "y" * 100_000)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue()) < 2_000


@pytest.mark.usefixtures("own_logging")
def test_warnings_of_libraries_are_masked_and_in_the_same_form(stream: io.StringIO) -> None:
    log.adopt_libraries(log.create(stream, "json"))
    logging.getLogger("some.library").warning("refused %s", "sk-PLANTED")
    logging.getLogger("some.library").debug("not this")
    failure = LookupError("Bearer PLANTED")
    logging.getLogger("aiohttp.server").error("Unhandled exception", exc_info=failure)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["logger"], first["level"]) == ("some.library", "warning")
    assert "LookupError" in second["exception"]
    assert "PLANTED" not in stream.getvalue()


@pytest.mark.usefixtures("own_logging", "nothing_is_left")
async def test_a_malformed_header_is_not_quoted(tmp_path: Path, stream: io.StringIO) -> None:
    """Aiohttp logs it with a traceback, and the header may contain the key."""
    log.adopt_libraries(log.create(stream, "json"))
    async with running_relay(write_config(tmp_path, "http://127.0.0.1:1/v1")) as relay:
        wire = await Wire.dial(relay.port)
        wire.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\napi-key: PLANTED\x00\r\n\r\n")
        assert b" 400 " in await wire.reader.read(1000)
        await wire.hang_up()
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["event"] == "request.malformed"
    assert "PLANTED" not in stream.getvalue()


@pytest.mark.usefixtures("own_logging")
def test_structlog_is_not_configured_globally(stream: io.StringIO) -> None:
    """The logger is passed to all parts of the relay."""
    log.adopt_libraries(log.create(stream, "json"))
    assert not structlog.is_configured()


MARKERS = {
    "key of the client": "kiosk-PLANTED-CLIENT-KEY",
    "key of the upstream": "sk-PLANTED-KEY",
    "prompt": "PLANTED-PROMPT",
    "tool": "PLANTED-TOOL",
    "query": "PLANTED-QUERY",
    "transcript": "PLANTED-TRANSCRIPT",
    "text": "PLANTED-TEXT",
    "arguments": "PLANTED-ARGUMENTS",
    "audio": "UExBTlRFRC1BVURJTw",
}


async def sends_all_markers(call: Call) -> None:
    """Open the session, receive from the client, and send each marker of an upstream."""
    await call.open()
    for _ in range(4):
        await call.receive()
    transcript = {"transcript": MARKERS["transcript"], "item_id": "i", "event_id": "e"}
    kind = "conversation.item.input_audio_transcription.completed"
    await call.send({"type": kind, **transcript})
    delta = {"type": "response.output_audio.delta", "event_id": "e", "response_id": "r"}
    await call.send(delta | {"delta": MARKERS["audio"] * 100})
    item = {"type": "function_call", "call_id": "c", "arguments": MARKERS["arguments"]}
    response = {"id": "r", "status": "completed", "output": [item]}
    await call.send({"type": "response.done", "event_id": "e", "response": response})
    message = f"Invalid: {MARKERS['prompt']}, {MARKERS['key of the upstream']}"
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": message}
    await call.send({"type": "error", "event_id": "e", "error": error})
    await call.socket.close(code=1011, message=MARKERS["prompt"].encode())
    await call.listen()


def client_events() -> list[str]:
    """Return messages with each marker of a client; the relay passes on four of them."""
    text = {"type": "input_text", "text": MARKERS["text"]}
    item = {"type": "message", "role": "user", "content": [text]}
    events = [
        {"type": "input_audio_buffer.append", "audio": MARKERS["audio"] + "=="},
        {"type": "response.create", "response": {"instructions": MARKERS["text"]}},
        {"type": MARKERS["text"]},
        {"type": "conversation.item.create", "item": item},
        {"type": "input_audio_buffer.commit"},
    ]
    return [f'{{"type": "{MARKERS["text"]}', *map(json.dumps, events)]


async def errors_of_a_session(relay: RunningRelay, offered: str) -> list[str]:
    """Open a session with this subprotocol; return the errors that the client received."""
    client = await Wire.dial(relay.port)
    await client.ask(Sec_WebSocket_Protocol=offered)
    for message in client_events():
        client.send(message.encode())
    events = await client.events()
    await client.hang_up()
    await relay.ended()
    return [json.dumps(event) for event in events if event["type"] == "error"]


async def body_of_a_refusal(relay: RunningRelay, query: str, headers: dict[str, str]) -> str:
    """Request a session that is refused; return the body of the answer."""
    client = await Wire.dial(relay.port)
    assert await client.ask(f"/v1/realtime{query}", **headers) >= 400
    body = await client.reader.read(10_000)
    await client.hang_up()
    return body.decode()


@pytest.mark.usefixtures("nothing_is_left")
async def test_no_marker_is_in_a_log_a_metric_or_an_error_even_at_debug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("", "aiohttp.websocket", "aiohttp.client", "aiohttp.server", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    key = MARKERS["key of the client"]
    protocol = f"openai-insecure-api-key.{key}"
    settings = f"clients: {{kiosk: {{key: {key}}}}}"
    async with relaying(tmp_path, sends_all_markers, settings) as (relay, _):
        answers = [
            *await errors_of_a_session(relay, f"realtime, {protocol}"),
            *await errors_of_a_session(relay, protocol),
            await body_of_a_refusal(relay, f"?api_key={MARKERS['query']}", {}),
            await body_of_a_refusal(relay, f"?persona={MARKERS['query']}", {"api_key": key}),
            await body_of_a_refusal(relay, "", {"Authorization": f"Bearer {MARKERS['query']}"}),
        ]
        metrics = json.dumps(await relay.metrics())
        logged = relay.logged.getvalue()

    out, err = capfd.readouterr()
    assert "event_not_allowed" in "".join(answers)
    assert "invalid_value" in "".join(answers)
    assert '"client": "kiosk"' in logged
    for kind, marker in MARKERS.items():
        for where in (logged, caplog.text, metrics, out, err, "".join(answers)):
            assert marker not in where, kind
