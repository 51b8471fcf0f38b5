"""The connections to upstreams: TLS is verified, no redirect is followed, none is used twice."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from relay.config.upstream import Upstream
from relay.upstreams.resolver import Resolver

CACHE_DNS_SECONDS = 60

MAX_HEAD_BYTES = 16 * 1024
"""An upstream sends at most this much before its 101. aiohttp reads interim answers (1xx) without
a limit, and 256 KiB of them at once."""


class UpstreamConnection(ResponseHandler):
    """A connection whose upstream has a limited number of bytes before its 101."""

    __slots__ = ("_left_bytes",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._left_bytes = MAX_HEAD_BYTES

    def data_received(self, data: bytes) -> None:
        """Read the answer to the handshake; lose an upstream whose answer is too long."""
        if self._upgraded:
            super().data_received(data)
            return
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


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide the pool: it has no limit, because the number of sessions is limited."""
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    async with aiohttp.ClientSession(
        # A refused handshake would leave its connection to the next session, which may be of
        # another persona, and the upstream may have closed it.
        connector=_connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trace_configs=[no_redirects],
        trust_env=False,
    ) as http:
        yield http


def _connector() -> aiohttp.TCPConnector:
    connector = aiohttp.TCPConnector(
        limit=0, force_close=True, ttl_dns_cache=CACHE_DNS_SECONDS, resolver=Resolver()
    )
    # aiohttp has no other place for the class of its connections.
    connector._factory = partial(UpstreamConnection, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
    return connector


def forget_address(http: aiohttp.ClientSession, url: URL) -> None:
    """Look the name of an upstream up again for the next session: it may have moved."""
    if isinstance(http.connector, aiohttp.TCPConnector) and url.host and url.port:
        http.connector.clear_dns_cache(url.host, url.port)


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
