"""``serve`` in this process: signals reload, drain and stop the relay."""

import asyncio
import signal
from functools import partial
from pathlib import Path

import pytest
from fakes import FakeUpstream
from ledgers import Lines
from relays import receive, write_config
from websockets.asyncio.client import connect

from relay import app, serving
from relay.config.loading import load

pytestmark = pytest.mark.usefixtures("nothing_is_left", "unfrozen")

PRICES = "- {model: gpt-realtime-2.1, from: 2026-01-01, usd_per_million: {input_text: 7}}"


async def test_signals_reload_drain_and_stop_the_relay(tmp_path: Path) -> None:
    lines = Lines()
    async with FakeUpstream().running() as upstream:
        path = write_config(tmp_path, upstream.url, "limits: {drain_seconds: 60}")
        application = app.create_app(load(path, {}), lines.log)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            serve = partial(serving.serve, host="127.0.0.1", port=0, load=partial(load, path, {}))
            tasks.create_task(serve(application, lines.log))
            url = (await lines.until("relay.started"))["url"]
            async with connect(f"{url.replace('http', 'ws', 1)}/realtime", proxy=None) as client:
                await receive(client)
                signal.raise_signal(signal.SIGHUP)
                await lines.until("config.reloaded")
                signal.raise_signal(signal.SIGTERM)
                assert await lines.until("drain.started") == {"seconds": 60}
                signal.raise_signal(signal.SIGINT)
                assert (await receive(client))["error"]["code"] == "relay_draining"
                await client.wait_closed()
        assert await upstream.calls[0].closed == 1012

    assert client.close_code == 1012
    assert (lines.events[0], lines.events[-1]) == ("relay.started", "relay.stopped")
    assert dict(lines.lines)["price.missing"] == {"models": ("gpt-realtime-2.1",)}


async def test_without_a_loader_sighup_is_left_alone(tmp_path: Path) -> None:
    """The demo has no configuration file to read again."""
    lines = Lines()
    (tmp_path / "prices.yaml").write_text(PRICES)
    path = write_config(tmp_path, "http://127.0.0.1:1/v1")
    application = app.create_app(load(path, {}), lines.log)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(serving.serve(application, lines.log, host="127.0.0.1", port=0))
        await lines.until("relay.started")
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
        signal.raise_signal(signal.SIGTERM)

    assert lines.events == ["relay.started", "drain.started", "relay.stopped"]
