"""Serves the application: listens, handles the signals of the process, drains and stops."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay.app import RELAY, Relay
from relay.config.models import Config
from relay.wire import tls
from relay.wire.connections import connection_factory
from relay.wire.peer import CLOSE_SECONDS

HEAD_SECONDS = 15
"""The longest time that a client may take for the TLS handshake, and again for the head of its
request. The limits of asyncio and aiohttp are a minute and an hour."""

BACKLOG = 1024
"""The number of connections that may wait to be accepted. After a restart of the relay, all its
clients connect at once, and a client beyond the backlog tries again a second later. The default of
aiohttp is 128."""


def create_runner(app: web.Application) -> web.AppRunner:
    """Return the runner of the application; a client that leaves cancels its handler."""
    return web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=HEAD_SECONDS,
        shutdown_timeout=1,
    )


async def listen(
    runner: web.AppRunner, host: str, port: int, secure: tls.Tls | None
) -> asyncio.Server:
    """Accept connections until the returned server is closed; closing it ends no connection.

    Raises:
        OSError: the address cannot be listened on.
    """
    assert runner.server is not None, "the runner is not set up"  # noqa: S101
    context = None if secure is None else secure.context
    factory = connection_factory(runner.server, context, HEAD_SECONDS, CLOSE_SECONDS)
    loop = asyncio.get_running_loop()
    return await loop.create_server(factory, host, port, backlog=BACKLOG)


async def serve(
    app: web.Application,
    log: Logger,
    *,
    host: str,
    port: int,
    load: Callable[[], Config] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the sessions at once.

    SIGHUP reads the configuration again with ``load``.

    Raises:
        OSError: the address cannot be listened on.
    """
    relay = app[RELAY]
    relay.raise_file_limit()
    runner = create_runner(app)
    await runner.setup()
    try:
        with closing(await listen(runner, host, port, relay.tls)) as server:
            # A full collection that visits all loaded objects would delay audio by 0.1 s.
            gc.freeze()
            async with asyncio.TaskGroup() as tasks:
                with _signals(relay, load, tasks) as wait_for_stop:
                    _log_start(relay, server, log)
                    await wait_for_stop()
                    seconds = relay.config.limits.drain_seconds
                    log.info("drain.started", seconds=seconds)
                    await relay.drain(seconds)
    finally:
        await runner.cleanup()
    log.info("relay.stopped")


def _log_start(relay: Relay, server: asyncio.Server, log: Logger) -> None:
    """Log the address, the personas and the upstreams, and warn of prices and certificates."""
    log.info(
        "relay.started",
        url=f"{'https' if relay.tls else 'http'}://{_authority(server)}/v1",
        personas=sorted(relay.config.personas),
        upstreams={name: u.url for name, u in relay.config.upstreams.items()},
    )
    if unpriced := relay.unpriced():
        log.warning("price.missing", models=unpriced)
    relay.warn_of_expiry()


def _authority(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _signals(
    relay: Relay, load: Callable[[], Config] | None, tasks: asyncio.TaskGroup
) -> Iterator[Callable[[], Awaitable[object]]]:
    """Handle the signals of the process; yield a function that waits for SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            relay.sessions.stop_at_once()
        stopping.set()

    reactions: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if load is not None:
        reactions[signal.SIGHUP] = lambda: tasks.create_task(relay.reload(load))
    for number, react in reactions.items():
        loop.add_signal_handler(number, react)
    try:
        yield stopping.wait
    finally:
        for number in reactions:
            loop.remove_signal_handler(number)
