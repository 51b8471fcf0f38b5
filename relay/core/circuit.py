"""The circuit of an upstream: sessions skip an upstream that fails, and try it again later.

::

    closed   all sessions try it
       | FAILURES in a row
       v
    open     all sessions skip it for a time -> then one session tries it. The others skip it: the
       | it answers                             circuit is open again, for twice the time
       v
    closed

A session that tries an open circuit opens it again first, so a cancelled session has nothing to
undo. Time is an argument, in seconds of a monotonic clock.
"""

from collections.abc import Callable, Mapping

FAILURES = 3
"""Failures in a row, of all sessions. An upstream that fails only sometimes is not skipped."""

FIRST_SECONDS = 5.0
MAX_SECONDS = 60.0
"""The time to skip an upstream: it doubles each time, up to the time that users accept."""


class Circuit:
    """The state of one upstream: whether sessions try it."""

    __slots__ = ("_due", "_failures", "_jitter", "_seconds")

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Start closed. ``jitter`` returns a number from 0 to 1, so that instances differ."""
        self._jitter = jitter
        self._failures = 0
        self._seconds = 0.0
        self._due = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the upstream has failed and has not answered since."""
        return self._seconds > 0

    def wait_seconds(self, now: float) -> float:
        """Return the seconds until a session may try it; 0.0 if it may now."""
        return max(0.0, self._due - now) if self.is_open else 0.0

    def begin(self, now: float) -> None:
        """Note that a session tries it. After the wait, only this session may."""
        if self.is_open and not self.wait_seconds(now):
            self._open(now)

    def failed(self, now: float) -> None:
        """Note that it did not answer. This changes nothing while the circuit is open."""
        self._failures += 1
        if self._failures >= FAILURES and not self.is_open:
            self._open(now)

    def answered(self) -> None:
        """Note that it answered, also with a refusal."""
        self._failures, self._seconds = 0, 0.0

    def _open(self, now: float) -> None:
        self._seconds = min(MAX_SECONDS, 2 * self._seconds or FIRST_SECONDS)
        self._due = now + self._seconds * (1 + self._jitter()) / 2


def worth_trying(circuits: Mapping[str, Circuit], now: float) -> tuple[str, ...]:
    """Return the upstreams to try, in their order.

    If sessions skip all of them, return the one with the shortest wait, since an attempt costs no
    more than a refusal.
    """
    waits = {name: circuit.wait_seconds(now) for name, circuit in circuits.items()}
    ready = tuple(name for name, seconds in waits.items() if not seconds)
    return ready or (min(waits, key=lambda name: waits[name]),)
