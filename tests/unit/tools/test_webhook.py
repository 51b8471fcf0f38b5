"""A tool over HTTP, on real sockets: signed, bounded, tried again only when there was no reply."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from relay.tools import Context
from relay.tools.config import Http, signing_bytes
from relay.tools.outcome import MAX_OUTPUT_BYTES, ToolFailed
from relay.tools.webhook import Webhook, connections, sign

CONTEXT = Context("sess_1", "receptionist", "kiosk", "Jürgen\r\nX: y", "call_1")
KEY = b"a key of thirty-two bytes or so."

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """The address of a tool's server, and the requests that it received."""

    url: str
    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def call(self, arguments: Any = None, *, key: bytes | None = KEY, **config: Any) -> str:
        http = Http.model_validate({"url": self.url, **config})
        async with connections() as session:
            return await Webhook(session, http, key).run(arguments or {}, CONTEXT)


@asynccontextmanager
async def receiver(handle: Handler) -> AsyncIterator[Receiver]:
    """Serve a tool on a free port of loopback."""

    async def note(request: web.Request) -> web.StreamResponse:
        here.requests.append(request)
        here.bodies.append(await request.read())
        return await handle(request)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", note)
    server = TestServer(app, host="127.0.0.1")
    async with server:
        here = Receiver(f"http://127.0.0.1:{server.port}/hours?clinic=5")
        yield here


def answering(**options: Any) -> Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(**options)

    return handle


async def drops(request: web.Request) -> web.StreamResponse:
    """Close the socket without a reply."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.Event().wait()
    raise AssertionError


async def failure(handle: Handler, **config: Any) -> tuple[ToolFailed, Receiver]:
    async with receiver(handle) as here:
        with pytest.raises(ToolFailed) as failed:
            await here.call(**config)
        return failed.value, here


async def test_the_arguments_go_out_as_json_and_the_body_comes_back() -> None:
    async with receiver(answering(text='{"open":"9-17"}')) as here:
        output = await here.call({"day": "sunday"}, headers={"Authorization": "Bearer x"})

    [request] = here.requests
    assert output == '{"open":"9-17"}'
    assert json.loads(here.bodies[0]) == {"day": "sunday"}
    assert (request.method, request.path_qs) == ("POST", "/hours?clinic=5")
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["content-type"] == "application/json"


async def test_the_headers_name_session_and_user_and_cannot_be_injected_into() -> None:
    async with receiver(answering(text="ok")) as here:
        await here.call()

    sent = here.requests[0].headers
    assert {name: value for name, value in sent.items() if name.startswith("relay-")} == {
        "relay-session-id": "sess_1",
        "relay-persona": "receptionist",
        "relay-client": "kiosk",
        "relay-user": "J%C3%BCrgen%0D%0AX: y",
        "relay-call-id": "call_1",
    }
    assert sent["idempotency-key"] == "sess_1:call_1"


async def test_the_signature_is_over_id_time_and_body() -> None:
    async with receiver(answering(text="ok")) as here:
        await here.call({"day": "sunday"})

    sent = here.requests[0].headers
    timestamp = int(sent["webhook-timestamp"])
    assert abs(timestamp - time.time()) < 60
    assert sent["webhook-id"] == "sess_1:call_1"
    expected = sign(KEY, "sess_1:call_1", timestamp, here.bodies[0])
    assert sent["webhook-signature"] == expected


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The expected value comes from the reference library (standardwebhooks 1.1.0)."""
    key = signing_bytes("whsec_plJ3nmyCDGBKInavdOK15jsl")
    body = b'{"event_type":"ping","data":{"success":true}}'

    signature = sign(key, "msg_loFOjxBNrRLzqYUf", 1731705121, body)

    assert signature == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_a_key_without_the_prefix_is_used_literally() -> None:
    assert signing_bytes("a plain key") == b"a plain key"
    with pytest.raises(ValueError, match="base64"):
        signing_bytes("whsec_!")


async def test_without_a_key_nothing_is_signed() -> None:
    async with receiver(answering(text="ok")) as here:
        await here.call(key=None)

    assert not [name for name in here.requests[0].headers if name.lower().startswith("webhook")]


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_reply_without_a_body_is_an_output_too(status: int) -> None:
    async with receiver(answering(status=status)) as here:
        assert await here.call(method="PATCH") == "null"


@pytest.mark.parametrize("status", [302, 307, 400, 404, 500, 503])
async def test_any_other_reply_is_a_failure_and_not_tried_again(status: int) -> None:
    elsewhere = {"Location": "/elsewhere"}

    failed, here = await failure(answering(status=status, text="PLANTED", headers=elsewhere))

    assert failed.cause == f"HTTP {status}"
    assert str(status) in failed.message
    assert "PLANTED" not in failed.output
    assert [request.path for request in here.requests] == ["/hours"]


async def test_a_call_is_tried_once_more_when_the_socket_closes_before_the_reply() -> None:
    failed, here = await failure(drops)

    assert failed.cause.startswith("no reply: ")
    keys = [request.headers["idempotency-key"] for request in here.requests]
    assert keys == ["sess_1:call_1"] * 2


async def test_the_second_attempt_may_succeed() -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        return await drops(request) if len(here.requests) == 1 else web.Response(text="ok")

    async with receiver(once) as here:
        assert await here.call() == "ok"


async def test_an_unreachable_address_is_a_failure() -> None:
    with pytest.raises(ToolFailed, match="no reply: ClientConnectorError"):
        await Receiver(f"http://127.0.0.1:{unused_port()}/").call()


async def test_a_broken_reply_is_not_tried_again() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    failed, here = await failure(handle)

    assert failed.cause.startswith("the reply broke off: ")
    assert len(here.requests) == 1


async def test_a_reply_is_read_only_up_to_the_limit() -> None:
    written = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(160):
            await response.write(b"x" * MAX_OUTPUT_BYTES)
            written += MAX_OUTPUT_BYTES
        return response

    failed, _ = await failure(handle)

    assert "larger than" in failed.cause
    assert "too large" in failed.message
    assert written < 160 * MAX_OUTPUT_BYTES


async def test_a_reply_may_have_the_largest_allowed_size() -> None:
    async with receiver(answering(body=b"x" * MAX_OUTPUT_BYTES)) as here:
        assert len(await here.call()) == MAX_OUTPUT_BYTES


@pytest.mark.parametrize(
    "reply",
    [{"body": b"\xff\xfe"}, {"body": b"\x1f\x8b", "headers": {"Content-Encoding": "gzip"}}],
)
async def test_a_reply_that_is_not_text_is_a_failure(reply: dict[str, Any]) -> None:
    failed, _ = await failure(answering(**reply))

    assert "not readable text" in failed.message


async def test_a_reply_that_is_not_http_is_a_failure() -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.example ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ToolFailed):
            await Receiver(f"http://127.0.0.1:{port}/").call()


async def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    async with receiver(answering(text="ok")) as here:
        assert await here.call() == "ok"
