"""Whether what a session took is free at its end, or only once the garbage collector ran."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from relays import RunningRelay


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the garbage collector, so that what is in a cycle stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def freed(relay: RunningRelay) -> list[asyncio.Event]:
    """Return what is set when the bridge of its session, and each of its peers, is freed."""
    (session,) = relay.sessions.running.values()
    bridge = session.bridge
    events = []
    for kept in (bridge, *bridge.peers.values()):
        events.append(asyncio.Event())
        weakref.finalize(kept, events[-1].set).atexit = False
    return events
