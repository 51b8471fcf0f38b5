"""Connecting to a provider: the request that it receives, and the error for each failure."""

import asyncio
import errno
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets
from aiohttp import web
from certificates import issue
from fakes import BINARY, Call, FakeUpstream, Wire, listens, rude_upstream
from relays import RunningRelay, receive, relaying, running_relay, write_config, write_fallbacks

from relay.core import circuit
from relay.upstreams.resolver import Resolver

pytestmark = pytest.mark.usefixtures("nothing_is_left")

QUICK = "ready_timeout_seconds: 0.4"
ERROR = {"type": "error", "event_id": "e"}


def configure(folder: Path, url: str, more: str = "") -> Path:
    """Write a configuration whose upstream has further settings."""
    return write_config(folder, url, more=more)


async def refusal(relay: RunningRelay) -> tuple[int, str, int]:
    """Return status, code and close code, as a client sees them over HTTP and in band."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await relay.connect()
    body = refused.value.response.body or b""
    error = json.loads(body)["error"]
    async with relay.connect(subprotocols=["realtime"]) as client:
        event = await receive(client)
        await client.wait_closed()
    assert event["error"]["code"] == error["code"]
    assert b"PLANTED" not in body
    assert client.close_code is not None
    return refused.value.response.status_code, error["code"], client.close_code


UNAVAILABLE = (502, "upstream_unavailable", 1013)
REFUSED = (502, "upstream_refused", 4502)
REJECTED = (502, "persona_rejected", 4502)
TIMEOUT = (504, "upstream_timeout", 1013)


async def test_the_upstream_receives_only_configured_values_and_none_of_the_client(
    tmp_path: Path,
) -> None:
    more = "organization: org-1, project: proj-1, headers: {x-gateway: PLANTED-HEADER}"
    async with FakeUpstream().running() as upstream:
        async with running_relay(configure(tmp_path, upstream.url, more)) as relay:
            of_the_client = {
                "Authorization": "Bearer sk-of-the-client",
                "Cookie": "a=b",
                "X-Forwarded-For": "1.2.3.4",
                "OpenAI-Safety-Identifier": "x",
            }
            async with relay.connect(
                "?model=evil&voice=alloy&call_id=1", additional_headers=of_the_client
            ):
                request = upstream.calls[0].request

    assert request.path_qs == "/v1/realtime?model=gpt-realtime-2.1"
    headers = dict(request.headers)
    assert headers.pop("Authorization") == "Bearer sk-PLANTED-KEY"
    assert headers.pop("OpenAI-Organization") == "org-1"
    assert headers.pop("OpenAI-Project") == "proj-1"
    assert headers.pop("x-gateway") == "PLANTED-HEADER"
    assert headers.pop("User-Agent").startswith("realtime-relay/")
    assert sorted(headers) == [
        "Accept",
        "Accept-Encoding",
        "Connection",
        "Host",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Upgrade",
    ]


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, body: str = "sk-PLANTED-BODY", **headers: str) -> Answer:
    """Answer the handshake with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=body, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(401), REFUSED),
        (status(403), REFUSED),
        (status(404), REFUSED),
        (status(400), REFUSED),
        (status(429, **{"Retry-After": "7"}), UNAVAILABLE),
        (status(500), UNAVAILABLE),
        (status(503), UNAVAILABLE),
        (status(200, "<html>Welcome</html>"), UNAVAILABLE),
        (status(204, ""), UNAVAILABLE),
        (status(302), UNAVAILABLE),
    ],
)
async def test_an_upstream_that_does_not_answer_101(
    tmp_path: Path, answer: Answer, expected: tuple[int, str, int]
) -> None:
    async with FakeUpstream(answer=answer).running() as upstream:
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            assert await refusal(relay) == expected
            line = relay.lines("session.refused")[0]
            assert line["code"] == expected[1]
            assert line["detail"].startswith("fake")
            upstream.answer = None
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(tmp_path: Path, code: int) -> None:
    """A redirect would carry the key to another server."""
    async with FakeUpstream().running() as elsewhere:
        location = elsewhere.url.replace("127.0.0.1", "localhost") + "/realtime"
        answer = status(code, Location=location)
        async with FakeUpstream(answer=answer).running() as upstream:
            for target in (upstream.url, elsewhere.url):
                assert target.startswith("http://127.0.0.1")
            async with running_relay(write_config(tmp_path, upstream.url)) as relay:
                assert await refusal(relay) == UNAVAILABLE
    assert not elsewhere.called.is_set()


async def test_no_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeUpstream().running() as proxy, FakeUpstream().running() as upstream:
        for name in ("http_proxy", "HTTP_PROXY", "ws_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            async with relay.connect():
                pass
    assert not proxy.called.is_set()


async def test_an_upstream_that_is_down(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url)
    async with running_relay(path) as relay:
        assert await refusal(relay) == UNAVAILABLE
        assert "ClientConnectorError" in relay.lines("session.refused")[0]["detail"]


async def test_a_refused_handshake_leaves_its_connection_to_no_other_session(
    tmp_path: Path,
) -> None:
    """The upstream keeps the connection open and answers nothing more on it."""
    connections = 0

    async def refuses_once(upstream: Wire) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await upstream.reader.readuntil(b"\r\n\r\n")
            upstream.writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            await upstream.reader.read()
        else:
            await upstream.open()
            await upstream.closing()

    async with rude_upstream(refuses_once) as url:
        async with running_relay(write_config(tmp_path, url)) as relay:
            with pytest.raises(websockets.InvalidStatus):
                await relay.connect()
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"
    assert connections == 2


async def test_an_upstream_that_has_moved_is_found_by_the_next_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    resolve = Resolver.resolve

    async def moves(self: Resolver, host: str, *args: Any, **options: Any) -> Any:
        looked_up.append(host)
        found = await resolve(self, "127.0.0.1", *args, **options)
        return [{**found[0], "host": "127.0.0.2"}] if len(looked_up) == 1 else found

    monkeypatch.setattr(Resolver, "resolve", moves)
    async with FakeUpstream().running() as upstream:
        url = upstream.url.replace("127.0.0.1", "upstream.example")
        async with running_relay(write_config(tmp_path, url)) as relay:
            with pytest.raises(websockets.InvalidStatus):
                await relay.connect()
            for _ in range(2):
                async with relay.connect() as client:
                    assert (await receive(client))["type"] == "session.created"
    assert looked_up == 2 * ["upstream.example"], "an address that works is kept"


async def test_a_relay_that_may_open_no_more_files_is_full_and_blames_no_upstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    async with FakeUpstream().running() as upstream:
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            with monkeypatch.context() as patch:
                patch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", fails)
                for _ in range(circuit.FAILURES):
                    with pytest.raises(websockets.InvalidStatus) as refused:
                        await relay.connect()
                    body = json.loads(refused.value.response.body or b"")
                    assert body["error"]["code"] == "relay_full"
            assert relay.lines("upstream.failed") == []
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"


async def test_an_upstream_with_an_unknown_name(tmp_path: Path) -> None:
    async with running_relay(write_config(tmp_path, "http://no.such.host.invalid/v1")) as relay:
        assert await refusal(relay) == UNAVAILABLE


Opening = Callable[[Call], Awaitable[None]]


def sends(*events: dict[str, Any] | str | bytes, close: int | None = None) -> Opening:
    """Send these events instead of session.created; close, or wait."""

    async def opens(call: Call) -> None:
        for event in events:
            await call.send(event)
        if close is not None:
            await call.socket.close(code=close, message=b"the reason of the upstream")
        await call.listen()

    return opens


def answers_update(*events: dict[str, Any], close: int | None = None) -> Opening:
    """Answer the persona's update with these events; close, or wait."""

    async def opens(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": {}})
        update = await call.receive()
        for event in events:
            error = dict(event["error"])
            if error.get("event_id") == "ours":
                error["event_id"] = update["event_id"]
            await call.send(event | {"error": error})
        if close is not None:
            await call.socket.close(code=close)
        await call.listen()

    return opens


async def resets(call: Call) -> None:
    """Reset the connection after 101."""
    call.reset()
    await call.listen()


def error(code: str | None, **fields: Any) -> dict[str, Any]:
    """Return an error event of the upstream."""
    kind = {"type": "invalid_request_error", "code": code, "message": "It is wrong.", "param": None}
    return ERROR | {"error": kind | fields}


OPENINGS = {
    "key": (sends(error("invalid_api_key"), close=3000), REFUSED),
    "key, only closed": (sends(close=3000), REFUSED),
    "model": (sends(error("model_not_found"), close=4000), REFUSED),
    "model, only closed": (sends(close=4000), REFUSED),
    "no quota": (sends(error("insufficient_quota"), close=1000), REFUSED),
    "overloaded": (sends(error("rate_limit_exceeded"), close=1013), UNAVAILABLE),
    "failing": (sends(error("server_error", type="server_error")), UNAVAILABLE),
    "closes 1011": (sends(close=1011), UNAVAILABLE),
    "closes 1000": (sends(close=1000), UNAVAILABLE),
    "garbage": (sends("garbage"), UNAVAILABLE),
    "binary": (sends(b"\x00"), UNAVAILABLE),
    "resets": (resets, UNAVAILABLE),
    "silent": (sends(), TIMEOUT),
    "updated before created": (sends({"type": "session.updated", "session": {}}), TIMEOUT),
    "never confirms": (answers_update(), TIMEOUT),
    "persona, with the relay's id": (
        answers_update(error("unknown_parameter", event_id="ours", param="session.voice")),
        REJECTED,
    ),
    "persona, with neither id nor param": (answers_update(error("invalid_value")), REJECTED),
    "persona, without a code": (answers_update(error(None)), REJECTED),
    "persona, closed": (answers_update(close=4000), REFUSED),
    "key, reported late": (answers_update(error("invalid_api_key")), REFUSED),
}


@pytest.mark.parametrize("opening", OPENINGS)
async def test_an_upstream_that_does_not_open_the_session(tmp_path: Path, opening: str) -> None:
    script, expected = OPENINGS[opening]
    async with FakeUpstream(script).running() as upstream:
        async with running_relay(configure(tmp_path, upstream.url, QUICK)) as relay:
            assert await refusal(relay) == expected
            for call in upstream.calls:
                await call.closed
            upstream.script = listens
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"


async def test_the_log_names_the_refused_field_of_the_persona(tmp_path: Path) -> None:
    wrong = error("unknown_parameter", event_id="ours", param="session.audio.output.voicee")
    async with relaying(tmp_path, answers_update(wrong)) as (relay, _):
        assert await refusal(relay) == REJECTED
        assert "session.audio.output.voicee" in relay.lines("session.refused")[0]["detail"]


async def test_the_log_does_not_quote_the_hints_for_a_transcription(tmp_path: Path) -> None:
    clerk = """
        upstream: fake
        session:
          type: transcription
          audio:
            input:
              transcription:
                model: gpt-transcribe
                prompt: It is about PLANTED-PATIENTS and their names.
                keywords: [PLANTED-KEYWORD]
    """
    message = "No prompt: 'It is about PLANTED-PATIENTS and their names.' ['PLANTED-KEYWORD']"
    quoting = error("invalid_value", message=message, param="session.audio.input.transcription")
    async with relaying(tmp_path, answers_update(quoting), receptionist=clerk) as (relay, _):
        assert await refusal(relay) == REJECTED
        assert "session.audio.input" in relay.lines("session.refused")[0]["detail"]
        assert "PLANTED" not in relay.logged.getvalue()


@pytest.mark.parametrize(
    "message",
    [
        "Invalid: 'You are the receptionist of the clinic; the canary is PLANTED-PROMPT.'",
        "input_value='...clinic; the canary is PLANTED-PROMPT.', input_type=str",
        "Invalid tool: PLANTED-TOOL",
        "Incorrect API key provided: sk-PLANTED-KEY.",
    ],
)
async def test_the_log_does_not_quote_the_persona_when_the_upstream_does(
    tmp_path: Path, message: str
) -> None:
    quoting = error("invalid_value", message=message, param="session.instructions")
    async with relaying(tmp_path, answers_update(quoting)) as (relay, _):
        assert await refusal(relay) == REJECTED
        assert "session.instructions" in relay.lines("session.refused")[0]["detail"]
        assert "PLANTED" not in relay.logged.getvalue()


Rude = Callable[[Wire], Awaitable[None]]


async def stalls_before_the_handshake(upstream: Wire) -> None:
    await upstream.lost()


async def speaks_no_http(upstream: Wire) -> None:
    upstream.writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    await upstream.lost()


async def closes_in_the_handshake(upstream: Wire) -> None:
    await upstream.reader.readuntil(b"\r\n\r\n")


async def resets_in_the_handshake(upstream: Wire) -> None:
    await upstream.reader.readuntil(b"\r\n\r\n")
    upstream.reset()


async def accepts_with_a_wrong_key(upstream: Wire) -> None:
    await upstream.reader.readuntil(b"\r\n\r\n")
    upstream.writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm8=\r\n\r\n"
    )
    await upstream.lost()


async def sends_an_endless_head(upstream: Wire) -> None:
    upstream.writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: " + b"x" * 100_000)
    await upstream.lost()


async def answers_with_a_megabyte(upstream: Wire) -> None:
    await upstream.reader.readuntil(b"\r\n\r\n")
    upstream.writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 10**6)
    await upstream.lost()


async def sends_binary_and_stays(upstream: Wire) -> None:
    await upstream.accept()
    upstream.send(b"\x00", BINARY)
    await upstream.lost()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (stalls_before_the_handshake, TIMEOUT),
        (speaks_no_http, UNAVAILABLE),
        (closes_in_the_handshake, UNAVAILABLE),
        (resets_in_the_handshake, UNAVAILABLE),
        (accepts_with_a_wrong_key, UNAVAILABLE),
        (sends_an_endless_head, UNAVAILABLE),
        (answers_with_a_megabyte, UNAVAILABLE),
        (sends_binary_and_stays, UNAVAILABLE),
    ],
)
async def test_an_upstream_that_is_not_a_websocket_server(
    tmp_path: Path, script: Rude, expected: tuple[int, str, int]
) -> None:
    async with rude_upstream(script) as url:
        async with running_relay(configure(tmp_path, url, QUICK)) as relay:
            assert await refusal(relay) == expected


async def test_the_next_upstream_of_the_list_is_tried(tmp_path: Path) -> None:
    async with FakeUpstream(answer=status(500)).running() as first:
        async with FakeUpstream().running() as second:
            keys = {"url": first.url, "api_key": "sk-PLANTED-KEY"}
            path = write_fallbacks(tmp_path, first=keys, second={"url": second.url})
            async with running_relay(path) as relay:
                async with relay.connect() as client:
                    assert (await receive(client))["type"] == "session.created"

    assert first.called.is_set()
    assert "Authorization" not in second.calls[0].request.headers


async def test_a_rejected_persona_is_not_tried_at_another_upstream(tmp_path: Path) -> None:
    script = answers_update(error("unknown_parameter", param="session.x"))
    async with FakeUpstream(script).running() as first, FakeUpstream().running() as second:
        path = write_fallbacks(tmp_path, first={"url": first.url}, second={"url": second.url})
        async with running_relay(path) as relay:
            assert await refusal(relay) == REJECTED
    assert not second.called.is_set()


async def test_a_stalling_upstream_leaves_time_for_the_next(tmp_path: Path) -> None:
    async with (
        rude_upstream(stalls_before_the_handshake) as url,
        FakeUpstream().running() as second,
    ):
        stalling = {"url": url, "ready_timeout_seconds": 1}
        path = write_fallbacks(tmp_path, first=stalling, second={"url": second.url})
        async with running_relay(path) as relay, asyncio.timeout(1.5):
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"


@pytest.mark.both_loops
async def test_tls_is_verified_and_a_ca_file_can_be_given(tmp_path: Path) -> None:
    good, other = issue(tmp_path), issue(tmp_path, "other.example")
    async with FakeUpstream(tls=good.serving).running() as upstream:
        trusting = configure(tmp_path, upstream.url, f"ca_file: {good.cert}")
        async with running_relay(trusting) as relay:
            async with relay.connect() as client:
                assert (await receive(client))["type"] == "session.created"
            assert await upstream.calls[0].closed == 1000
            await relay.ended()
        calls = len(upstream.calls)
        for more in ("organization: x", f"ca_file: {other.cert}"):  # unknown authority
            async with running_relay(configure(tmp_path, upstream.url, more)) as relay:
                assert await refusal(relay) == UNAVAILABLE
                assert "CERTIFICATE_VERIFY_FAILED" in relay.lines("session.refused")[0]["detail"]
        assert len(upstream.calls) == calls
    async with FakeUpstream(tls=other.serving).running() as upstream:  # the name of another
        path = configure(tmp_path, upstream.url, f"ca_file: {other.cert}")
        async with running_relay(path) as relay:
            assert await refusal(relay) == UNAVAILABLE
            assert "127.0.0.1" in relay.lines("session.refused")[0]["detail"]
    assert not upstream.calls


@pytest.mark.both_loops
async def test_an_upstream_that_stalls_in_the_tls_handshake(tmp_path: Path) -> None:
    async with rude_upstream(stalls_before_the_handshake) as url:
        path = configure(tmp_path, url.replace("http:", "https:"), QUICK)
        async with running_relay(path) as relay:
            assert await refusal(relay) == TIMEOUT


async def test_plain_http_behind_https(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url.replace("http:", "https:"))
        async with running_relay(path) as relay:
            assert await refusal(relay) == UNAVAILABLE
