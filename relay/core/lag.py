"""The lag of the event loop, and whether the relay is overloaded.

Time is an argument, in seconds of a monotonic clock.
"""

from collections import deque
from statistics import median

WINDOW_SECONDS = 2.0
"""The samples of this time count."""

MIN_SAMPLES = 5
"""At least this number of samples counts, however old they are: after a pause that is longer than
the window, its sample would be the only one, and two pauses would be most of three."""


class Lag:
    """Keeps samples of the lag: the time by which a timer was late.

    A relay is overloaded when the median of the samples is high. A single pause, of a virtual
    machine for example, is one sample and does not change the median.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()

    def sample(self, now: float, lag_seconds: float) -> None:
        """Add a sample that was taken at ``now``."""
        samples = self._samples
        samples.append((now, lag_seconds))
        while len(samples) > MIN_SAMPLES and samples[0][0] <= now - WINDOW_SECONDS:
            samples.popleft()

    def worst_seconds(self, now: float) -> float:
        """Return the highest sample of the window; 0.0 without a sample."""
        return max(self._window(now), default=0.0)

    def is_above(self, max_lag_ms: float | None, now: float) -> bool:
        """Return whether the median of the samples is above a limit; None is no limit."""
        if max_lag_ms is None or len(self._samples) < MIN_SAMPLES:
            return False
        window = self._window(now)
        if len(window) < MIN_SAMPLES:
            window = [lag for _, lag in self._samples][-MIN_SAMPLES:]
        return median(window) * 1000 > max_lag_ms

    def is_late(self, max_lag_ms: float) -> bool:
        """Return whether the last sample is above a limit."""
        return bool(self._samples) and self._samples[-1][1] * 1000 > max_lag_ms

    def _window(self, now: float) -> list[float]:
        return [lag for at, lag in self._samples if at > now - WINDOW_SECONDS]
