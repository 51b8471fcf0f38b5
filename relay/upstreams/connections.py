"""The connections to upstreams: TLS is verified, no redirect is followed, none is used twice."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from relay.config.upstream import Upstream
from relay.upstreams.resolver import Resolver

CACHE_DNS_SECONDS = 60


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide the pool: it has no limit, because the number of sessions is limited."""
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    async with aiohttp.ClientSession(
        # A refused handshake would leave its connection to the next session, which may be of
        # another persona, and the upstream may have closed it.
        connector=aiohttp.TCPConnector(
            limit=0, force_close=True, ttl_dns_cache=CACHE_DNS_SECONDS, resolver=Resolver()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trace_configs=[no_redirects],
        trust_env=False,
    ) as http:
        yield http


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
