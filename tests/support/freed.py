"""Checks that a session frees its memory at its end, without the garbage collector."""

import asyncio
import gc
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from relays import RunningRelay


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector, so that objects in a cycle are not freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def freed(relay: RunningRelay) -> list[asyncio.Event]:
    """Return events that are set when the bridge of its only session and both peers are freed."""
    (session,) = relay.sessions.running.values()
    bridge = session.bridge
    return [when_freed(kept) for kept in (bridge, *bridge.peers.values())]


def when_freed(kept: object) -> asyncio.Event:
    """Return an event that is set when an object is freed."""
    event = asyncio.Event()
    weakref.finalize(kept, event.set).atexit = False
    return event


async def all_set(events: Iterable[asyncio.Event]) -> None:
    """Wait for all these events, for at most 3 seconds."""
    async with asyncio.timeout(3):
        for event in events:
            await event.wait()
