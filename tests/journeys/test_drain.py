"""Stopping and reloading, as the operator does it: a process, and signals."""

import asyncio
import json
import resource
import signal
import sys
from pathlib import Path

import pytest
import websockets
from aiohttp import ClientSession
from fakes import Call, FakeUpstream, Wire
from paths import ROOT
from processes import Process, serving
from relays import receive, send, write_config
from websockets.asyncio.client import ClientConnection

pytestmark = pytest.mark.usefixtures("nothing_is_left")

DRAIN = "limits: {drain_seconds: %s}"


async def test_sigterm_with_50_live_sessions_tells_everybody_and_exits_with_0(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url, DRAIN % 1)
        async with serving(path) as relay, ClientSession() as http:
            async with asyncio.TaskGroup() as tasks:
                connecting = [tasks.create_task(open_one(relay)) for _ in range(50)]
            clients = [task.result() for task in connecting]
            relay.signal(signal.SIGTERM)
            asked = loop.time()
            await relay.hear("drain.started")

            async with http.get(relay.url.replace("/v1", "/readyz")) as answer:
                assert answer.status == 503
            async with http.get(relay.url.replace("/v1", "/healthz")) as answer:
                assert answer.status == 200
            with pytest.raises(websockets.InvalidStatus) as refused:
                await relay.connect()
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["Retry-After"]) > 0
            assert b"relay_draining" in (refused.value.response.body or b"")

            for client in clients:  # those that run go on
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
    """Open a session that the test closes itself."""
    client = await relay.connect()
    assert (await receive(client))["type"] == "session.created"
    return client


async def test_a_relay_stops_as_soon_as_the_last_session_has_ended(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        async with serving(write_config(tmp_path, upstream.url, DRAIN % 60)) as relay:
            async with relay.connect() as client:
                await receive(client)
                relay.signal(signal.SIGTERM)
                await relay.hear("drain.started")
            assert await relay.ends() == 0
    assert [line["outcome"] for line in relay.ended()] == ["completed"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_the_sessions_at_once(
    tmp_path: Path, second: signal.Signals
) -> None:
    async with FakeUpstream().running() as upstream:
        async with serving(write_config(tmp_path, upstream.url, DRAIN % 60)) as relay:
            async with relay.connect() as client:
                await receive(client)
                relay.signal(signal.SIGTERM)
                await relay.hear("drain.started")
                relay.signal(second)
                assert (await receive(client))["error"]["code"] == "relay_draining"
                await client.wait_closed()
            assert client.close_code == 1012
            assert await relay.ends() == 0
        assert await upstream.calls[0].closed == 1012


async def test_who_is_still_being_let_in_when_the_drain_ends_is_refused(tmp_path: Path) -> None:
    configuring = asyncio.Event()

    async def never_confirms(call: Call) -> None:
        await call.send({"type": "session.created", "event_id": "1", "session": {}})
        await call.receive()
        configuring.set()
        await call.listen()

    async with FakeUpstream(never_confirms).running() as upstream:
        async with serving(write_config(tmp_path, upstream.url, DRAIN % "0.2")) as relay:
            async with asyncio.TaskGroup() as tasks:
                refused = tasks.create_task(status_of(relay))
                await configuring.wait()
                relay.signal(signal.SIGTERM)
                assert await refused == 503
            async with asyncio.timeout(3):
                assert await relay.ends() == 0
        assert await upstream.calls[0].closed == 1000


async def status_of(relay: Process) -> int:
    """Return the status with which a client is refused."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        await relay.connect()
    return refused.value.response.status_code


async def test_clients_that_do_not_read_delay_the_end_by_no_more_than_the_bound(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    flooded = asyncio.Semaphore(0)

    async def floods(call: Call) -> None:
        await call.open()
        loop.call_later(0.3, flooded.release)
        while True:
            await call.send({"type": "x", "audio": "A" * 100_000})

    async with FakeUpstream(floods).running() as upstream:
        async with serving(write_config(tmp_path, upstream.url, DRAIN % "0.1")) as relay:
            clients = [await Wire.connect(relay.port, receive_buffer_bytes=4096) for _ in range(10)]
            for _ in clients:
                await flooded.acquire()
            asked = loop.time()
            relay.signal(signal.SIGTERM)
            assert await relay.ends() == 0
            assert loop.time() - asked < 4
            for client in clients:
                await client.hang_up()
    assert [line["outcome"] for line in relay.ended()] == ["relay_draining"] * 10


async def test_sighup_reads_the_configuration_again_for_new_sessions(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url)
        persona = tmp_path / "personas" / "receptionist.yaml"
        async with serving(path) as relay, ClientSession() as http:
            async with relay.connect() as old:
                await receive(old)
                persona.write_text(persona.read_text().replace("marin", "cedar"))
                (persona.parent / "concierge.yaml").write_text(persona.read_text())
                relay.signal(signal.SIGHUP)
                reloaded = await relay.hear("config.reloaded")
                async with relay.connect() as new, relay.connect("?persona=concierge"):
                    await receive(new)
                await send(old, type="input_audio_buffer.append", audio="AAAA")

                path.write_text(path.read_text() + "\nlimitz: {max_sessions: 0}\n")
                relay.signal(signal.SIGHUP)
                refused = await relay.hear("config.refused")
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


@pytest.mark.parametrize(("which", "soft", "warned"), [("-Sn", 856, []), ("-n", 200, [(200, 856)])])
async def test_the_relay_may_open_as_many_files_as_its_sessions_need_or_says_so(
    tmp_path: Path, which: str, soft: int, warned: list[tuple[int, int]]
) -> None:
    """The soft limit can be raised up to the hard one; 300 sessions have two sockets each."""
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", "limits: {max_sessions: 300}")
    async with serving(path, "sh", "-c", f'ulimit {which} 200 && exec "$@"', "sh") as relay:
        assert resource.prlimit(relay.process.pid, resource.RLIMIT_NOFILE)[0] == soft
        relay.signal(signal.SIGTERM)
        assert await relay.ends() == 0

    limited = [line for line in relay.lines if line["event"] == "files.limited"]
    assert [(line["limit"], line["needed"]) for line in limited] == warned


async def test_an_address_that_is_taken_is_told_and_exits_with_1(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    async with taken:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "serve", "--port", f"{port}",
            "--config", write_config(tmp_path, "http://127.0.0.1:1/v1"),
            cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]  # as above
    assert process.returncode == 1
    assert b"address already in use" in said
    assert b"Traceback" not in said
