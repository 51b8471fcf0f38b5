"""The connections to upstreams: TLS is verified, no redirect is followed, none is used twice."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.tracing import Trace
from yarl import URL

from relay.config.upstream import Upstream
from relay.upstreams.resolver import Resolver

CACHE_DNS_SECONDS = 60

NO_LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=None)
"""The callers limit the time."""

MAX_HEAD_BYTES = 16 * 1024
"""An upstream sends at most this much before its 101. aiohttp reads interim answers (1xx) without
a limit, and 256 KiB of them at once."""


class Pool(Protocol):
    """Connections to one upstream that were opened in advance."""

    def take(self) -> "UpstreamConnection | None":
        """Return a connection for a session, or None."""

    def drop(self) -> None:
        """Close all connections that wait: the upstream may have moved."""

    def received(self, connection: "UpstreamConnection") -> None:
        """Note the first bytes of the upstream on a connection."""

    def lost(self, connection: "UpstreamConnection") -> None:
        """Note that the upstream closed a connection without sending anything."""


class UpstreamConnection(ResponseHandler):
    """A connection whose upstream has a limited number of bytes before its 101.

    Attributes:
        pool: the pool of a connection that was opened in advance, until its upstream sends.
    """

    __slots__ = ("_left_bytes", "pool")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._left_bytes = MAX_HEAD_BYTES
        self.pool: Pool | None = None

    def data_received(self, data: bytes) -> None:
        """Read the answer to the handshake; lose an upstream whose answer is too long."""
        if self._upgraded:
            super().data_received(data)
            return
        if self.pool is not None:
            self.pool.received(self)
            if self.transport is None:
                return  # the pool closed the connection
        head, rest = data[: self._left_bytes], data[self._left_bytes :]
        self._left_bytes -= len(head)
        super().data_received(head)
        if rest:
            self._read_rest(rest)

    def _read_rest(self, rest: bytes) -> None:
        if self._upgraded:
            super().data_received(rest)
        elif self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Report an upstream that closed; aiohttp forgets the transport when the relay closes."""
        closed_by_upstream = self.transport is not None
        super().connection_lost(exc)
        if self.pool is not None and closed_by_upstream:
            self.pool.lost(self)


class Connector(aiohttp.TCPConnector):
    """Opens a connection for each session, or takes one that was opened in advance.

    Attributes:
        pools: the connections that were opened in advance, by their upstream.
    """

    def __init__(self) -> None:
        # A refused handshake would leave its connection to the next session, which may be of
        # another persona, and the upstream may have closed it.
        super().__init__(
            limit=0, force_close=True, ttl_dns_cache=CACHE_DNS_SECONDS, resolver=Resolver()
        )
        # aiohttp has no other place for the class of its connections.
        self._factory = partial(UpstreamConnection, asyncio.get_running_loop())  # type: ignore[assignment]
        self.pools: dict[ConnectionKey, Pool] = {}

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # as in aiohttp
    ) -> ResponseHandler:
        """Return a connection; aiohttp calls this for each request, and once more if it fails."""
        pool = self.pools.get(req.connection_key)
        taken = None if pool is None else pool.take()
        if taken is not None:
            return taken
        return await super()._create_connection(req, traces, timeout)

    async def open(self, request: aiohttp.ClientRequest) -> UpstreamConnection:
        """Open a connection in advance, with TLS if the request has it.

        Raises:
            aiohttp.ClientError, OSError: The connection failed.
        """
        opened = await super()._create_connection(request, [], NO_LIMITS)
        assert isinstance(opened, UpstreamConnection)  # noqa: S101  # by the factory
        return opened

    def look_up_again(self, url: URL) -> None:
        """Look the name of an upstream up for the next connection."""
        if url.host and url.port:
            self.clear_dns_cache(url.host, url.port)

    def forget(self, url: URL) -> None:
        """Look the name of an upstream up again, and close the connections opened in advance."""
        self.look_up_again(url)
        for key, pool in self.pools.items():
            if (key.host, key.port) == (url.raw_host, url.port):
                pool.drop()


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide the pool: it has no limit, because the number of sessions is limited."""
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    async with aiohttp.ClientSession(
        connector=Connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=NO_LIMITS,
        trace_configs=[no_redirects],
        trust_env=False,
    ) as http:
        yield http


def forget_address(http: aiohttp.ClientSession, url: URL) -> None:
    """Look the name of an upstream up again for the next session: it may have moved."""
    if isinstance(http.connector, Connector):
        http.connector.forget(url)


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any
) -> NoReturn:
    raise aiohttp.ClientError("the upstream redirects, and the relay does not follow")


def tls_context(upstream: Upstream) -> ssl.SSLContext:
    """Return a context that verifies the upstream's certificate, with its ``ca_file`` if any."""
    return ssl.create_default_context(cafile=upstream.ca_file and str(upstream.ca_file))


def clear_traceback(error: BaseException | None) -> None:
    """Remove the frames from an error and from its causes.

    asyncio and aiohttp keep errors in variables of those frames. This cycle would keep the other
    variables of the frames until the garbage collector runs.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
