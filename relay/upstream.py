"""Connects to a provider of the Realtime API and opens a session there; its failures become ours.

Nothing of the client travels: the URL, the headers and the key are the configuration's. TLS is
verified, no proxy of the environment is used, no redirect is followed (it would carry the key to
wherever it points), nothing is compressed (base64 audio shrinks by a quarter, for 40 to 200 us a
message and 268 KiB a connection), and the beta header, fatal since 2026-05-12, is never sent.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
from yarl import URL

import relay
from relay.config import Config, Persona, Upstream, session_update
from relay.core.close import CloseCode
from relay.core.errors import (
    RelayError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from relay.core.events import Event
from relay.core.opening import Opened, Opening
from relay.core.quotations import unquoted
from relay.peer import CLOSE_SECONDS, SILENCE_SECONDS, Patience, Peer
from relay.resolver import Resolver
from relay.upgrade import NotUpgraded, connect

TOO_MANY_REQUESTS = 429
REFUSED = range(400, 500)
CACHE_DNS_SECONDS = 60

PATIENCE = Patience(slow_seconds=SILENCE_SECONDS, close_seconds=CLOSE_SECONDS / 2)
"""With an upstream. It has less time to close than a client: while a message waits for room in an
upstream that does not read, the client is not read either, and its Close not seen."""


@dataclass(frozen=True, slots=True)
class OpenedUpstream:
    """An upstream that has confirmed the persona."""

    name: str
    peer: Peer
    session: Event
    ready_seconds: float


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One upstream that is tried for a persona, for so many seconds."""

    name: str
    persona: Persona
    user: str | None
    seconds: float


class Dialler:
    """Dials the upstreams of one configuration; shares their DNS answers and TLS contexts."""

    def __init__(self, http: aiohttp.ClientSession, config: Config) -> None:
        self._http = http
        self._upstreams = config.upstreams
        self._max_message_bytes = config.limits.max_message_bytes
        self._tls = {name: _tls(upstream) for name, upstream in config.upstreams.items()}

    async def open(
        self, persona: Persona, relay_ids: str, user: str | None = None
    ) -> OpenedUpstream:
        """Connect to the persona's upstream, or to the next one it names, and configure it.

        ``user`` is the hash of the end user, by which the provider may know abuse.
        Cancelling it leaves nothing open.

        Raises:
            UpstreamUnavailable, UpstreamRefused, PersonaRejected: as it answered.
            UpstreamTimeout: it was not ready within ``ready_timeout_seconds``.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + self._upstreams[persona.upstream[0]].ready_timeout_seconds
        failure: RelayError = UpstreamUnavailable()
        for left, name in zip(range(len(persona.upstream), 0, -1), persona.upstream, strict=True):
            attempt = _Attempt(name, persona, user, seconds=(deadline - loop.time()) / left)
            try:
                peer, session = await self._open_one(attempt, relay_ids)
            except TimeoutError:
                failure = UpstreamTimeout(detail=f"{name} was not ready in time")
            except (UpstreamUnavailable, UpstreamRefused) as error:
                failure = error
            else:
                return OpenedUpstream(name, peer, session, loop.time() - started)
        raise failure

    async def _open_one(self, attempt: "_Attempt", relay_ids: str) -> tuple[Peer, Event]:
        peer, opening = None, Opening(session_update(attempt.persona), relay_ids)
        try:
            async with asyncio.timeout(attempt.seconds):
                peer = await self._connect(attempt)
                return peer, await _configure(peer, opening)
        except BaseException as error:
            if isinstance(error, RelayError):
                error.detail = unquoted(error.detail, attempt.persona.session)
            if peer is not None:
                await peer.leave(CloseCode.NORMAL_CLOSURE, "the session did not open")
            raise

    async def _connect(self, attempt: "_Attempt") -> Peer:
        name, upstream = attempt.name, self._upstreams[attempt.name]
        try:
            return await connect(
                self._http,
                realtime_url(upstream.url, attempt.persona.model),
                headers=_headers(upstream, attempt.user),
                tls=self._tls[name],
                patience=PATIENCE,
                max_message_bytes=self._max_message_bytes,
            )
        except NotUpgraded as error:
            raise _refusal(name, error.status) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamUnavailable(detail=f"{name}: {type(error).__name__}: {error}") from error


async def _configure(peer: Peer, opening: Opening) -> Event:
    """Send the persona and wait until the upstream has confirmed it."""
    while (message := await peer.receive()) is not None:
        answer = opening.receive(message)
        if isinstance(answer, Opened):
            return answer.session
        if answer is not None:
            await peer.send(answer.message)
    raise opening.closed(peer.close_code, peer.close_reason)


def realtime_url(base: str, model: str) -> URL:
    """Return the WebSocket address of a session with this model."""
    url = URL(base)
    scheme = {"http": "ws", "https": "wss"}.get(url.scheme, url.scheme)
    return url.with_scheme(scheme).joinpath("realtime").with_query(model=model)


def _headers(upstream: Upstream, user: str | None) -> dict[str, str]:
    named = {
        "User-Agent": f"realtime-relay/{relay.__version__}",
        "Authorization": upstream.api_key and f"Bearer {upstream.api_key.get_secret_value()}",
        "OpenAI-Organization": upstream.organization,
        "OpenAI-Project": upstream.project,
        "OpenAI-Safety-Identifier": user,
    }
    configured = {name: value.get_secret_value() for name, value in upstream.headers.items()}
    return configured | {name: value for name, value in named.items() if value}


def _tls(upstream: Upstream) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=upstream.ca_file and str(upstream.ca_file))


def _refusal(name: str, status: int) -> RelayError:
    detail = f"{name} answered the handshake with {status}"
    if status in REFUSED and status != TOO_MANY_REQUESTS:
        return UpstreamRefused(detail=detail)
    return UpstreamUnavailable(detail=detail)


async def _refuse_redirect(
    _session: aiohttp.ClientSession, _context: SimpleNamespace, _params: Any
) -> NoReturn:
    raise aiohttp.ClientError("the upstream redirects, and the relay does not follow")


@asynccontextmanager
async def connections() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide what dials: one pool without a limit, since sessions are limited on their own."""
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=CACHE_DNS_SECONDS, resolver=Resolver()
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trace_configs=[no_redirects],
        trust_env=False,
    ) as http:
        yield http
