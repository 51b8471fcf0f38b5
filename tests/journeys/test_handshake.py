"""The handshake: which clients get 101, when, and how the relay refuses the others."""

import asyncio
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from fakes import Call, Wire, frame, listens
from handshakes import refused, refused_in_band
from openai.types.realtime import SessionCreatedEvent
from relays import PERSONA, receive, relaying
from rude_relays import relaying_rudely
from scripts import (
    APPEND,
    SMALL_BUFFER_BYTES,
    WireScript,
    blocked,
    hangs_up,
    never_confirms,
    resets,
)

from relay import serving
from relay.sessions import admission
from relay.upstreams.dialler import Dialler

pytestmark = pytest.mark.usefixtures("nothing_is_left")

KEYED = """
    clients:
      kiosk: {key: [kiosk-key-one, kiosk-key-two], personas: [receptionist]}
      other: {key: other-key-one, limits: {max_sessions: 1}}
    browser: {allowed_origins: ["https://app.example.com"]}
"""
TWO = {"receptionist": PERSONA, "concierge": PERSONA}


async def test_a_client_gets_101_only_after_the_upstream_has_confirmed_the_persona(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    times: dict[str, float] = {}

    async def confirms_late(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": {"id": "sess_up"}})
        update = await call.receive()
        confirm = asyncio.Event()
        loop.call_later(0.4, confirm.set)
        await confirm.wait()
        times["confirmed"] = loop.time()
        session = update["session"] | {"id": "sess_up", "expires_at": 4102444800}
        await call.send({"type": "session.updated", "event_id": "2", "session": session})
        await call.listen()

    async with relaying(tmp_path, confirms_late) as (relay, upstream):
        started = loop.time()
        async with relay.connect() as client:
            times["open"] = loop.time()
            first = await receive(client)
        line = await relay.ended()

    assert times["open"] >= times["confirmed"] >= started + 0.4
    update = upstream.calls[0].received[0]
    assert update.pop("event_id").startswith("relay_")
    assert update == {
        "type": "session.update",
        "session": {
            "type": "realtime",
            "instructions": "You are the receptionist of the clinic; the canary is PLANTED-PROMPT.",
            "audio": {"output": {"voice": "marin"}},
            "tools": [
                {
                    "type": "function",
                    "name": "opening_hours",
                    "description": "PLANTED-TOOL",
                    "parameters": {"type": "object"},
                }
            ],
        },
    }
    assert first["type"] == "session.created"
    assert first["session"]["id"] == line["session_id"]
    assert line["upstream_session_id"] == "sess_up"
    assert first["session"]["instructions"] == ""
    assert first["session"]["tools"] == []
    assert "PLANTED" not in json.dumps(first)


async def answers(call: Call) -> None:
    """Open the session, and answer each response.create with a little audio."""
    await call.open()
    while True:
        if (await call.receive())["type"] != "response.create":
            continue
        response = {"id": "resp_1", "object": "realtime.response", "status": "completed"}
        await call.send({"type": "response.created", "event_id": "3", "response": response})
        place = {"response_id": "resp_1", "item_id": "i", "output_index": 0, "content_index": 0}
        delta = {"type": "response.output_audio.delta", "event_id": "4", "delta": "AAAA"}
        await call.send(delta | place)
        await call.send({"type": "response.done", "event_id": "5", "response": response})


async def test_the_async_sdk_has_a_turn_given_only_the_address_and_a_key(tmp_path: Path) -> None:
    async with relaying(tmp_path, answers) as (relay, upstream):
        async with relay.sdk().realtime.connect(model="gpt-realtime-2.1") as client:
            assert isinstance(await client.recv(), SessionCreatedEvent)
            await client.input_audio_buffer.append(audio="AAAA" * 100)
            await client.response.create()
            types = [(await client.recv()).type for _ in range(3)]

    assert types == ["response.created", "response.output_audio.delta", "response.done"]
    sent = [event["type"] for event in upstream.calls[0].received]
    assert sent == ["session.update", "input_audio_buffer.append", "response.create"]


# The SDK calls websockets 17.1 and later in a deprecated way.
@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")
async def test_the_sync_sdk_has_a_turn_given_only_the_address_and_a_key(tmp_path: Path) -> None:
    def talk(base_url: str) -> list[str]:
        sdk = openai.OpenAI(base_url=base_url, api_key="any")
        with sdk.realtime.connect(model="gpt-realtime-2.1") as client:
            client.response.create()
            return [client.recv().type for _ in range(4)]

    async with relaying(tmp_path, answers) as (relay, _):
        types = await asyncio.to_thread(talk, relay.base_url)
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()

    assert types[0] == "session.created"
    assert types[-1] == "response.done"


BEARER = {"Authorization": "Bearer kiosk-key-one"}

REFUSALS = [
    pytest.param({}, "", 401, "invalid_api_key", 3000, id="no key"),
    pytest.param({"Authorization": "Bearer wrong"}, "", 401, "invalid_api_key", 3000, id="wrong"),
    pytest.param({"Authorization": "Bearer ek_1"}, "", 401, "invalid_api_key", 3000, id="ek"),
    pytest.param(
        BEARER, "?persona=concierge", 403, "persona_not_allowed", 4403, id="not for this caller"
    ),
    pytest.param(BEARER, "?persona=nobody", 404, "persona_not_found", 4404, id="no such persona"),
    pytest.param(
        BEARER, "?api_key=PLANTED-QUERY", 400, "invalid_request", 1008, id="key in the query"
    ),
]


@pytest.mark.parametrize(("headers", "query", "status", "code", "close_code"), REFUSALS)
async def test_a_refusal_has_a_status_and_the_error_body_of_openai(
    tmp_path: Path, headers: dict[str, str], query: str, status: int, code: str, close_code: int
) -> None:
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, upstream):
        answered, error, retry_after = await refused(
            relay.connect(query, additional_headers=headers)
        )
        in_band, closed_with = await refused_in_band(
            relay.connect(query, additional_headers=headers, subprotocols=["realtime"])
        )
        assert (await relay.metrics())[f'relay_refusals_total{{code="{code}"}}'] == 2

    assert (answered, error["code"], retry_after) == (status, code, None)
    assert error.keys() == {"message", "type", "code", "param"}
    assert error["type"] == "invalid_request_error"
    assert (closed_with, in_band) == (close_code, error | {"event_id": None})
    assert not upstream.calls
    assert [line["code"] for line in relay.lines("session.refused")] == [code, code]


FOREIGN_ORIGINS = [
    "https://app.example.com.evil.io",
    "https://APP.example.com:444",
    "http://app.example.com",
    "https://evil.example",
    "null",
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
async def test_a_page_of_a_foreign_origin_always_gets_403(tmp_path: Path, origin: str) -> None:
    """Also if other parts of the request are wrong, and never in band."""
    wrong = {"Authorization": "Bearer wrong"}
    requests = product(["", "?api_key=PLANTED-QUERY", "?persona=nobody"], [BEARER, {}, wrong])
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, upstream):
        for query, headers in requests:
            status, error, _ = await refused(
                relay.connect(
                    query, additional_headers=headers, origin=origin, subprotocols=["realtime"]
                )
            )
            assert (status, error["code"]) == (403, "origin_not_allowed")
    assert not upstream.calls


async def test_pages_of_listed_origins_and_of_the_relay_itself_may_connect(tmp_path: Path) -> None:
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, _):
        for origin in ("https://app.example.com", f"http://127.0.0.1:{relay.port}"):
            async with relay.connect(origin=origin, additional_headers=BEARER) as client:
                assert (await receive(client))["type"] == "session.created"


async def test_a_hostile_name_that_resolves_to_loopback_has_no_own_origin_without_keys(
    tmp_path: Path,
) -> None:
    """DNS rebinding: without keys only the address protects the relay."""
    async with relaying(tmp_path) as (relay, upstream):
        for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example"):
            wire = await Wire.dial(relay.port)
            assert await wire.ask(Host=host, Origin=f"http://{host}") == 403
            await wire.hang_up()
        for host in ("localhost", "127.0.0.1", "[::1]:8080"):
            wire = await Wire.dial(relay.port)
            assert await wire.ask(Host=host, Origin=f"http://{host}") == 101
            await wire.hang_up()
    assert len(upstream.calls) == 3


@pytest.mark.parametrize("path", ["/v1/personas", "/metrics"])
async def test_without_keys_no_page_under_a_hostile_name_can_read(
    tmp_path: Path, path: str
) -> None:
    """A browser sends no Origin with a GET of the page's own origin."""
    async with relaying(tmp_path) as (relay, _), ClientSession() as http:
        for host, status in (("evil.example", 403), ("localhost:1", 200), ("127.0.0.1", 200)):
            async with http.get(f"{relay.root}{path}", headers={"Host": host}) as answer:
                assert answer.status == status
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, _), ClientSession() as http:
        headers = {"Host": "relay.example", "Authorization": "Bearer kiosk-key-one"}
        async with http.get(f"{relay.root}{path}", headers=headers) as answer:
            assert answer.status == 200


async def test_no_trick_with_the_host_changes_who_may_connect(tmp_path: Path) -> None:
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, upstream):
        for host in ("x/public?", "a#b", "a:99999", "", "user@127.0.0.1"):
            wire = await Wire.dial(relay.port)
            assert await wire.ask(Host=host) in {400, 401}
            await wire.hang_up()
    assert not upstream.calls


async def test_a_client_with_too_many_sessions_gets_the_time_to_wait(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer other-key-one"}
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, upstream):
        async with relay.connect(additional_headers=headers):
            status, error, retry_after = await refused(relay.connect(additional_headers=headers))
            _, code = await refused_in_band(
                relay.connect(additional_headers=headers, subprotocols=["realtime"])
            )
            async with relay.connect(additional_headers=BEARER):
                pass
        await relay.ended()
        async with relay.connect(additional_headers=headers):
            pass

    assert (status, error["code"], code) == (429, "session_limit_reached", 4429)
    assert retry_after is not None
    assert int(retry_after) > 0
    assert len(upstream.calls) == 3


async def test_a_full_relay_answers_with_the_time_to_wait(tmp_path: Path) -> None:
    async with relaying(tmp_path, listens, "limits: {max_sessions: 1}") as (relay, _):
        async with relay.connect():
            status, error, retry_after = await refused(relay.connect())
            _, code = await refused_in_band(relay.connect(subprotocols=["realtime"]))

    assert (status, error["code"], error["type"], code) == (503, "relay_full", "server_error", 1013)
    assert retry_after is not None


async def test_handshakes_in_progress_count_as_sessions(tmp_path: Path) -> None:
    """Otherwise, clients that connect at the same time would exceed the limit."""
    confirm = asyncio.Event()

    async def confirms_when_asked(call: Call) -> None:
        await confirm.wait()
        await listens(call)

    settings = "limits: {max_sessions: 2}"
    async with relaying(tmp_path, confirms_when_asked, settings) as (relay, upstream):
        clients = [await Wire.dial(relay.port) for _ in range(5)]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(client.ask()) for client in clients]
            for _ in range(3):
                await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                done = {task for task in asked if task.done()}
                assert {task.result() for task in done} == {503}
                if len(done) == 3:
                    break
            confirm.set()
        assert sorted(task.result() for task in asked) == [101, 101, 503, 503, 503]
        for client in clients:
            await client.hang_up()
    assert len(upstream.calls) == 2


async def test_the_number_of_sessions_that_open_at_the_same_time_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open sessions and completed handshakes do not count."""
    assert admission.MAX_HANDSHAKES == 1000
    monkeypatch.setattr(admission, "MAX_HANDSHAKES", 2)
    confirm = asyncio.Event()

    async def confirms_when_asked(call: Call) -> None:
        await confirm.wait()
        await listens(call)

    async with relaying(tmp_path) as (relay, upstream):
        async with relay.connect() as first:
            await receive(first)
            upstream.script = confirms_when_asked
            clients = [await Wire.dial(relay.port) for _ in range(3)]
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(client.ask()) for client in clients]
                (refused_at_once, *_), _ = await asyncio.wait(
                    asked, return_when=asyncio.FIRST_COMPLETED
                )
                assert refused_at_once.result() == 503
                confirm.set()
            assert sorted(task.result() for task in asked) == [101, 101, 503]
            async with relay.connect() as next_one:
                await receive(next_one)
            for client in clients:
                await client.hang_up()
    assert len(upstream.calls) == 4
    assert [line["code"] for line in relay.lines("session.refused")] == ["relay_full"]


async def test_a_request_that_is_no_websocket_handshake_gets_400(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream), ClientSession() as http:
        url = f"{relay.base_url}/realtime"
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        wrong = [
            {},
            upgrade,
            upgrade | {"Sec-WebSocket-Version": "12", "Sec-WebSocket-Key": "x" * 22 + "=="},
            upgrade | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "short"},
            upgrade | {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "\xe9" * 24},
            upgrade | {"Upgrade": "h2c", "Sec-WebSocket-Protocol": "realtime"},
        ]
        for headers in wrong:
            async with http.get(url, headers=headers) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["code"] == "invalid_request"
        async with http.post(url, json={}) as answer:
            assert answer.status == 405
    assert not upstream.calls


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("realtime", "realtime"),
        ("realtime, openai-insecure-api-key.kiosk-key-one", "realtime"),
        ("openai-insecure-api-key.kiosk-key-one, realtime", "realtime"),
        ("openai-insecure-api-key.kiosk-key-one", None),
        ("realtime, relay.events", "realtime"),
        ("x\xff\u20ac, realtime", "realtime"),
        ("something.else", None),
    ],
)
async def test_the_answer_names_realtime_if_it_was_offered_and_never_a_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, offered: str, answered: str | None
) -> None:
    caplog.set_level(0)
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, _):
        wire = await Wire.dial(relay.port)
        key = {} if "kiosk" in offered else {"api_key": "kiosk-key-one"}
        assert await wire.ask(Sec_WebSocket_Protocol=offered, **key) == 101
        found = re.search("(?im)^sec-websocket-protocol: (.*)\r$", wire.head)
        await wire.hang_up()
        logged = relay.logged.getvalue()

    assert (found and found[1]) == answered
    assert "kiosk-key" not in caplog.text + logged + wire.head


async def test_a_key_in_a_second_subprotocol_header_counts(tmp_path: Path) -> None:
    """RFC 6455 11.3.4: several such headers are the same as one list."""
    async with relaying(tmp_path, listens, KEYED, **TWO) as (relay, _):
        wire = await Wire.dial(relay.port)
        lines = "realtime\r\nSec-WebSocket-Protocol: openai-insecure-api-key.kiosk-key-one"
        assert await wire.ask(Sec_WebSocket_Protocol=lines) == 101
        await wire.hang_up()


async def test_the_relay_stops_to_dial_if_the_client_leaves_during_the_tcp_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connecting, cancelled = asyncio.Event(), asyncio.Event()

    async def never_connects(*_: Any, **__: Any) -> None:
        connecting.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", never_connects)
    async with relaying(tmp_path) as (relay, _):
        wire = await Wire.dial(relay.port)
        wire.shake()
        await connecting.wait()
        await wire.hang_up()
        await cancelled.wait()
        await relay.sessions.emptied()
    assert not relay.lines("session.ended")


@pytest.mark.parametrize("leave", [resets, hangs_up])
async def test_the_relay_stops_to_dial_if_the_client_leaves_during_the_upstreams_handshake(
    tmp_path: Path, leave: WireScript
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never_answers(upstream: Wire) -> None:
        await upstream.reader.readuntil(b"\r\n\r\n")
        asked.set()
        await upstream.lost()
        gone.set()

    async with relaying_rudely(tmp_path, never_answers) as relay:
        wire = await Wire.dial(relay.port)
        wire.shake()
        await asked.wait()
        await leave(wire)
        async with asyncio.timeout(1):
            await gone.wait()
            await relay.sessions.emptied()


@pytest.mark.parametrize("leave", [resets, hangs_up])
async def test_the_relay_stops_to_dial_if_the_client_leaves_during_the_configuration(
    tmp_path: Path, leave: WireScript
) -> None:
    updated = asyncio.Event()
    async with relaying(tmp_path, never_confirms(updated)) as (relay, upstream):
        wire = await Wire.dial(relay.port)
        wire.shake()
        await updated.wait()
        await leave(wire)
        async with asyncio.timeout(1):
            assert await upstream.calls[0].closed == 1000
            await relay.sessions.emptied()


async def test_a_relay_that_stops_refuses_the_handshakes_in_progress(tmp_path: Path) -> None:
    updated = asyncio.Semaphore(0)
    async with relaying(tmp_path, never_confirms(updated)) as (relay, upstream):
        async with asyncio.TaskGroup() as tasks:
            refusal = tasks.create_task(refused(relay.connect()))
            in_band = tasks.create_task(refused_in_band(relay.connect(subprotocols=["realtime"])))
            await updated.acquire()
            await updated.acquire()
            async with asyncio.timeout(1):
                relay.sessions.stop()
                relay.sessions.stop()
                status, error, retry_after = await refusal
                _, code = await in_band
            assert [await call.closed for call in upstream.calls] == [1000, 1000]

    assert (status, error["code"], code) == (503, "relay_draining", 1012)
    assert retry_after is not None


async def test_messages_that_are_sent_before_the_session_opens_wait_with_the_client(
    tmp_path: Path,
) -> None:
    """After the handshake aiohttp would read on, although the relay owns the connection."""
    may_open = asyncio.Event()

    async def opens_late(upstream: Wire) -> None:
        await upstream.accept()
        await may_open.wait()
        upstream.send(b'{"type":"session.created","event_id":"1","session":{"id":"s"}}')
        await upstream.receive()
        upstream.send(b'{"type":"session.updated","event_id":"2","session":{"id":"s"}}')
        while True:
            await upstream.receive()

    async with relaying_rudely(tmp_path, opens_late) as relay:
        client = await Wire.dial(relay.port)
        client.shake()
        client.writer.write(frame(APPEND, masked=True) * 4000)
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(client.writer.drain())
            await blocked(client, writing)
            may_open.set()
            await client.reader.readuntil(b"\r\n\r\n")
            left_bytes = await blocked(client, writing)
            client.reset()
            writing.cancel()
        await relay.ended()
    assert left_bytes > 10_000_000


async def test_a_client_that_does_not_read_its_session_delays_nothing(tmp_path: Path) -> None:
    # A name, because the relay compares long values with the words of the persona.
    large = json.dumps({"id": "s", "x": {"a" * 10_000_000: 1}}).encode()

    async def sends_a_large_session(upstream: Wire) -> None:
        await upstream.accept()
        upstream.send(b'{"type":"session.created","event_id":"1","session":{"id":"s"}}')
        await upstream.receive()
        upstream.send(b'{"type":"session.updated","event_id":"2","session":%b}' % large)
        await upstream.closing()

    async with relaying_rudely(tmp_path, sends_a_large_session) as relay:
        client = await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
        await client.reader.readexactly(1)
        async with asyncio.timeout(3):
            await relay.sessions.drain(0)
            line = await relay.ended()
        client.reset()
    assert line["outcome"] == "relay_draining"


async def test_a_defect_in_the_handshake_is_an_internal_error_with_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(Dialler, "open", broken)
    async with relaying(tmp_path) as (relay, _):
        status, error, _ = await refused(relay.connect())
        _, code = await refused_in_band(relay.connect(subprotocols=["realtime"]))

    assert (status, error["code"], code) == (500, "internal_error", 1011)
    assert "defect" not in error["message"]
    assert "LookupError: a defect" in relay.lines("session.failed")[0]["exception"]


@pytest.mark.parametrize("sent", [b"", b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nX: "])
async def test_the_relay_disconnects_a_client_that_needs_too_long_for_the_head_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Aiohttp waits an hour by default."""
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    async with relaying(tmp_path) as (relay, _):
        wire = await Wire.dial(relay.port)
        wire.writer.write(sent)
        started = loop.time()
        await wire.lost()
        assert 0.15 < loop.time() - started < 2
        await wire.hang_up()


async def test_the_relay_disconnects_a_client_that_sends_the_head_byte_by_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 0.2)
    loop = asyncio.get_running_loop()
    async with relaying(tmp_path) as (relay, _):
        wire = await Wire.dial(relay.port)
        wire.writer.write(b"GET /v1/realtime HTTP/1.1\r\nX: ")

        def drip() -> None:
            if not wire.writer.transport.is_closing():
                wire.writer.write(b"x")
                loop.call_later(0.02, drip)

        drip()
        await wire.lost()
        await wire.hang_up()


async def test_compression_is_not_offered(tmp_path: Path) -> None:
    """It costs 150 KiB for each connection, and hardly shrinks audio."""
    async with relaying(tmp_path) as (relay, upstream):
        wire = await Wire.dial(relay.port)
        assert await wire.ask(Sec_WebSocket_Extensions="permessage-deflate") == 101
        await wire.hang_up()
    assert "permessage-deflate" not in wire.head
    assert "Sec-WebSocket-Extensions" not in upstream.calls[0].request.headers
