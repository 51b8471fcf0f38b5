"""The demo: the relay in front of the local upstream, with nothing to configure and no key."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay import app, serving, simulator
from relay.config.loading import load
from relay.config.models import Config
from relay.demo import tools
from relay.simulator import speech
from relay.simulator.standin import SENSES

CONFIG = Path(__file__).parent / "relay.yaml"
LOOPBACK = "127.0.0.1"


async def run(config: Config, listener: socket.socket, log: Logger, host: str, port: int) -> None:
    """Serve until asked to stop; the relay is ready once the local upstream has its models.

    Raises:
        OSError: the address cannot be listened on.
    """
    ready = asyncio.Event()
    application = app.create_app(config, log, ready=ready.is_set)
    async with _local_upstream(config, listener, ready):
        await serving.serve(application, log, host=host, port=port)


def reserve() -> socket.socket:
    """Return a socket with a free port of loopback, for the local upstream.

    It listens at once, so that who connects while the models load waits, and is not refused.
    """
    return socket.create_server((LOOPBACK, 0))


def configuration(listener: socket.socket, data: str) -> Config:
    """Return the demo's configuration: the local upstream at this socket, its data in a folder."""
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    return load(CONFIG, {"UPSTREAM": f"{address}/v1", "TOOLS": address, "DATA": data})


@asynccontextmanager
async def _local_upstream(
    config: Config, listener: socket.socket, ready: asyncio.Event
) -> AsyncIterator[None]:
    """Start the local upstream while the relay is listening already."""
    async with asyncio.TaskGroup() as tasks:
        starting = tasks.create_task(_start(config, listener, ready))
        yield
        starting.cancel()


async def _start(config: Config, listener: socket.socket, ready: asyncio.Event) -> None:
    senses = await asyncio.to_thread(speech.load) if speech.is_installed() else SENSES
    application = simulator.create_app(senses=senses, replies=tuple(_replies(config)))
    application.router.add_post("/opening_hours", tools.opening_hours)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ready.set()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _replies(config: Config) -> Iterator[simulator.Reply]:
    """Yield what the personas script for the local upstream."""
    for persona in config.personas.values():
        for reply in persona.demo:
            instructions = str(persona.session.get("instructions", ""))
            yield simulator.Reply.of(reply.when, reply.say, instructions=instructions)
