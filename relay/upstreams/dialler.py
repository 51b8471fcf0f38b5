"""Opens a session at a provider of the Realtime API, and turns failures into the relay's errors.

Nothing comes from the client: the URL, the headers and the key are the configuration's. The relay
verifies TLS and uses no proxy of the environment. It follows no redirect, which would carry the
key to another server. It does not compress: base64 audio shrinks by a quarter, for 40 to 200 us a
message and 268 KiB a connection. It sends the beta header only to an upstream with
``dialect: beta``; other upstreams refuse it since 2026-05-12.
"""

import asyncio
import errno
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import aiohttp
from structlog.typing import FilteringBoundLogger as Logger

from relay.config.models import Config
from relay.config.persona import Persona, session_query, session_to_send
from relay.config.upstream import Upstream
from relay.core.circuit import Circuit, worth_trying
from relay.core.close import CloseCode
from relay.core.errors import (
    RelayError,
    RelayFull,
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
from relay.upstreams.connections import clear_traceback, forget_address, tls_context
from relay.upstreams.entra import Entra, NoToken
from relay.upstreams.headers import upstream_headers
from relay.upstreams.warm import WarmTarget
from relay.wire.liveness import SILENCE_SECONDS
from relay.wire.peer import CLOSE_SECONDS, Patience, Peer
from relay.wire.upgrade import NotUpgraded, connect

TOO_MANY_REQUESTS = 429
REFUSED = range(400, 500)

OPENED: Final = "opened"
"""The outcome of an attempt that opened a session; any other outcome is the code of an error."""

NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Errors of the relay's own process and machine."""

FAULTS: Final = (UpstreamUnavailable, UpstreamTimeout, NoToken)
"""The errors that count against an upstream. A refusal does not: it comes immediately, and may
concern the model of one persona."""

PATIENCE = Patience(slow_seconds=SILENCE_SECONDS, close_seconds=CLOSE_SECONDS / 2)
"""The patience with an upstream. It has less time to close than a client: while a message waits for
room in an upstream that does not read, the relay reads from the client only up to a limit, and the
client's Close may come after that."""


@dataclass(frozen=True, slots=True)
class OpenedUpstream:
    """An upstream that has confirmed the persona.

    Attributes:
        name: its name in the configuration.
        session: the confirmed session, in GA.
        ready_seconds: from the start of dialling to the confirmation.
        dialect: the dialect of its messages.
    """

    name: str
    peer: Peer
    session: Event
    ready_seconds: float
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt to open a session at one upstream.

    Attributes:
        name: the name of the upstream.
        user: the hash of the end user.
        seconds: the longest time that it may take.
    """

    name: str
    persona: Persona
    relay_ids: str
    user: str | None
    seconds: float
    dialect: Dialect


@dataclass(frozen=True, slots=True)
class DialResources:
    """The parts of a dialler that do not depend on the configuration.

    Attributes:
        observe: receives the upstream's name and the outcome of each attempt.
    """

    http: aiohttp.ClientSession
    entra: Entra
    observe: Callable[[str, str], None]
    log: Logger


class Dialler:
    """Dials the upstreams of one configuration.

    Attributes:
        circuits: the circuit of each upstream; it decides whether the upstream is skipped.
    """

    def __init__(
        self,
        resources: DialResources,
        config: Config,
        circuits: Mapping[str, Circuit] | None = None,
    ) -> None:
        """Dial the upstreams of a configuration; one without a circuit gets a closed one."""
        self._resources = resources
        self._upstreams = config.upstreams
        self._max_message_bytes = config.limits.max_message_bytes
        self._patience = replace(PATIENCE, frames_per_second=config.limits.events_per_second)
        self._tls = {name: tls_context(upstream) for name, upstream in config.upstreams.items()}
        closed = {name: Circuit(random.random) for name in config.upstreams}
        self.circuits: Mapping[str, Circuit] = closed | dict(circuits or {})

    def with_config(self, config: Config) -> "Dialler":
        """Return a dialler for another configuration; an unchanged upstream keeps its circuit."""
        old, new = self._upstreams, config.upstreams
        same = {name: self.circuits[name] for name in old if new.get(name) == old[name]}
        return Dialler(self._resources, config, same)

    def warm_targets(self) -> Iterator[WarmTarget]:
        """Yield the upstreams that connections are opened to in advance."""
        for name, upstream in self._upstreams.items():
            if number := upstream.warm_connections:
                url, seconds = realtime_url(upstream, {}), upstream.ready_timeout_seconds
                yield WarmTarget(name, url, self._tls[name], number, seconds)

    async def open(
        self, persona: Persona, relay_ids: str, user: str | None = None
    ) -> OpenedUpstream:
        """Open a session at the persona's first usable upstream, and configure it.

        ``user`` is the hash of the end user, with which the provider may trace abuse. Cancelling
        this leaves nothing open.

        Raises:
            UpstreamUnavailable, UpstreamRefused, PersonaRejected: the last upstream failed.
            RelayFull: the relay may open no more files.
            UpstreamTimeout: no upstream was ready within ``ready_timeout_seconds``.
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

    async def _try(self, attempt: _Attempt) -> tuple[Peer, Event]:
        """Open a session at one upstream; note the outcome in its circuit and in the metrics."""
        circuit = self.circuits[attempt.name]
        circuit.begin(asyncio.get_running_loop().time())
        try:
            opened = await self._open_one(attempt)
        except RelayFull:
            raise  # it is not the upstream's fault
        except RelayError as error:
            self._note_failure(attempt.name, error)
            raise
        circuit.answered()
        self._resources.observe(attempt.name, OPENED)
        return opened

    def _note_failure(self, name: str, error: RelayError) -> None:
        circuit, now = self.circuits[name], asyncio.get_running_loop().time()
        if isinstance(error, FAULTS):
            circuit.failed(now)
        else:
            circuit.answered()
        self._resources.observe(name, error.code)
        self._resources.log.warning(
            "upstream.failed",
            upstream=name,
            code=error.code,
            detail=error.detail,
            skipped_seconds=round(circuit.wait_seconds(now), 1),
        )

    async def _open_one(self, attempt: _Attempt) -> tuple[Peer, Event]:
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
                forget_address(
                    self._resources.http, realtime_url(self._upstreams[attempt.name], {})
                )
                raise UpstreamTimeout(detail=detail) from None
            if isinstance(error, RelayError):
                error.detail = unquoted(
                    error.detail, attempt.persona.session, attempt.persona.hints
                )
            raise

    async def _connect(self, attempt: _Attempt) -> Peer:
        name, upstream = attempt.name, self._upstreams[attempt.name]
        url = realtime_url(upstream, session_query(attempt.persona))
        try:
            return await connect(
                self._resources.http,
                url,
                headers=await upstream_headers(upstream, attempt.user, self._resources.entra),
                tls=self._tls[name],
                patience=self._patience,
                max_message_bytes=self._max_message_bytes,
            )
        except NotUpgraded as error:
            raise _refusal(name, error.status) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            clear_traceback(error)
            if isinstance(error, OSError) and error.errno in NO_FILES:
                raise RelayFull(detail="the relay may open no more files") from error
            forget_address(self._resources.http, url)
            raise UpstreamUnavailable(detail=f"{name}: {type(error).__name__}: {error}") from error


async def _configure(peer: Peer, opening: Opening, dialect: Dialect) -> Event:
    """Send the persona; return the session when the upstream has confirmed it."""
    while (received := await peer.receive()) is not None:
        for message in dialect.inward(received):
            answer = opening.receive(message)
            if isinstance(answer, Opened):
                return answer.session
            if answer is not None and (update := dialect.outward(answer.message)) is not None:
                await peer.send(update)
    raise opening.closed(peer.close_code, peer.close_reason)


def _dialect(upstream: Upstream) -> Dialect:
    return BetaUpstream(upstream.extra_session_fields) if upstream.dialect == "beta" else GA


def _refusal(name: str, status: int) -> RelayError:
    detail = f"{name} answered the handshake with {status}"
    if status in REFUSED and status != TOO_MANY_REQUESTS:
        return UpstreamRefused(detail=detail)
    return UpstreamUnavailable(detail=detail)
