"""Debian's Prometheus reads the metrics of the relay, and the rules and queries in config/."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from fakes import FakeUpstream
from paths import ROOT
from relays import running_relay, write_config

from relay.telemetry.metrics import METRICS

CONFIG = ROOT / "config"


@pytest.fixture(autouse=True)
def _prometheus() -> None:
    if shutil.which("prometheus") is None:
        reason = "needs prometheus and promtool: apt install prometheus"
        (pytest.fail if os.environ.get("RELAY_REQUIRE_PROMETHEUS") else pytest.skip)(reason)


def write(path: Path, document: Any) -> Path:
    """Write JSON, which is YAML too."""
    path.write_text(json.dumps(document))
    return path


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run a program, yield its stderr, and end it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stderr=pipe)
    assert process.stderr is not None
    try:
        yield process.stderr
    finally:
        process.terminate()
        await process.communicate()


async def find_in(stderr: asyncio.StreamReader, pattern: str) -> str:
    """Return the first group of the first line that matches."""
    async for line in stderr:
        if match := re.search(pattern, line.decode()):
            return match[1]
    raise AssertionError(f"it ended without a line that matches {pattern}")


@asynccontextmanager
async def alertmanager() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Receive the alerts that Prometheus pushes, so that the test need not poll."""
    fired = asyncio.Event()

    async def alerts(_: web.Request) -> web.Response:
        fired.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/v2/alerts", alerts)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        yield f"{host}:{port}", fired
    finally:
        await runner.cleanup()


def configure(folder: Path, *, relay: str, alertmanager: str, alert_when: str) -> Path:
    """Write a configuration of Prometheus that scrapes ``relay`` every second."""
    rules = {"groups": [{"name": "test", "rules": [{"alert": "Seen", "expr": alert_when}]}]}
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(write(folder / "rules.yml", rules))],
        "scrape_configs": [{"job_name": "relay", "static_configs": [{"targets": [relay]}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }
    return write(folder / "prometheus.yml", configuration)


async def test_prometheus_sees_an_open_session_and_the_type_of_every_metric(tmp_path: Path) -> None:
    async with (
        FakeUpstream().running() as upstream,
        running_relay(write_config(tmp_path, upstream.url)) as relay,
        alertmanager() as (alertmanager_address, session_seen),
        ClientSession() as http,
    ):
        config = configure(
            tmp_path,
            relay=f"127.0.0.1:{relay.port}",
            alertmanager=alertmanager_address,
            alert_when="sum(relay_sessions_open) == 1",
        )
        async with (
            relay.connect(),
            running(
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path}",
                "--web.listen-address=127.0.0.1:0",
                "--log.format=json",
            ) as prometheus,
        ):
            api = await find_in(prometheus, r'"address":"([^"]+)".*"Listening on"')
            await session_seen.wait()
            async with http.get(f"http://{api}/api/v1/metadata") as response:
                metadata = (await response.json())["data"]

    seen = {name: entries[0]["type"] for name, entries in metadata.items()}
    assert {name: metric.kind for name, metric in METRICS.items()}.items() <= seen.items()


def test_prometheus_accepts_the_configuration_and_the_alerts() -> None:
    subprocess.run(
        ["promtool", "check", "config", CONFIG / "prometheus/prometheus.yml"], check=True
    )


def test_prometheus_can_parse_every_query_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((CONFIG / "grafana/dashboards/relay.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries)
    ]
    group = {"groups": [{"name": "dashboard", "rules": rules}]}

    subprocess.run(["promtool", "check", "rules", write(tmp_path / "rules.yml", group)], check=True)
