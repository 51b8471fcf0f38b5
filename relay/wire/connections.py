"""The connections of clients before they send a request: their number is limited.

A connection without a request costs its client nothing, and the relay a file. When too many wait,
the oldest is dropped, so that a new client gets in.
"""

import asyncio
from asyncio import sslproto
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Any, cast

import uvloop
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from relay.wire.file_limit import file_limit

MAX_WAITING = 2048
"""More clients than this do not connect at the same moment; a TLS connection takes 100 KiB."""

WAITING_SHARE = 4
"""One of this number of the files that the process may open may be a connection that waits."""


class WaitingConnections:
    """The connections without a complete request head, the oldest first."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._transports: dict[object, asyncio.Transport] = {}

    def add(self, connection: object, transport: asyncio.Transport) -> None:
        """Note that a connection waits; drop the oldest if too many do."""
        self._transports[connection] = transport
        if len(self._transports) > self._max_waiting:
            oldest = next(iter(self._transports))
            self._transports.pop(oldest).abort()

    def discard(self, connection: object) -> None:
        """Note that a connection has sent a request, or is lost."""
        self._transports.pop(connection, None)


class Connection(RequestHandler):
    """A connection that counts as waiting before and between its requests."""

    __slots__ = ("_waiting",)

    def __init__(self, server: web.Server, waiting: WaitingConnections, **options: Any) -> None:
        super().__init__(server, **options)
        self._waiting = waiting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._waiting.add(self, cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; it counts once its head is complete."""
        super().data_received(data)
        if self._messages:
            self._waiting.discard(self)

    async def finish_response(self, *answered: Any) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer, and wait for the next request."""
        finished = await super().finish_response(*answered)
        if self.transport is not None and not self._messages:
            self._waiting.add(self, self.transport)
        return finished

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._waiting.discard(self)


def connection_factory(
    server: web.Server, context: SSLContext | None, handshake_seconds: float, close_seconds: float
) -> Callable[[], asyncio.BaseProtocol]:
    """Return the factory of the connections of a server, with TLS if there is a context.

    The loop itself would do the same TLS, but show no connection before its handshake is over.
    """
    waiting = WaitingConnections(int(min(MAX_WAITING, file_limit() / WAITING_SHARE)))
    options = server._kwargs  # noqa: SLF001  # it has no other place for them
    loop = asyncio.get_running_loop()
    tls_class = _waiting_class(_tls_class(loop))

    def make_connection() -> asyncio.BaseProtocol:
        connection = Connection(server, waiting, loop=loop, **options)
        if context is None:
            return connection
        tls = tls_class(
            loop,
            connection,
            context,
            None,
            server_side=True,
            ssl_handshake_timeout=handshake_seconds,
            ssl_shutdown_timeout=close_seconds,
        )
        tls.waiting = partial(waiting.add, connection), partial(waiting.discard, connection)
        return cast("asyncio.BaseProtocol", tls)

    return make_connection


def _tls_class(loop: asyncio.AbstractEventLoop) -> Any:
    is_uvloop = isinstance(loop, uvloop.Loop)
    return uvloop.loop.SSLProtocol if is_uvloop else sslproto.SSLProtocol  # type: ignore[attr-defined]  # no stubs


def _waiting_class(tls_class: Any) -> Any:
    """Return a loop's class for TLS, changed so that a connection waits during its handshake."""

    class WaitingTls(tls_class):  # type: ignore[misc]
        waiting: tuple[Callable[[Any], None], Callable[[], None]]

        def connection_made(self, transport: Any) -> None:
            self.waiting[0](transport)
            super().connection_made(transport)

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            self.waiting[1]()
            del self.waiting  # it leads back here

    return WaitingTls
