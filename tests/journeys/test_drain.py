"""Stop and reload a relay as an operator does: a process and signals."""

import asyncio
import json
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession
from fakes import Call, FakeUpstream, Script, Wire, listens
from handshakes import refused
from paths import ROOT
from processes import Process, serving
from relays import receive, send, write_config
from scripts import SMALL_BUFFER_BYTES, never_confirms
from websockets.asyncio.client import ClientConnection

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@asynccontextmanager
async def draining_in(
    seconds: float, folder: Path, script: Script = listens
) -> AsyncIterator[tuple[Process, FakeUpstream]]:
    """Run a relay process that drains for at most this long, on a fake upstream."""
    settings = f"limits: {{drain_seconds: {seconds}}}"
    async with FakeUpstream(script).running() as upstream:
        async with serving(write_config(folder, upstream.url, settings)) as relay:
            yield relay, upstream


async def test_sigterm_with_50_open_sessions_closes_all_with_a_reason_and_exits_with_0(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    async with draining_in(1, tmp_path) as (relay, upstream):
        async with ClientSession() as http:
            async with asyncio.TaskGroup() as tasks:
                connecting = [tasks.create_task(open_one(relay)) for _ in range(50)]
            clients = [task.result() for task in connecting]
            relay.signal(signal.SIGTERM)
            asked = loop.time()
            await relay.until("drain.started")

            async with http.get(relay.url.replace("/v1", "/readyz")) as answer:
                assert answer.status == 503
            async with http.get(relay.url.replace("/v1", "/healthz")) as answer:
                assert answer.status == 200
            status, error, retry_after = await refused(relay.connect())
            assert status == 503
            assert int(retry_after or 0) > 0
            assert error["code"] == "relay_draining"

            for client in clients:  # open sessions continue
                await send(client, type="input_audio_buffer.append", audio="AAAA")
            errors = [(await receive(client))["error"]["code"] for client in clients]
            for client in clients:
                await client.wait_closed()
            assert await relay.ends() == 0
            took_seconds = loop.time() - asked

        assert errors == ["relay_draining"] * 50
        assert [client.close_code for client in clients] == [1012] * 50
        assert [await call.closed for call in upstream.calls] == [1012] * 50
        assert 1 <= took_seconds < 4
        assert [len(call.received) for call in upstream.calls] == [2] * 50
    assert [line["outcome"] for line in relay.ended()] == ["relay_draining"] * 50
    assert relay.lines[-1]["event"] == "relay.stopped"
    assert {line["level"] for line in relay.lines} <= {"info", "warning"}


async def open_one(relay: Process) -> ClientConnection:
    """Open a session that the test itself closes."""
    client = await relay.connect()
    assert (await receive(client))["type"] == "session.created"
    return client


async def test_a_relay_stops_as_soon_as_the_last_session_has_ended(tmp_path: Path) -> None:
    async with draining_in(60, tmp_path) as (relay, _):
        async with relay.connect() as client:
            await receive(client)
            relay.signal(signal.SIGTERM)
            await relay.until("drain.started")
        assert await relay.ends() == 0
    assert [line["outcome"] for line in relay.ended()] == ["completed"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_sessions_immediately(
    tmp_path: Path, second: signal.Signals
) -> None:
    async with draining_in(60, tmp_path) as (relay, upstream):
        async with relay.connect() as client:
            await receive(client)
            relay.signal(signal.SIGTERM)
            await relay.until("drain.started")
            relay.signal(second)
            assert (await receive(client))["error"]["code"] == "relay_draining"
            await client.wait_closed()
        assert client.close_code == 1012
        assert await relay.ends() == 0
        assert await upstream.calls[0].closed == 1012


async def test_the_end_of_the_drain_refuses_a_handshake_in_progress(tmp_path: Path) -> None:
    configuring = asyncio.Event()
    async with draining_in(0.2, tmp_path, never_confirms(configuring)) as (relay, upstream):
        async with asyncio.TaskGroup() as tasks:
            refusal = tasks.create_task(refused(relay.connect()))
            await configuring.wait()
            relay.signal(signal.SIGTERM)
            status, _, _ = await refusal
            assert status == 503
        async with asyncio.timeout(3):
            assert await relay.ends() == 0
        assert await upstream.calls[0].closed == 1000


async def test_clients_that_do_not_read_delay_the_end_by_a_limited_time(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    flooded = asyncio.Semaphore(0)

    async def floods(call: Call) -> None:
        await call.open()
        loop.call_later(0.3, flooded.release)
        while True:
            await call.send({"type": "x", "audio": "A" * 100_000})

    async with draining_in(0.1, tmp_path, floods) as (relay, _):
        clients = [
            await Wire.connect(relay.port, receive_buffer_bytes=SMALL_BUFFER_BYTES)
            for _ in range(10)
        ]
        for _ in clients:
            await flooded.acquire()
        asked = loop.time()
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0
        assert loop.time() - asked < 4
        for client in clients:
            await client.hang_up()
    assert [line["outcome"] for line in relay.ended()] == ["relay_draining"] * 10


async def test_after_sighup_new_sessions_get_the_new_configuration(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url)
        persona = tmp_path / "personas" / "receptionist.yaml"
        async with serving(path) as relay, ClientSession() as http:
            async with relay.connect() as old:
                await receive(old)
                persona.write_text(persona.read_text().replace("marin", "cedar"))
                (persona.parent / "concierge.yaml").write_text(persona.read_text())
                relay.signal(signal.SIGHUP)
                reloaded = await relay.until("config.reloaded")
                async with relay.connect() as new, relay.connect("?persona=concierge"):
                    await receive(new)
                await send(old, type="input_audio_buffer.append", audio="AAAA")

                path.write_text(path.read_text() + "\nlimitz: {max_sessions: 0}\n")
                relay.signal(signal.SIGHUP)
                refused = await relay.until("config.refused")
                async with relay.connect("?persona=concierge"):
                    pass
                async with http.get(relay.url.replace("/v1", "/metrics")) as answer:
                    metrics = await answer.text()
            relay.signal(signal.SIGTERM)
            assert await relay.ends() == 0

    voices = [call.received[0]["session"]["audio"]["output"]["voice"] for call in upstream.calls]
    assert voices == ["marin", "cedar", "cedar", "cedar"]
    assert reloaded["personas"] == ["concierge", "receptionist"]
    assert "limitz" in refused["problems"][0]
    assert 'relay_config_reloads_total{outcome="completed"} 1.0' in metrics
    assert 'relay_config_reloads_total{outcome="failed"} 1.0' in metrics
    assert 'relay_sessions_open{persona="concierge"}' in metrics
    assert "PLANTED" not in json.dumps(relay.lines)


@pytest.mark.parametrize(
    ("which", "soft", "warned"),
    [("-Sn", resource.getrlimit(resource.RLIMIT_NOFILE)[1], []), ("-n", 200, [(200, 856)])],
)
async def test_the_relay_raises_the_limit_of_open_files_or_warns(
    tmp_path: Path, which: str, soft: int, warned: list[tuple[int, int]]
) -> None:
    """The soft limit can be raised up to the hard limit; each of 300 sessions has two sockets."""
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", "limits: {max_sessions: 300}")
    async with serving(path, "sh", "-c", f'ulimit {which} 200 && exec "$@"', "sh") as relay:
        assert resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)[0] == soft
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0

    limited = [line for line in relay.lines if line["event"] == "files.limited"]
    assert [(line["limit"], line["needed"]) for line in limited] == warned


async def test_an_address_in_use_is_reported_and_exits_with_1(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "serve", "--port", f"{port}",
            "--config", write_config(tmp_path, "http://127.0.0.1:1/v1"),
            cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, printed = await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # else it is closed a turn later
    assert process.returncode == 1
    assert b"address already in use" in printed
    assert b"Traceback" not in printed
