"""Observes warm connections, and runs upstreams that count the connections to them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import Wire, rude_upstream
from scripts import WireScript

from relay.upstreams.connections import Connector
from relay.upstreams.warm import WarmPool


@pytest.fixture
def warm_events(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[str]:
    """Return a queue of the events of all warm connections: opened, failed, and their outcomes."""
    events: asyncio.Queue[str] = asyncio.Queue()
    open_one, count = Connector.open, WarmPool._count

    async def opening(self: Connector, request: Any) -> Any:
        try:
            opened = await open_one(self, request)
        except BaseException as failure:
            events.put_nowait("cancelled" if failure.args == () else "failed")
            raise
        events.put_nowait("opened")
        return opened

    def counting(self: WarmPool, connection: Any, outcome: Any) -> None:
        events.put_nowait(str(outcome))
        count(self, connection, outcome)

    monkeypatch.setattr(Connector, "open", opening)
    monkeypatch.setattr(WarmPool, "_count", counting)
    return events


async def follow(events: asyncio.Queue[str], *expected: str) -> None:
    """Wait for these events, in this order."""
    for event in expected:
        async with asyncio.timeout(10):
            assert await events.get() == event


@dataclass
class CountingUpstream:
    """An upstream that runs a script for each connection.

    Attributes:
        accepted: the connections, in their order.
    """

    url: str = ""
    accepted: list[Wire] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def accept(self, wire: Wire) -> None:
        """Add a connection."""
        async with self._arrived:
            self.accepted.append(wire)
            self._arrived.notify_all()

    async def connection(self, number: int) -> Wire:
        """Wait for a connection, and return it; the first has the number 0."""
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: len(self.accepted) > number)
            return self.accepted[number]


@asynccontextmanager
async def counting_upstream(
    script: WireScript, tls: ssl.SSLContext | None = None
) -> AsyncIterator[CountingUpstream]:
    """Run an upstream that counts its connections."""
    upstream = CountingUpstream()

    async def serve(wire: Wire) -> None:
        await upstream.accept(wire)
        await script(wire)

    async with rude_upstream(serve, tls=tls) as upstream.url:
        yield upstream
