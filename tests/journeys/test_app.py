"""The application around the endpoint: other routes, settings and reload."""

import asyncio
import json
import resource
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from fakes import Wire
from handshakes import connect_once, refused, refused_in_band
from relays import receive, relaying, write_config

from relay import app
from relay.config.loading import load
from relay.config.models import Config
from relay.sessions.registry import Phase

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_a_running_relay_is_alive_and_ready(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _), ClientSession() as http:
        root = relay.base_url.removesuffix("/v1")
        async with http.get(f"{root}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "alive"})
        async with http.get(f"{root}/readyz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ready"})
        relay.sessions.phase = Phase.DRAINING
        async with http.get(f"{root}/healthz") as answer:
            assert answer.status == 200
        async with http.get(f"{root}/readyz") as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers
            assert await answer.json() == {"status": "not_ready", "reason": "draining"}


async def test_a_relay_that_drains_refuses_new_sessions(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        relay.sessions.phase = Phase.DRAINING
        status, error, retry_after = await refused(relay.connect())
        _, close_code = await refused_in_band(relay.connect(subprotocols=["realtime"]))

    assert (status, error["code"], close_code) == (503, "relay_draining", 1012)
    assert int(retry_after or 0) > 0
    assert not upstream.calls


async def test_there_are_no_other_routes(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _), ClientSession() as http:
        root = relay.base_url.removesuffix("/v1")
        for path in ("/admin", "/v1", "/v1/realtime/", "/v1/realtime/calls", "/.env"):
            async with http.get(f"{root}{path}") as answer:
                assert answer.status == 404
        for method in ("POST", "PUT", "DELETE", "TRACE", "OPTIONS"):
            async with http.request(method, f"{root}/metrics") as answer:
                assert answer.status == 405


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_a_hostile_head_gets_400_and_the_relay_continues(
    tmp_path: Path, request_bytes: bytes
) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        wire = await Wire.dial(relay.port)
        wire.writer.write(request_bytes)
        assert (await wire.reader.read(12)) in {b"HTTP/1.0 400", b"HTTP/1.1 400"}
        await wire.hang_up()
        async with relay.connect() as client:
            await receive(client)
    assert len(upstream.calls) == 1


async def test_a_request_that_is_pipelined_after_a_refused_upgrade_is_answered_separately(
    tmp_path: Path,
) -> None:
    settings = "clients: {kiosk: {key: kiosk-key-one}}"
    async with relaying(tmp_path, settings=settings) as (relay, upstream):
        wire = await Wire.dial(relay.port)
        wire.shake(api_key="wrong")
        wire.shake()
        for _ in range(2):
            head = await wire.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            assert b"invalid_api_key" in await wire.reader.readexactly(length)
        await wire.hang_up()
    assert not upstream.calls


async def test_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        running = relay.application[app.RELAY]
        path = tmp_path / "relay.yaml"
        before = running.config
        path.write_text(path.read_text() + "\nlimits: {max_sessions: -1}\nnonsense: ${MISSING}\n")
        await running.reload(lambda: load(path, {}))
        assert running.config is before
        async with relay.connect() as client:
            await receive(client)
        (refused,) = relay.lines("config.refused")
        assert len(refused["problems"]) >= 2
        assert 'relay_config_reloads_total{outcome="failed"}' in await relay.metrics()
    assert len(upstream.calls) == 1


async def test_a_new_configuration_applies_to_new_sessions(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        async with relay.connect() as old:
            await receive(old)
            settings = "limits: {max_sessions: 1}\nclients: {kiosk: {key: kiosk-key-one}}"
            path = write_config(tmp_path, upstream.url, settings)
            await relay.application[app.RELAY].reload(lambda: load(path, {}))
            wire = await Wire.dial(relay.port)
            assert await wire.ask() == 401
            assert b"invalid_api_key" in await wire.reader.read(1000)
            assert await wire.ask(api_key="kiosk-key-one") == 503
            await wire.hang_up()
            await old.send('{"type":"input_audio_buffer.append","audio":"AAAA"}')
        assert await upstream.calls[0].closed == 1000
        await relay.ended()
        wire = await Wire.dial(relay.port)
        assert await wire.ask(api_key="kiosk-key-one") == 101
        await wire.hang_up()
    assert len(upstream.calls[0].received) == 2


async def test_sessions_go_on_while_a_configuration_is_loaded(tmp_path: Path) -> None:
    """The loading waits until a session has sent a message through; a later reload waits for it."""
    loading, passed = threading.Event(), threading.Event()

    def load_slowly() -> Config:
        loading.set()
        assert passed.wait(30)
        return load(path, {})

    async with relaying(tmp_path) as (relay, upstream):
        path = write_config(tmp_path, upstream.url, "limits: {max_sessions: 7}")
        application = relay.application[app.RELAY]
        async with relay.connect() as client, asyncio.TaskGroup() as tasks:
            await receive(client)
            tasks.create_task(application.reload(load_slowly))
            await asyncio.to_thread(loading.wait)
            last = (await asyncio.to_thread(load, path, {})).model_copy()
            tasks.create_task(application.reload(lambda: last))
            await client.send('{"type":"input_audio_buffer.commit"}')
            await client.close()
            await upstream.calls[0].closed
            assert len(upstream.calls[0].received) == 2
            passed.set()
        assert application.config is last


async def test_the_stop_of_the_application_closes_the_sessions(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        client = await Wire.connect(relay.port)
        created = json.loads((await client.receive())[1])
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.sessions.drain(0))
            events = await client.events()
            await client.hang_up()
    assert await upstream.calls[0].closed == 1012
    assert events[-1]["error"]["code"] == "relay_draining"
    assert created["type"] == "session.created"


async def test_hundreds_of_simultaneous_connects_wait_and_are_not_rejected(tmp_path: Path) -> None:
    """In one turn of the loop, in which the relay accepts no connection."""
    async with relaying(tmp_path) as (relay, _):
        address = ("127.0.0.1", relay.port)
        waiting = [socket.create_connection(address, timeout=0.9) for _ in range(300)]
        for connection in waiting:
            connection.close()


async def test_a_reload_without_clients_is_refused_if_other_machines_can_connect(
    tmp_path: Path,
) -> None:
    settings = "clients: {kiosk: {key: kiosk-key-one}}\nserver: {host: 0.0.0.0}"
    async with relaying(tmp_path, settings=settings) as (relay, upstream):
        path = write_config(tmp_path, upstream.url)
        await relay.application[app.RELAY].reload(lambda: load(path, {}))
        (refusal,) = relay.lines("config.refused")
        status, error, _ = await refused(relay.connect())

    assert "clients" in refusal["problems"][0]
    assert (status, error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("limits", "raised", "warned"),
    [
        ((200, 10_000), [(10_000, 10_000)], []),
        ((200, -1), [(856, -1)], []),
        ((200, 400), [(400, 400)], [(400, 856)]),
        ((400, 400), [], [(400, 856)]),
        ((900, 900), [], []),
        ((-1, -1), [], []),
    ],
)
async def test_a_reload_raises_the_limit_of_open_files_or_warns(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    raised: list[tuple[int, int]],
    warned: list[tuple[int, int]],
) -> None:
    """The hard limit is allowed, whatever is needed: 856 for 300 sessions; -1 is no limit."""
    set_limits: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: set_limits.append(pair))
    async with relaying(tmp_path) as (relay, upstream):
        path = write_config(tmp_path, upstream.url, "limits: {max_sessions: 300}")
        await relay.application[app.RELAY].reload(lambda: load(path, {}))
        lines = relay.lines("files.limited")
        await connect_once(relay)

    assert set_limits == raised
    assert [(line["limit"], line["needed"]) for line in lines] == warned
