"""When an upstream that fails is left alone, and when it is tried again.

::

    closed   everybody tries it
       | FAILURES in a row
       v
    open     it is skipped for a while -> then one session tries it, the others go on skipping it
       | it answers                         and meanwhile it is open again, for twice as long
       v
    closed

Whoever tries it takes the worst for granted, so a session that is cancelled leaves nothing to be
put right. Time is an argument, in seconds of a monotonic clock.
"""

from collections.abc import Callable, Mapping

FAILURES = 3
"""In a row, of all sessions: one that fails now and then is not skipped."""

FIRST_SECONDS = 5.0
MAX_SECONDS = 60.0
"""How long it is skipped: twice as long each time, and no longer than people wait for a repair."""


class Circuit:
    """Knows whether an upstream is worth trying."""

    __slots__ = ("_due", "_failures", "_jitter", "_seconds")

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Start closed. ``jitter`` returns numbers from 0 to 1: instances shall not try in step."""
        self._jitter = jitter
        self._failures = 0
        self._seconds = 0.0
        self._due = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the upstream has failed, and has not answered since."""
        return self._seconds > 0

    def wait_seconds(self, now: float) -> float:
        """Return how long it is still skipped; 0.0 if it is worth trying."""
        return max(0.0, self._due - now) if self.is_open else 0.0

    def begin(self, now: float) -> None:
        """Note that a session tries it: if it is due, it is this one only."""
        if self.is_open and not self.wait_seconds(now):
            self._open(now)

    def failed(self, now: float) -> None:
        """Note that it did not answer; changes nothing while it is open."""
        self._failures += 1
        if self._failures >= FAILURES and not self.is_open:
            self._open(now)

    def answered(self) -> None:
        """Note that it answered, be it that it refused."""
        self._failures, self._seconds = 0, 0.0

    def _open(self, now: float) -> None:
        self._seconds = min(MAX_SECONDS, 2 * self._seconds or FIRST_SECONDS)
        self._due = now + self._seconds * (1 + self._jitter()) / 2


def worth_trying(circuits: Mapping[str, Circuit], now: float) -> tuple[str, ...]:
    """Return the upstreams to try, in their order.

    If all are being skipped, it is the one that is due next: trying costs no more than refusing.
    """
    waits = {name: circuit.wait_seconds(now) for name, circuit in circuits.items()}
    ready = tuple(name for name, seconds in waits.items() if not seconds)
    return ready or (min(waits, key=lambda name: waits[name]),)
