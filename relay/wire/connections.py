"""The connections of clients that have no session: their number and their HTTP are limited.

A connection without a request costs its client nothing, and the relay a file. When too many wait,
the oldest is dropped, so that a new client gets in. The HTTP of strangers costs more time than it
has bytes, so the relay reads a small part of one client in each turn of the event loop.
"""

import asyncio
from asyncio import sslproto
from collections import deque
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import Any, cast

import uvloop
from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from relay.wire.file_limit import file_limit

MAX_WAITING = 2048
"""More clients than this do not connect at the same moment; a TLS connection takes 100 KiB."""

WAITING_SHARE = 4
"""One of this number of the files that the process may open may be a connection that waits."""

PART_BYTES = 4 * 1024
"""The relay reads at most this much HTTP in one turn of the event loop. In the worst notation, a
body in chunks of one byte, this takes 1 ms."""

MAX_REQUEST_BYTES = 128 * 1024
"""The relay reads at most this much of one request: a head and a body of 64 KiB, in any notation.
The rest of a longer one stays unread until the connection is closed."""


class HttpTurns:
    """Lets one client after the other read a part of its HTTP, one in each turn of the loop."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], None]] = deque()

    def add(self, read_part: Callable[[], None]) -> None:
        """Call ``read_part`` when it is its turn."""
        self._queue.append(read_part)
        if len(self._queue) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        try:
            self._queue[0]()
        finally:
            self._queue.popleft()
            if self._queue:
                asyncio.get_running_loop().call_soon(self._next)


class WaitingConnections:
    """The connections that wait for the rest of a request or send an answer, the oldest first."""

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
    """A connection that counts as waiting until a request is complete, and from its answer on."""

    __slots__ = (
        "_body",
        "_is_answering",
        "_is_paused",
        "_is_queued",
        "_request_bytes",
        "_turns",
        "_unread",
        "_waiting",
    )

    def __init__(
        self, server: web.Server, waiting: WaitingConnections, turns: HttpTurns, **options: Any
    ) -> None:
        super().__init__(server, **options)
        self._waiting = waiting
        self._turns = turns
        self._unread = bytearray()
        self._request_bytes = 0
        self._is_answering = self._is_queued = self._is_paused = False
        self._body: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._waiting.add(self, cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        """Keep bytes of a request until it is their turn."""
        if not data:  # aiohttp goes on with bytes that it has kept itself
            super().data_received(data)
            return
        self._unread += data
        self._pause_without_room()
        self._read_later()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  # as in aiohttp
        """Resume for aiohttp, which does so for each small chunk of a body that it discards."""
        super().resume_reading(resume_parser)
        self._pause_without_room()

    def _pause_without_room(self) -> None:
        if self.transport is not None and not self._has_room():
            self._is_paused = True
            self.transport.pause_reading()

    def _has_room(self) -> bool:
        return len(self._unread) <= PART_BYTES and self._request_bytes < MAX_REQUEST_BYTES

    def _read_later(self) -> None:
        if self._unread and not self._is_queued and self._request_bytes < MAX_REQUEST_BYTES:
            self._is_queued = True
            self._turns.add(self._read_part)

    def _read_part(self) -> None:
        """Read a part of a request; a request counts once it is complete."""
        self._is_queued = False
        part = bytes(self._unread[:PART_BYTES])
        del self._unread[:PART_BYTES]
        if not part or self.transport is None:
            return
        self._request_bytes += len(part)
        super().data_received(part)
        if self._messages:
            self._request_bytes, self._body = 0, self._messages[-1][1]
        self._note_complete()
        self._read_later()
        self._resume()

    def _note_complete(self) -> None:
        if self._messages and self._body.is_eof() and not self._is_answering:
            self._waiting.discard(self)

    def _resume(self) -> None:
        if self._is_paused and self._has_room() and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()

    def set_parser(self, parser: Any, *callbacks: Any) -> None:
        """Give the bytes behind the handshake to a WebSocket."""
        super().set_parser(parser, *callbacks)
        unread, self._unread, self._request_bytes = bytes(self._unread), bytearray(), 0
        if unread:
            parser.feed_data(unread)
        self._resume()

    async def finish_response(self, *answered: Any) -> tuple[web.StreamResponse, bool]:
        """Send the rest of an answer, and wait for the next request."""
        if self.transport is not None:
            self._waiting.add(self, self.transport)
        self._is_answering = True
        finished = await super().finish_response(*answered)
        self._is_answering = False
        self._note_complete()
        return finished

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._unread.clear()
        self._waiting.discard(self)


def connection_factory(
    server: web.Server, context: SSLContext | None, handshake_seconds: float, close_seconds: float
) -> Callable[[], asyncio.BaseProtocol]:
    """Return the factory of the connections of a server, with TLS if there is a context.

    The loop itself would do the same TLS, but show no connection before its handshake is over.
    """
    waiting = WaitingConnections(int(min(MAX_WAITING, file_limit() / WAITING_SHARE)))
    turns = HttpTurns()
    options = server._kwargs  # noqa: SLF001  # it has no other place for them
    loop = asyncio.get_running_loop()
    tls_class = _waiting_class(_tls_class(loop))

    def make_connection() -> asyncio.BaseProtocol:
        connection = Connection(server, waiting, turns, loop=loop, **options)
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
