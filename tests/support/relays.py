"""Runs the relay for tests: in this process, on a free port, from configuration files."""

import asyncio
import io
import json
import ssl
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from aiohttp import ClientSession, web
from fakes import FakeUpstream, Script, listens
from websockets.asyncio.client import ClientConnection, connect

from relay import app, serving
from relay.config.loading import load
from relay.endpoints.realtime import Realtime
from relay.sessions.registry import Registry
from relay.telemetry import log

TEST_SECONDS = 60
"""A test that takes longer is considered hung, on a slow machine too."""

PERSONA = """
    upstream: fake
    session:
      model: gpt-realtime-2.1
      instructions: You are the receptionist of the clinic; the canary is PLANTED-PROMPT.
      audio: {output: {voice: marin}}
      tools:
        - type: function
          name: opening_hours
          description: PLANTED-TOOL
          parameters: {type: object}
"""


@dataclass
class RunningRelay:
    """A relay that is listening.

    Attributes:
        logged: the log, one JSON object a line.
        tls: TLS settings for its clients; None if it serves without TLS.
    """

    port: int
    application: web.Application
    logged: io.StringIO
    tls: ssl.SSLContext | None = None

    @property
    def root(self) -> str:
        """The URL without a path."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """The base URL for an SDK."""
        return f"{self.root}/v1"

    @property
    def url(self) -> str:
        """The URL of the WebSocket."""
        return f"{self.base_url.replace('http', 'ws', 1)}/realtime"

    @property
    def realtime(self) -> Realtime:
        """The endpoint."""
        return self.application[app.RELAY].realtime

    @property
    def sessions(self) -> Registry:
        """The registry of running sessions."""
        return self.application[app.RELAY].sessions

    async def ended(self) -> dict[str, Any]:
        """Wait until no session is open; return the last ``session.ended`` line of the log."""
        await self.sessions.emptied()
        return self.lines("session.ended")[-1]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines with this event."""
        entries = [json.loads(line) for line in self.logged.getvalue().splitlines()]
        return [entry for entry in entries if entry["event"] == event]

    def sdk(self, api_key: str = "any") -> openai.AsyncOpenAI:
        """Return a client of the stock SDK for the relay."""
        return openai.AsyncOpenAI(base_url=self.base_url, api_key=api_key)

    def connect(self, query: str = "", **options: Any) -> connect:
        """Return a context manager that connects a plain WebSocket client."""
        ours = {"open_timeout": None, "max_size": None, "compression": None, "proxy": None}
        return connect(self.url + query, **{**ours, "ssl": self.tls, **options})

    async def metrics(self) -> dict[str, float]:
        """Scrape the metrics; return each sample by its name with labels."""
        async with (
            ClientSession() as http,
            http.get(f"{self.root}/metrics", ssl=self.tls or True) as answer,
        ):
            text = await answer.text()
        samples = (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
        return {name: float(value) for name, _, value in samples}


def write_config(
    folder: Path,
    upstream: str,
    settings: str = "",
    personas: Mapping[str, str] | None = None,
    more: str = "",
) -> Path:
    """Write a relay.yaml with one upstream, ``fake``, and its personas; return its path.

    ``more`` are further keys of the upstream.
    """
    (folder / "personas").mkdir(exist_ok=True)
    for name, text in (personas or {"receptionist": PERSONA}).items():
        (folder / "personas" / f"{name}.yaml").write_text(textwrap.dedent(text))
    (folder / "relay.yaml").write_text(
        f"upstreams: {{fake: {{url: '{upstream}', api_key: sk-PLANTED-KEY, {more}}}}}\n"
        "default_persona: receptionist\npersonas: personas\n" + textwrap.dedent(settings)
    )
    return folder / "relay.yaml"


def write_fallbacks(folder: Path, **upstreams: Mapping[str, Any]) -> Path:
    """Write a relay.yaml whose persona has these upstreams, in their order; return its path."""
    persona = PERSONA.replace("upstream: fake", f"upstream: [{', '.join(upstreams)}]")
    path = write_config(folder, "http://unused/v1", personas={"receptionist": persona})
    sections = path.read_text().splitlines()[1:]
    compatible = {name: {"provider": "compatible"} | {**keys} for name, keys in upstreams.items()}
    path.write_text("\n".join([f"upstreams: {json.dumps(compatible)}", *sections]) + "\n")
    return path


@asynccontextmanager
async def running_relay(
    path: Path,
    seconds: float = TEST_SECONDS,
    host: str = "127.0.0.1",
    has_started: Callable[[], bool] = lambda: True,
) -> AsyncIterator[RunningRelay]:
    """Run a relay on this configuration file, for at most ``seconds``."""
    logged = io.StringIO()
    logger = log.create(logged, "json")
    config = load(path, {})
    application = app.create_app(config, logger, ready=has_started)
    runner = serving.create_runner(application)
    await runner.setup()
    cert = config.server.tls_cert
    tls = ssl.create_default_context(cafile=cert) if cert else None
    try:
        with closing(await serving.listen(runner, host, 0, application[app.RELAY].tls)) as server:
            relay = RunningRelay(server.sockets[0].getsockname()[1], application, logged, tls)
            async with asyncio.timeout(seconds):
                yield relay
    finally:
        await runner.cleanup()
    assert await relay.realtime._admission._accounts.state.sessions() == 0
    assert not relay.sessions.running
    assert not relay.sessions._dials
    assert "PLANTED" not in logged.getvalue()


@asynccontextmanager
async def relaying(
    folder: Path, script: Script = listens, settings: str = "", **personas: str
) -> AsyncIterator[tuple[RunningRelay, FakeUpstream]]:
    """Run a relay on a fake upstream that runs ``script`` for each connection."""
    async with FakeUpstream(script).running() as upstream:
        path = write_config(folder, upstream.url, settings, personas)
        async with running_relay(path) as relay:
            yield relay, upstream


async def receive(connection: ClientConnection) -> dict[str, Any]:
    """Return the next event."""
    event: dict[str, Any] = json.loads(await connection.recv())
    return event


async def send(connection: ClientConnection, **event: Any) -> None:
    """Send an event."""
    await connection.send(json.dumps(event))
