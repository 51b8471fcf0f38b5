"""Connections that are opened before a session needs them: TCP and TLS, without a request.

A session then saves the round trips of both. Each connection serves one WebSocket only.
"""

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import aiohttp
from yarl import URL

from relay.upstreams.connections import Connector, UpstreamConnection, clear_traceback

MAX_AGE_SECONDS = 30.0
"""Servers close a connection without a request after 60 s: nginx by ``client_header_timeout``, Node
by ``headersTimeout``, load balancers of AWS as idle."""

MIN_AGE = 0.7
"""The shortest part of that age: connections that are opened together do not expire together."""

REFILL_SECONDS = 0.1
"""The time from taking a connection to opening the next. In this time, the session that took it
opens, and it shares the processor with no TLS handshake."""

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 1.0, 30.0
"""The time before the next attempt, after a failure or a loss; it doubles with each failure."""


class WarmOutcome(StrEnum):
    """The ends of warm connections.

    A connection is lost if the upstream closes it before it sends anything. It is closed when the
    relay drains, reloads its configuration, or looks the address of the upstream up again.
    """

    USED = "used"
    EXPIRED = "expired"
    LOST = "lost"
    CLOSED = "closed"
    FAILED = "failed"  # it could not be opened


@dataclass(frozen=True, slots=True)
class WarmTarget:
    """An upstream that connections are opened to in advance.

    Attributes:
        upstream: its name.
        number: the number of connections.
        seconds: the longest time that opening one may take.
    """

    upstream: str
    url: URL
    tls: ssl.SSLContext
    number: int
    seconds: float


class WarmPool:
    """The warm connections to one upstream.

    Attributes:
        key: the requests that may use them.
    """

    def __init__(
        self, target: WarmTarget, http: aiohttp.ClientSession, ended: Counter[tuple[str, str]]
    ) -> None:
        """Count in ``ended`` by upstream and outcome."""
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._connector = _connector(http)
        self._request = aiohttp.ClientRequest(
            "GET", target.url, loop=self._loop, session=http, ssl=target.tls
        )
        self.key = self._request.connection_key
        self._ended = ended
        self._expires_at: dict[UpstreamConnection, float] = {}
        self._open_at = self._loop.time()
        self._retry_seconds = 0.0
        self._changed = asyncio.Event()

    @property
    def upstream(self) -> str:
        """The name of the upstream."""
        return self._target.upstream

    @property
    def waiting(self) -> int:
        """The number of connections that wait for a session."""
        return len(self._expires_at)

    async def run(self) -> None:
        """Keep the connections open and fresh until this is cancelled; then close them."""
        try:
            while True:
                self._close_expired()
                if self._is_complete or self._loop.time() < self._open_at:
                    await self._wait()
                else:
                    await self._add()
        finally:
            self.drop()

    def take(self) -> UpstreamConnection | None:
        """Return the oldest connection, for one session; None if there is none."""
        if self._is_complete:
            self._open_at = max(self._open_at, self._loop.time() + REFILL_SECONDS)
        self._changed.set()
        self._close_expired()
        while self._expires_at:
            connection = min(self._expires_at, key=self._expires_at.__getitem__)
            del self._expires_at[connection]
            if connection.is_connected():
                return connection
        return None

    def drop(self) -> None:
        """Close all connections that wait, and open the next later."""
        for connection in tuple(self._expires_at):
            self._close(connection, WarmOutcome.CLOSED)
        self._retry_later()

    def received(self, connection: UpstreamConnection) -> None:
        """Count a connection as used, or close it if there was no request to answer.

        Some servers send 408 before they close an idle connection: a session must not read it.
        """
        if connection in self._expires_at:
            self._close(connection, WarmOutcome.LOST)
            self._retry_later()
        else:
            self._count(connection, WarmOutcome.USED)

    def lost(self, connection: UpstreamConnection) -> None:
        """Open the next connection later; if a session had it, trust no older connection.

        aiohttp then tries the request of that session once more, and finds none to take.
        """
        was_waiting = self._expires_at.pop(connection, None) is not None
        self._count(connection, WarmOutcome.LOST)
        self._retry_later()
        if not was_waiting:
            self._connector.forget(self._target.url)

    @property
    def _is_complete(self) -> bool:
        return len(self._expires_at) >= self._target.number

    async def _wait(self) -> None:
        """Wait until a connection is taken, lost or too old, or the next may be opened."""
        self._changed.clear()
        moments = list(self._expires_at.values())
        if not self._is_complete:
            moments.append(self._open_at)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(moments)):
                await self._changed.wait()

    async def _add(self) -> None:
        try:
            async with asyncio.timeout(self._target.seconds):
                connection = await self._connector.open(self._request)
        except Exception as error:  # noqa: BLE001  # a session meets the same error, and reports it
            clear_traceback(error)
            self._ended[self._target.upstream, WarmOutcome.FAILED] += 1
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
            self._retry_later()
            self._connector.look_up_again(self._target.url)
            return
        self._retry_seconds = 0.0
        if connection.should_close:  # the upstream has sent something, or closed it, already
            connection.abort()
            self.lost(connection)
            return
        connection.pool = self
        age_seconds = MAX_AGE_SECONDS * random.uniform(MIN_AGE, 1)  # noqa: S311  # no secret
        self._expires_at[connection] = self._loop.time() + age_seconds

    def _retry_later(self) -> None:
        self._retry_seconds = max(self._retry_seconds, FIRST_RETRY_SECONDS)
        self._open_at = max(self._open_at, self._loop.time() + self._retry_seconds)
        self._changed.set()

    def _close_expired(self) -> None:
        now = self._loop.time()
        for connection in [c for c, at in self._expires_at.items() if at <= now]:
            self._close(connection, WarmOutcome.EXPIRED)

    def _close(self, connection: UpstreamConnection, outcome: WarmOutcome) -> None:
        del self._expires_at[connection]
        self._count(connection, outcome)
        connection.abort()

    def _count(self, connection: UpstreamConnection, outcome: WarmOutcome) -> None:
        """Count the end of a connection, once."""
        connection.pool = None
        self._ended[self._target.upstream, outcome] += 1


class WarmPools:
    """The warm connections of a relay.

    Attributes:
        ended: the number of warm connections by upstream and outcome.
    """

    def __init__(self, http: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        """Open connections for requests of ``http``, in ``tasks``."""
        self.ended: Counter[tuple[str, str]] = Counter()
        self._http = http
        self._tasks = tasks
        self._running: dict[WarmPool, asyncio.Task[None]] = {}
        self._stopped = False

    def keep(self, targets: Iterable[WarmTarget]) -> None:
        """Close all connections, and open new ones to these upstreams, if the relay goes on.

        The new ones are verified with the certificates of the new configuration.
        """
        pools = _connector(self._http).pools
        pools.clear()
        for task in self._running.values():
            task.cancel()
        self._running.clear()
        for target in () if self._stopped else targets:
            self.ended.update({(target.upstream, outcome): 0 for outcome in WarmOutcome})
            pool = WarmPool(target, self._http, self.ended)
            pools[pool.key] = pool
            self._running[pool] = self._tasks.create_task(pool.run())

    def stop(self) -> None:
        """Close all connections, and open no more."""
        self._stopped = True
        self.keep(())

    def waiting(self) -> Mapping[str, int]:
        """Return the number of connections that wait for a session, by upstream."""
        return {pool.upstream: pool.waiting for pool in self._running}


def _connector(http: aiohttp.ClientSession) -> Connector:
    assert isinstance(http.connector, Connector)  # noqa: S101  # by connections()
    return http.connector
