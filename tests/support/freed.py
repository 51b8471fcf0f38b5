"""Detects objects of a session that stay in memory until the garbage collector runs."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from relays import RunningRelay


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector, so that objects in a reference cycle stay in memory."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def freed(relay: RunningRelay) -> list[asyncio.Event]:
    """Return an event for the bridge of its session and for each peer, set when that is freed."""
    (session,) = relay.sessions.running.values()
    bridge = session.bridge
    events = []
    for kept in (bridge, *bridge.peers.values()):
        events.append(asyncio.Event())
        weakref.finalize(kept, events[-1].set).atexit = False
    return events
