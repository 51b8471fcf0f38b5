"""A persona with several upstreams: the relay tries, skips and reports them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes import Answer, FakeUpstream, Wire, rude_upstream
from handshakes import connect_once, refusal_code
from relays import RunningRelay, receive, running_relay, write_config, write_fallbacks

from relay import app
from relay.config.loading import load
from relay.core.circuit import FAILURES, FIRST_SECONDS, Circuit

pytestmark = pytest.mark.usefixtures("nothing_is_left")


def status(code: int) -> Answer:
    """Answer the handshake with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code)

    return answer


def circuit(relay: RunningRelay, name: str) -> Circuit:
    """Return the circuit of an upstream."""
    return relay.realtime.serving.dialler.circuits[name]


def let_pass(relay: RunningRelay, name: str, seconds: float) -> None:
    """Let ``seconds`` pass for the circuit of an upstream."""
    circuit(relay, name)._due -= seconds


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[FakeUpstream, FakeUpstream, RunningRelay]]:
    """Run a relay with two upstreams, ``first`` and ``second``; the first is down."""
    first = FakeUpstream()
    async with first.running():
        pass
    async with FakeUpstream().running() as second:
        path = write_fallbacks(folder, first={"url": first.url}, second={"url": second.url})
        async with running_relay(path) as relay:
            yield first, second, relay


async def test_sessions_use_the_second_upstream_until_the_first_is_back(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (first, second, relay):
        for sessions in range(1, FAILURES + 3):
            await connect_once(relay)
            assert len(second.calls) == sessions
        assert len(relay.lines("upstream.failed")) == FAILURES  # then it is skipped
        assert (await relay.metrics())['relay_upstream_circuit_open{upstream="first"}'] == 1

        async with first.running():
            await connect_once(relay)
            assert not first.calls
            let_pass(relay, "first", FIRST_SECONDS)
            await connect_once(relay)
            await connect_once(relay)
            assert len(first.calls) == 2
        metrics = await relay.metrics()

    assert metrics['relay_upstream_circuit_open{upstream="first"}'] == 0
    attempts = "relay_upstream_attempts_total"
    unavailable = f'{attempts}{{outcome="upstream_unavailable",upstream="first"}}'
    assert {name: n for name, n in metrics.items() if name.startswith(attempts)} == {
        unavailable: FAILURES,
        f'{attempts}{{outcome="opened",upstream="first"}}': 2,
        f'{attempts}{{outcome="opened",upstream="second"}}': FAILURES + 3,
    }


async def test_a_stalling_upstream_takes_its_share_of_the_time_and_then_none(
    tmp_path: Path,
) -> None:
    dials = 0

    async def stalls(upstream: Wire) -> None:
        nonlocal dials
        dials += 1
        await upstream.lost()

    async with rude_upstream(stalls) as url, FakeUpstream().running() as second:
        slow = {"url": url, "ready_timeout_seconds": 1}
        path = write_fallbacks(tmp_path, first=slow, second={"url": second.url})
        async with running_relay(path) as relay:
            for _ in range(FAILURES + 1):
                await connect_once(relay)
            codes = [line["code"] for line in relay.lines("upstream.failed")]

    assert dials == FAILURES
    assert codes == ["upstream_timeout"] * FAILURES


async def test_while_one_session_tries_an_upstream_the_others_use_the_next(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (first, second, relay):
        for _ in range(FAILURES):
            await connect_once(relay)
        async with first.running():
            let_pass(relay, "first", FIRST_SECONDS)
            held = asyncio.Event()

            async def opens_late(_: web.Request) -> web.StreamResponse:
                first.called.set()
                await held.wait()
                return web.Response(status=503)

            first.answer = opens_late
            first.called.clear()
            async with asyncio.TaskGroup() as tasks:
                trial = tasks.create_task(connect_once(relay))
                await first.called.wait()
                await connect_once(relay)
                assert not trial.done()
                held.set()

    assert len(second.calls) == FAILURES + 2


async def test_each_failed_attempt_is_in_the_log_with_the_time_it_is_skipped(
    tmp_path: Path,
) -> None:
    async with (
        FakeUpstream(answer=status(503)).running() as first,
        FakeUpstream(answer=status(401)).running() as second,
    ):
        path = write_fallbacks(tmp_path, first={"url": first.url}, second={"url": second.url})
        async with running_relay(path) as relay:
            codes = [await refusal_code(relay) for _ in range(FAILURES)]
            lines = relay.lines("upstream.failed")

    assert codes == ["upstream_refused"] * FAILURES
    assert [(line["upstream"], line["code"], line["detail"]) for line in lines[:2]] == [
        ("first", "upstream_unavailable", "first answered the handshake with 503"),
        ("second", "upstream_refused", "second answered the handshake with 401"),
    ]
    skipped = [line["skipped_seconds"] for line in lines if line["upstream"] == "first"]
    assert skipped[:-1] == [0] * (FAILURES - 1)
    assert FIRST_SECONDS / 2 <= skipped[-1] <= FIRST_SECONDS


async def test_a_refusing_upstream_is_not_skipped(tmp_path: Path) -> None:
    """It answers immediately, and the refusal may concern the model of one persona only."""
    async with (
        FakeUpstream(answer=status(404)).running() as first,
        FakeUpstream().running() as second,
    ):
        path = write_fallbacks(tmp_path, first={"url": first.url}, second={"url": second.url})
        async with running_relay(path) as relay:
            for _ in range(FAILURES + 1):
                await connect_once(relay)
            assert not circuit(relay, "first").is_open

    assert len(relay.lines("upstream.failed")) == FAILURES + 1


async def test_the_only_upstream_is_tried_after_any_number_of_failures(tmp_path: Path) -> None:
    async with FakeUpstream(answer=status(503)).running() as upstream:
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            for _ in range(FAILURES + 2):
                assert await refusal_code(relay) == "upstream_unavailable"
            upstream.answer = None
            await connect_once(relay)
            assert not circuit(relay, "fake").is_open


async def test_a_reload_keeps_the_circuit_of_an_unchanged_upstream(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as (first, second, relay):
        for _ in range(FAILURES):
            await connect_once(relay)
        gateway = {"url": second.url, "headers": {"x-gateway": "eu"}}
        urls: dict[str, dict[str, Any]] = {"first": {"url": first.url}, "second": gateway}
        same = write_fallbacks(tmp_path, **urls, third={"url": second.url})
        await relay.application[app.RELAY].reload(lambda: load(same, {}))
        assert circuit(relay, "first").is_open
        await connect_once(relay)
        assert second.calls[-1].request.headers["x-gateway"] == "eu"
        assert len(relay.lines("upstream.failed")) == FAILURES

        repaired = write_fallbacks(tmp_path, **urls | {"first": {"url": second.url}})
        await relay.application[app.RELAY].reload(lambda: load(repaired, {}))
        assert not circuit(relay, "first").is_open
        assert "third" not in relay.realtime.serving.dialler.circuits
        metrics = await relay.metrics()

    open_now = {name for name in metrics if name.startswith("relay_upstream_circuit_open")}
    assert open_now == {f'relay_upstream_circuit_open{{upstream="{n}"}}' for n in urls}


async def test_the_rejection_of_a_persona_counts_and_opens_no_circuit(tmp_path: Path) -> None:
    async with FakeUpstream().running() as upstream:

        async def rejects(call: object) -> None:
            del call
            created = {"type": "session.created", "session": {}}
            wrong = {"type": "error", "error": {"code": "unknown_parameter", "param": "session.x"}}
            await upstream.calls[-1].send(created)
            await upstream.calls[-1].receive()
            await upstream.calls[-1].send(wrong)
            await upstream.calls[-1].listen()

        upstream.script = rejects
        async with running_relay(write_config(tmp_path, upstream.url)) as relay:
            for _ in range(FAILURES):
                assert await refusal_code(relay) == "persona_rejected"
            assert not circuit(relay, "fake").is_open
            metrics = await relay.metrics()

    name = 'relay_upstream_attempts_total{outcome="persona_rejected",upstream="fake"}'
    assert metrics[name] == FAILURES


async def test_each_upstream_receives_only_its_own_key(tmp_path: Path) -> None:
    async with FakeUpstream().running() as ours, FakeUpstream().running() as theirs:
        personas = {
            name: f"upstream: {name}\nsession: {{model: m, instructions: x}}\n"
            for name in ("ours", "theirs")
        }
        path = write_config(tmp_path, "http://unused/v1", personas=personas)
        upstreams = {
            "ours": {"url": ours.url, "api_key": "sk-PLANTED-1", "organization": "org-1"},
            "theirs": {"url": theirs.url, "api_key": "sk-PLANTED-2", "project": "proj-2"},
        }
        text = path.read_text().replace("receptionist", "ours").splitlines()[1:]
        path.write_text("\n".join([f"upstreams: {json.dumps(upstreams)}", *text]))
        async with running_relay(path) as relay:
            for name in personas:
                async with relay.connect(f"?persona={name}") as client:
                    await receive(client)
    received = [dict(upstream.calls[0].request.headers) for upstream in (ours, theirs)]

    assert [headers["Authorization"] for headers in received] == [
        "Bearer sk-PLANTED-1",
        "Bearer sk-PLANTED-2",
    ]
    assert [headers.get("OpenAI-Organization") for headers in received] == ["org-1", None]
    assert [headers.get("OpenAI-Project") for headers in received] == [None, "proj-2"]
    assert len(ours.calls) == len(theirs.calls) == 1
