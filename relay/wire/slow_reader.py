"""Whether a peer reads the frames that wait for it."""

LOOKS = 4
"""How often the relay looks, in the time that a peer may be slow, whether the peer reads."""


class SlowReader:
    """Finds a peer slow that reads nothing for ``slow_seconds``, or that lets too much pile up.

    It counts looks without progress, not their seconds: a relay that was itself late for
    ``slow_seconds`` finds no peer slow.

    Attributes:
        in_flight_bytes: The longest message that waits for room now. It does not count as piled
            up: one message may be longer than ``max_buffered_bytes``.
        next_look: When to look again; None while no look is due.
    """

    __slots__ = (
        "_idle_looks",
        "_look_seconds",
        "_max_buffered_bytes",
        "_read_bytes",
        "in_flight_bytes",
        "next_look",
    )

    def __init__(self, *, slow_seconds: float, max_buffered_bytes: int) -> None:
        self.in_flight_bytes = 0
        self.next_look: float | None = None
        self._look_seconds = slow_seconds / LOOKS
        self._max_buffered_bytes = max_buffered_bytes
        self._read_bytes = self._idle_looks = 0

    def has_piled_up(self, waiting_bytes: int) -> bool:
        """Return whether too much waits for the peer."""
        return waiting_bytes > self._max_buffered_bytes + self.in_flight_bytes

    def begin(self, now: float, *, read_bytes: int) -> None:
        """Begin to look; it is progress when the peer has read more than ``read_bytes``."""
        self._read_bytes = read_bytes
        self._idle_looks = 0
        self.next_look = now + self._look_seconds

    def look(self, now: float, *, waiting_bytes: int, read_bytes: int) -> bool:
        """Return whether the peer is slow; the looks end when nothing waits for it."""
        self.next_look = None
        if not waiting_bytes:
            return False
        self._idle_looks = 0 if read_bytes > self._read_bytes else self._idle_looks + 1
        self._read_bytes = read_bytes
        if self._idle_looks >= LOOKS:
            return True
        self.next_look = now + self._look_seconds
        return False
