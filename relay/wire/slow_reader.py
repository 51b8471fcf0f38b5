"""Whether a peer reads the frames that wait for it."""

import math

LOOKS = 4
"""How often the relay looks, in the time that a peer may be slow, whether the peer reads."""


class SlowReader:
    """Finds a peer slow that reads nothing for ``slow_seconds``, or that lets too much pile up.

    It counts looks without progress, not their seconds: a relay that was itself late for
    ``slow_seconds`` finds no peer slow. A peer that its network does not reach is away and not
    slow: these looks do not count. Its silence ends the session, after ``away_seconds``; a peer
    that sends, and acknowledges nothing, is slow after ``away_seconds`` more than ``slow_seconds``.

    Attributes:
        in_flight_bytes: The longest message that waits for room now. It does not count as piled
            up: one message may be longer than ``max_buffered_bytes``.
        next_look: When to look again; None while no look is due.
    """

    __slots__ = (
        "_away_looks",
        "_idle_looks",
        "_look_seconds",
        "_max_away_looks",
        "_max_buffered_bytes",
        "_read_bytes",
        "in_flight_bytes",
        "next_look",
    )

    def __init__(
        self, *, slow_seconds: float, away_seconds: float, max_buffered_bytes: int
    ) -> None:
        self.in_flight_bytes = 0
        self.next_look: float | None = None
        self._look_seconds = slow_seconds / LOOKS
        self._max_away_looks = LOOKS + math.ceil(away_seconds / self._look_seconds)
        self._max_buffered_bytes = max_buffered_bytes
        self._read_bytes = self._idle_looks = self._away_looks = 0

    def has_piled_up(self, waiting_bytes: int) -> bool:
        """Return whether too much waits for the peer."""
        return waiting_bytes > self._max_buffered_bytes + self.in_flight_bytes

    def begin(self, now: float, *, read_bytes: int) -> None:
        """Begin to look; it is progress when the peer has read more than ``read_bytes``."""
        self._read_bytes = read_bytes
        self._idle_looks = self._away_looks = 0
        self.next_look = now + self._look_seconds

    def look(
        self, now: float, *, waiting_bytes: int, read_bytes: int, is_away: bool = False
    ) -> bool:
        """Return whether the peer is slow; the looks end when nothing waits for it."""
        self.next_look = None
        if not waiting_bytes:
            return False
        if read_bytes > self._read_bytes:
            self._idle_looks = self._away_looks = 0
        elif is_away:
            self._away_looks += 1
        else:
            self._idle_looks += 1
        self._read_bytes = read_bytes
        if self._idle_looks >= LOOKS or self._away_looks >= self._max_away_looks:
            return True
        self.next_look = now + self._look_seconds
        return False
