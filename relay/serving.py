"""Serves the application: listens, answers the signals of the process, drains and stops."""

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

from relay.app import RELAY, Relay, raise_file_limit
from relay.config.models import Config
from relay.wire import tls
from relay.wire.peer import CLOSE_SECONDS

HEAD_SECONDS = 15
"""How long a client may take for the head of its request, and before that for the TLS handshake;
the bounds of aiohttp and asyncio are an hour and a minute."""

BACKLOG = 1024
"""How many connections may wait to be accepted. When a relay comes back, all its clients do at
once, and those beyond aiohttp's own bound, which is 128, try again a second later."""


def create_runner(app: web.Application) -> web.AppRunner:
    """Return what runs the application: a client that leaves cancels what is done for it."""
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
    """Let clients connect; closing what is returned ends that, and no connection.

    Raises:
        OSError: the address cannot be listened on.
    """
    assert runner.server is not None, "it is set up"  # noqa: S101
    secured: dict[str, Any] = {}
    if secure is not None:
        secured["ssl"] = secure.context
        secured["ssl_handshake_timeout"] = HEAD_SECONDS
        secured["ssl_shutdown_timeout"] = CLOSE_SECONDS
    loop = asyncio.get_running_loop()
    return await loop.create_server(runner.server, host, port, backlog=BACKLOG, **secured)


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
    raise_file_limit(relay.config, log)
    runner = create_runner(app)
    await runner.setup()
    try:
        with closing(await listen(runner, host, port, relay.tls)) as server:
            # A full collection that looks through all that is loaded would hold audio up for 0.1 s.
            gc.freeze()
            async with asyncio.TaskGroup() as tasks:
                with _signals(relay, load, tasks) as asked_to_stop:
                    _greet(relay, server, log)
                    await asked_to_stop()
                    seconds = relay.config.limits.drain_seconds
                    log.info("drain.started", seconds=seconds)
                    await relay.sessions.drain(seconds)
    finally:
        await runner.cleanup()
    log.info("relay.stopped")


def _greet(relay: Relay, server: asyncio.Server, log: Logger) -> None:
    """Say where the relay listens and what it is for, and what may be wrong with it."""
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
    """Answer the signals of the process; yields what waits for the first that asks to stop."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def stop() -> None:
        if asked.is_set():
            relay.sessions.stop()
        asked.set()

    reactions: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
    }
    if load is not None:
        reactions[signal.SIGHUP] = lambda: tasks.create_task(relay.reload(load))
    for number, react in reactions.items():
        loop.add_signal_handler(number, react)
    try:
        yield asked.wait
    finally:
        for number in reactions:
            loop.remove_signal_handler(number)
