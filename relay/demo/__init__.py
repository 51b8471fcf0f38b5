"""The demo: the relay in front of the local upstream, without configuration and without a key."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay import app, serving, simulator
from relay.config.loading import load
from relay.config.models import Config
from relay.demo import tools
from relay.simulator import speech
from relay.simulator.fallback import ENGINES

CONFIG = Path(__file__).parent / "relay.yaml"
LOOPBACK = "127.0.0.1"


async def run(
    config: Config,
    listener: socket.socket,
    log: Logger,
    host: str,
    port: int,
    *,
    dropped_lines: Callable[[], int] = int,
) -> None:
    """Serve until a signal stops it; the relay is ready when the local upstream has its models.

    Raises:
        OSError: The relay cannot listen on this address.
    """
    ready = asyncio.Event()
    application = app.create_app(config, log, ready=ready.is_set, dropped_lines=dropped_lines)
    async with _local_upstream(config, listener, ready):
        await serving.serve(application, log, host=host, port=port)


def reserve() -> socket.socket:
    """Return a socket on a free port of loopback, for the local upstream.

    It listens at once: a client that connects while the models load waits, and is not refused.
    """
    return socket.create_server((LOOPBACK, 0))


def configuration(listener: socket.socket, data: str) -> Config:
    """Return the demo's configuration.

    Args:
        listener: The socket of the local upstream.
        data: The folder for the ledger.
    """
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    return load(CONFIG, {"UPSTREAM": f"{address}/v1", "TOOLS": address, "DATA": data})


@asynccontextmanager
async def _local_upstream(
    config: Config, listener: socket.socket, ready: asyncio.Event
) -> AsyncIterator[None]:
    """Start the local upstream in the background; stop it at the end of the block."""
    try:
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(_start(config, listener, ready))
            yield
            starting.cancel()
    except BaseExceptionGroup as group:
        # The command reports the error itself, for example an address in use.
        raise group.exceptions[0] from None


async def _start(config: Config, listener: socket.socket, ready: asyncio.Event) -> None:
    engines = await asyncio.to_thread(speech.load) if speech.is_installed() else ENGINES
    application = simulator.create_app(engines=engines, replies=tuple(_replies(config)))
    application.router.add_post("/opening_hours", tools.opening_hours)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        ready.set()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _replies(config: Config) -> Iterator[simulator.ScriptedReply]:
    """Yield the replies that the personas define for the local upstream."""
    for persona in config.personas.values():
        for reply in persona.demo:
            instructions = str(persona.session.get("instructions", ""))
            yield simulator.ScriptedReply.of(reply.when, reply.say, instructions=instructions)
