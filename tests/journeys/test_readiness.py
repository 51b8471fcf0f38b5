"""GET /readyz, and the refusal of new sessions while the event loop lags."""

from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiohttp import ClientSession
from handshakes import refused, refused_in_band
from relays import RunningRelay, receive, relaying, running_relay, write_config

from relay import app
from relay.config.loading import load
from relay.sessions.registry import Phase

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def readiness(relay: RunningRelay) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of ``/readyz``."""
    async with ClientSession() as http, http.get(f"{relay.root}/readyz") as answer:
        return answer.status, await answer.json()


def overload(relay: RunningRelay) -> None:
    """Add the samples of a loop that was late by half a second, again and again."""
    lag = relay.realtime._admission._loop_lag.lag
    for _ in range(100):
        lag.sample(monotonic(), 0.5)


async def test_a_relay_that_lags_refuses_new_sessions_and_is_not_ready(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        async with relay.connect() as talking:
            await receive(talking)
            overload(relay)
            status, error, retry_after = await refused(relay.connect())
            _, close_code = await refused_in_band(relay.connect(subprotocols=["realtime"]))
            ready = await readiness(relay)
            metrics = await relay.metrics()
            await talking.send('{"type":"input_audio_buffer.append","audio":"AAAA"}')
        await upstream.calls[0].closed
        details = [line["detail"] for line in relay.lines("session.refused")]

    assert (status, error["code"], close_code) == (503, "relay_full", 1013)
    assert int(retry_after or 0) > 0
    assert ready == (503, {"status": "not_ready", "reason": "lagging"})
    assert metrics["relay_event_loop_lag_seconds"] >= 0.5
    assert details == ["the event loop lags"] * 2
    assert len(upstream.calls) == 1
    assert len(upstream.calls[0].received) == 2  # the persona, and the audio


async def test_max_lag_ms_null_turns_the_limit_off(tmp_path: Path) -> None:
    async with relaying(tmp_path, settings="limits: {max_lag_ms: null}") as (relay, _):
        overload(relay)
        assert await readiness(relay) == (200, {"status": "ready"})
        async with relay.connect() as client:
            await receive(client)


async def test_a_reload_changes_max_lag_ms(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, upstream):
        overload(relay)
        path = write_config(tmp_path, upstream.url, "limits: {max_lag_ms: 600}")
        await relay.application[app.RELAY].reload(lambda: load(path, {}))
        assert await readiness(relay) == (200, {"status": "ready"})


async def test_a_relay_without_a_free_place_is_full(tmp_path: Path) -> None:
    async with relaying(tmp_path, settings="limits: {max_sessions: 1}") as (relay, _):
        assert await readiness(relay) == (200, {"status": "ready"})
        async with relay.connect() as client:
            await receive(client)
            assert await readiness(relay) == (503, {"status": "not_ready", "reason": "full"})
        await relay.ended()
        assert await readiness(relay) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [
        ("refuse", (503, {"status": "not_ready", "reason": "ledger_failing"})),
        ("continue", (200, {"status": "ready"})),
    ],
)
async def test_a_failing_ledger_counts_if_it_refuses_sessions(
    tmp_path: Path, on_failure: str, expected: tuple[int, dict[str, Any]]
) -> None:
    async with relaying(tmp_path, settings=f"usage: {{on_failure: {on_failure}}}") as (relay, _):
        relay.application[app.RELAY].metrics.ledger.failing = True  # type: ignore[union-attr]  # it is open
        assert await readiness(relay) == expected
        relay.application[app.RELAY].metrics.ledger.failing = False  # type: ignore[union-attr]  # as above


async def test_a_relay_that_drains_names_no_other_reason(tmp_path: Path) -> None:
    async with relaying(tmp_path) as (relay, _):
        overload(relay)
        relay.sessions.phase = Phase.DRAINING
        assert await readiness(relay) == (503, {"status": "not_ready", "reason": "draining"})


async def test_without_its_local_upstream_the_demo_is_starting(tmp_path: Path) -> None:
    path = write_config(tmp_path, "http://127.0.0.1:1/v1")
    started: list[bool] = []
    async with running_relay(path, has_started=lambda: bool(started)) as relay:
        assert await readiness(relay) == (503, {"status": "not_ready", "reason": "starting"})
        started.append(True)
        assert await readiness(relay) == (200, {"status": "ready"})
