"""``relay serve`` that measures what keeps its event loop from the next message.

``python bench/observed.py REPORT OFF serve --config CONFIG`` writes a report in JSON at its end: by
cause, the times at which it began, and its lengths, in seconds. OFF names causes that are switched
off, with commas between them.
"""

import atexit
import gc
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from relay.cli import main
from relay.core.lag import Lag
from relay.core.server_events import ServerEvents
from relay.ledger.connection import LedgerConnection
from relay.wire import loop_lag

COLLECTOR, LEDGER, EVENTS, TIMERS = (
    "garbage collector",
    "the ledger's thread",
    "events of responses",
    "late timers",
)
SAMPLE_SECONDS = 0.01
"""Timers are rare in a relay, so more of them are sampled."""

Spans = list[tuple[float, float]]

spans: defaultdict[str, Spans] = defaultdict(list)


def timed(cause: str, work: Callable[..., Any], clock: Callable[[], float]) -> Callable[..., Any]:
    """Return the function with a measurement of its time by a clock."""
    found = spans[cause]

    def measured(*arguments: Any) -> Any:
        at, began = time.monotonic(), clock()
        try:
            return work(*arguments)
        finally:
            found.append((at, clock() - began))

    return measured


def observe_collector(phase: str, _info: dict[str, int]) -> None:
    """Measure a collection; ``gc.callbacks`` calls this at its begin and at its end."""
    now = time.monotonic()
    if phase == "start":
        spans[COLLECTOR].append((now, 0.0))
    else:
        at, _ = spans[COLLECTOR].pop()
        spans[COLLECTOR].append((at, now - at))


def observe(off: set[str]) -> None:
    """Measure every cause, and switch off some of them."""
    gc.callbacks.append(observe_collector)
    if COLLECTOR in off:
        gc.disable()
    write = (lambda *_: []) if LEDGER in off else LedgerConnection.write
    react, sample = ServerEvents._react, Lag.sample  # noqa: SLF001  # it reads the rare events

    def note(lag: Lag, now: float, lag_seconds: float) -> None:
        spans[TIMERS].append((now, lag_seconds))
        sample(lag, now, lag_seconds)

    # The time of the CPU: while the thread waits for the disk, it does not hold the interpreter.
    patch.object(LedgerConnection, "write", timed(LEDGER, write, time.thread_time)).start()
    patch.object(ServerEvents, "_react", timed(EVENTS, react, time.perf_counter)).start()
    patch.object(Lag, "sample", note).start()
    patch.object(loop_lag, "SAMPLE_SECONDS", SAMPLE_SECONDS).start()


if __name__ == "__main__":
    report, off, *arguments = sys.argv[1:]
    observe(set(off.split(",")))
    atexit.register(lambda: Path(report).write_text(json.dumps(spans)))
    sys.exit(main(arguments))
