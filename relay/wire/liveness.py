"""Whether a peer is alive: pings, and the longest silence. Times are seconds of one clock."""

PING_SECONDS = 20.0
"""Infrastructure on the way cuts a connection that is silent for 30 to 120 s; OpenAI itself pings
every 20."""

RETRIES = 20
"""How often in that time the relay tries to send a ping that it cannot send now."""

SILENCE_SECONDS = 40.0
"""A peer that sends nothing, not even a pong, for this long is considered lost."""


class Liveness:
    """When a peer is pinged, and when it is considered lost.

    ``received_at`` is the time of the last byte from the peer; None while the relay does not read
    from it. Then its pongs are unread, and its silence means nothing.
    """

    __slots__ = ("_ping_seconds", "_pinged_at", "_silence_seconds")

    def __init__(self, now: float, *, ping_seconds: float, silence_seconds: float) -> None:
        self._ping_seconds = ping_seconds
        self._silence_seconds = silence_seconds
        self._pinged_at = now

    def is_alive(self, now: float, received_at: float | None) -> bool:
        """Return whether the peer is alive."""
        return received_at is None or now - received_at < self._silence_seconds

    def is_ping_due(self, now: float) -> bool:
        """Return whether it is time for a ping."""
        return now - self._pinged_at >= self._ping_seconds

    def pinged(self, now: float) -> None:
        """Note that a ping was sent."""
        self._pinged_at = now

    def next_look(self, now: float, received_at: float | None) -> float:
        """Return when to look again whether the peer is alive or a ping is due."""
        due = self._pinged_at + self._ping_seconds
        if received_at is not None:
            due = min(due, received_at + self._silence_seconds)
        # A ping that is due and cannot be sent now is tried again, but not at once.
        return max(due, now + self._ping_seconds / RETRIES)
