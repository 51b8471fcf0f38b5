"""The activity in a session, and the two deadlines that end it: idle and expired.

Activity is speech, any client event except an append, any response event, and audio that is still
being played. Time is an argument, in seconds of a monotonic clock.
"""

from relay.core.errors import RelayError, SessionExpired, SessionIdle


class Activity:
    """Keeps the time of the last activity.

    Attributes:
        at: the time of the last event that counts as activity.
        playing_until: the end of the audio that the client received, if it plays all of it.
    """

    __slots__ = ("_expires_at", "_idle_seconds", "at", "playing_until")

    def __init__(self, *, max_session_seconds: float, idle_seconds: float, now: float) -> None:
        self._expires_at = now + max_session_seconds
        self._idle_seconds = idle_seconds
        self.at = now
        self.playing_until = now

    def play(self, now: float, seconds: float) -> None:
        """Note audio that the client receives: it is played after the audio before it."""
        self.at = now
        self.playing_until = max(now, self.playing_until) + seconds

    def interrupt(self, now: float) -> None:
        """Note that the client plays no more of the audio that it received."""
        self.at = self.playing_until = now

    @property
    def deadline(self) -> float:
        """The time at which the session ends if nothing happens until then."""
        return min(self._expires_at, self._idle_at)

    @property
    def _idle_at(self) -> float:
        return max(self.at, self.playing_until) + self._idle_seconds

    def ended(self, now: float) -> RelayError | None:
        """Return the error of the deadline that has passed; None if none has."""
        if now >= self._expires_at:
            return SessionExpired()
        if now >= self._idle_at:
            return SessionIdle()
        return None
