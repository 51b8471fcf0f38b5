"""Measures the lag of the event loop: by how much a timer is late."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from relay.core.lag import Lag

SAMPLE_SECONDS = 0.1
"""The time between two samples; a sample costs about 150 us of an idle core."""

TURN_SECONDS = 0.001
"""The time of the second timer of a sample. Turns of the loop that are as long as
``SAMPLE_SECONDS`` make the first timer hardly late, and the second late by a whole turn."""


class LoopLag:
    """Takes samples of the lag of the running loop.

    The times are those of `time.monotonic`: uvloop's clock stands still within one turn of the
    loop.

    Attributes:
        lag: The samples.
    """

    def __init__(self) -> None:
        self.lag = Lag()
        self._timer: asyncio.TimerHandle
        self._next: asyncio.Future[None] | None = None

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Take a sample every ``SAMPLE_SECONDS``, until the end of the block."""
        self._wait(SAMPLE_SECONDS, self._measure_turn)
        try:
            yield
        finally:
            self._timer.cancel()
            self._wake()

    async def next_sample(self) -> None:
        """Wait for the next sample, or for the end of the measurement."""
        self._next = self._next or asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    def worst_seconds(self) -> float:
        """Return the longest lag of the last 2 seconds."""
        return self.lag.worst_seconds(monotonic())

    def is_above(self, max_lag_ms: float | None) -> bool:
        """Return whether the loop lags: a single pause does not count."""
        return self.lag.is_above(max_lag_ms, monotonic())

    def _wait(self, seconds: float, then: Callable[[float], None]) -> None:
        """Call ``then`` after some time, with the seconds by which the call is late."""
        due = monotonic() + seconds
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, lambda: then(max(0.0, monotonic() - due)))

    def _measure_turn(self, late_seconds: float) -> None:
        self._wait(TURN_SECONDS, lambda turn_seconds: self._take(max(late_seconds, turn_seconds)))

    def _take(self, lag_seconds: float) -> None:
        self.lag.sample(monotonic(), lag_seconds)
        self._wake()
        self._wait(SAMPLE_SECONDS, self._measure_turn)

    def _wake(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None
