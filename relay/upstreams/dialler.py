"""Connects to a provider of the Realtime API and opens a session there; its failures become ours.

Nothing of the client travels: the URL, the headers and the key are the configuration's. TLS is
verified, no proxy of the environment is used, no redirect is followed (it would carry the key to
wherever it points), nothing is compressed (base64 audio shrinks by a quarter, for 40 to 200 us a
message and 268 KiB a connection), and the beta header, fatal since 2026-05-12, is sent to nobody
but an upstream whose ``dialect`` it is.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import aiohttp
from structlog.typing import FilteringBoundLogger as Logger

import relay
from relay.config.models import Config
from relay.config.persona import Persona, session_query, session_to_send
from relay.config.upstream import Upstream
from relay.core.circuit import Circuit, worth_trying
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
from relay.dialects.beta.peers import BetaUpstream
from relay.dialects.translated import GA, Dialect
from relay.upstreams.address import realtime_url
from relay.upstreams.entra import Entra, NoToken
from relay.upstreams.resolver import Resolver
from relay.wire.liveness import SILENCE_SECONDS
from relay.wire.peer import CLOSE_SECONDS, Patience, Peer
from relay.wire.upgrade import NotUpgraded, connect

TOO_MANY_REQUESTS = 429
REFUSED = range(400, 500)
CACHE_DNS_SECONDS = 60

OPENED: Final = "opened"
"""The outcome of an attempt that led to a session; of any other it is the code of the error."""

FAULTS: Final = (UpstreamUnavailable, UpstreamTimeout, NoToken)
"""What counts against an upstream. A refusal does not: it comes at once, and may be about the model
of one persona."""

PATIENCE = Patience(slow_seconds=SILENCE_SECONDS, close_seconds=CLOSE_SECONDS / 2)
"""With an upstream. It has less time to close than a client: while a message waits for room in an
upstream that does not read, what the client says is taken in up to a bound, and its Close may be
behind that."""


@dataclass(frozen=True, slots=True)
class OpenedUpstream:
    """An upstream that has confirmed the persona, which is told in GA."""

    name: str
    peer: Peer
    session: Event
    ready_seconds: float
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One upstream that is tried for a persona, for so many seconds."""

    name: str
    persona: Persona
    relay_ids: str
    user: str | None
    seconds: float
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class Means:
    """What a dialler works with, whatever the configuration says.

    Attributes:
        observe: is told of each attempt: the upstream's name, and the outcome.
    """

    http: aiohttp.ClientSession
    entra: Entra
    observe: Callable[[str, str], None]
    log: Logger


class Dialler:
    """Dials the upstreams of one configuration; shares their DNS answers and TLS contexts.

    Attributes:
        circuits: of each upstream, whether it is worth trying.
    """

    def __init__(
        self, means: Means, config: Config, circuits: Mapping[str, Circuit] | None = None
    ) -> None:
        """Dial these upstreams; those that are not among ``circuits`` get one that is closed."""
        self._means = means
        self._upstreams = config.upstreams
        self._max_message_bytes = config.limits.max_message_bytes
        self._tls = {name: _tls(upstream) for name, upstream in config.upstreams.items()}
        closed = {name: Circuit(random.random) for name in config.upstreams}
        self.circuits: Mapping[str, Circuit] = closed | dict(circuits or {})

    def renewed(self, config: Config) -> "Dialler":
        """Return one for another configuration; what stays the same keeps its circuit."""
        old, new = self._upstreams, config.upstreams
        same = {name: self.circuits[name] for name in old if new.get(name) == old[name]}
        return Dialler(self._means, config, same)

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
        *earlier, last = worth_trying({n: self.circuits[n] for n in persona.upstream}, started)

        async def attempt(name: str, left: int) -> OpenedUpstream:
            dialect, seconds = _dialect(self._upstreams[name]), (deadline - loop.time()) / left
            peer, session = await self._try(
                _Attempt(name, persona, relay_ids, user, seconds, dialect)
            )
            return OpenedUpstream(name, peer, session, loop.time() - started, dialect)

        for left, name in zip(range(len(earlier) + 1, 1, -1), earlier, strict=True):
            with suppress(UpstreamTimeout, UpstreamUnavailable, UpstreamRefused):
                return await attempt(name, left)
        return await attempt(last, 1)

    async def _try(self, attempt: "_Attempt") -> tuple[Peer, Event]:
        """Open one upstream, and take note of how it went."""
        circuit = self.circuits[attempt.name]
        circuit.begin(asyncio.get_running_loop().time())
        try:
            opened = await self._open_one(attempt)
        except RelayError as error:
            self._note_failure(attempt.name, error)
            raise
        circuit.answered()
        self._means.observe(attempt.name, OPENED)
        return opened

    def _note_failure(self, name: str, error: RelayError) -> None:
        circuit, now = self.circuits[name], asyncio.get_running_loop().time()
        if isinstance(error, FAULTS):
            circuit.failed(now)
        else:
            circuit.answered()
        self._means.observe(name, error.code)
        self._means.log.warning(
            "upstream.failed",
            upstream=name,
            code=error.code,
            detail=error.detail,
            skipped_seconds=round(circuit.wait_seconds(now), 1),
        )

    async def _open_one(self, attempt: "_Attempt") -> tuple[Peer, Event]:
        peer, opening = None, Opening(session_to_send(attempt.persona.session), attempt.relay_ids)
        try:
            async with asyncio.timeout(attempt.seconds):
                peer = await self._connect(attempt)
                return peer, await _configure(peer, opening, attempt.dialect)
        except BaseException as error:
            if peer is not None:
                await peer.leave(CloseCode.NORMAL_CLOSURE, "the session did not open")
            if isinstance(error, TimeoutError):
                detail = f"{attempt.name} was not ready in time"
                raise UpstreamTimeout(detail=detail) from None
            if isinstance(error, RelayError):
                error.detail = unquoted(
                    error.detail, attempt.persona.session, attempt.persona.hints
                )
            raise

    async def _connect(self, attempt: "_Attempt") -> Peer:
        name, upstream = attempt.name, self._upstreams[attempt.name]
        try:
            return await connect(
                self._means.http,
                realtime_url(upstream, session_query(attempt.persona)),
                headers=_headers(upstream, attempt.user) | await self._credential(upstream),
                tls=self._tls[name],
                patience=PATIENCE,
                max_message_bytes=self._max_message_bytes,
            )
        except NotUpgraded as error:
            raise _refusal(name, error.status) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            clear_traceback(error)
            raise UpstreamUnavailable(detail=f"{name}: {type(error).__name__}: {error}") from error

    async def _credential(self, upstream: Upstream) -> dict[str, str]:
        """Return the header that says who the relay is."""
        azure, key = upstream.provider == "azure", upstream.api_key
        if key is None:
            return {"Authorization": f"Bearer {await self._means.entra.token()}"} if azure else {}
        secret = key.get_secret_value()
        return {"api-key": secret} if azure else {"Authorization": f"Bearer {secret}"}


def clear_traceback(error: BaseException | None) -> None:
    """Forget through which frames an error came.

    asyncio and aiohttp keep errors in variables of those frames, and so what else is in them, until
    the garbage collector runs.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


async def _configure(peer: Peer, opening: Opening, dialect: Dialect) -> Event:
    """Send the persona and wait until the upstream has confirmed it."""
    while (received := await peer.receive()) is not None:
        for message in dialect.inward(received):
            answer = opening.receive(message)
            if isinstance(answer, Opened):
                return answer.session
            if answer is not None and (update := dialect.outward(answer.message)) is not None:
                await peer.send(update)
    raise opening.closed(peer.close_code, peer.close_reason)


def _headers(upstream: Upstream, user: str | None) -> dict[str, str]:
    named = {
        "User-Agent": f"realtime-relay/{relay.__version__}",
        "OpenAI-Organization": upstream.organization,
        "OpenAI-Project": upstream.project,
        "OpenAI-Safety-Identifier": user,
    }
    if upstream.dialect == "beta":
        named["OpenAI-Beta"] = "realtime=v1"
    configured = {name: value.get_secret_value() for name, value in upstream.headers.items()}
    return configured | {name: value for name, value in named.items() if value}


def _dialect(upstream: Upstream) -> Dialect:
    return BetaUpstream(upstream.extra_session_fields) if upstream.dialect == "beta" else GA


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
