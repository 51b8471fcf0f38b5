"""How fast things may come: sessions of a client, and what a client says in a session.

Time is an argument, in seconds of a monotonic clock.
"""

import math
from collections import deque
from collections.abc import Hashable

from relay.core.errors import RateLimitExceeded

MINUTE_SECONDS = 60

EVENT_BURST_SECONDS = 1.0
"""A second's events may come at once: a client that was cut off sends what it has kept."""


class Starts:
    """Remembers who started sessions when, and refuses who starts too many a minute.

    The window slides: in no minute, whenever it begins, are there more than the limit.
    """

    def __init__(self) -> None:
        self._started: dict[Hashable, deque[float]] = {}

    def start(self, who: Hashable, per_minute: float, now: float) -> None:
        """Count a start; what is refused does not count.

        Below one a minute, and for fractions, the window is as long as the whole starts take:
        0.5 is one start in two minutes, 2.5 are two in 48 seconds.

        Raises:
            RateLimitExceeded: there were as many in the window.
        """
        limit = max(1, int(per_minute))
        window_seconds = MINUTE_SECONDS * limit / per_minute
        started = self._started.setdefault(who, deque())
        while started and started[0] + window_seconds <= now:
            started.popleft()
        if len(started) >= limit:
            free_at = started[len(started) - limit] + window_seconds
            raise RateLimitExceeded(retry_after_seconds=max(1, math.ceil(free_at - now)))
        started.append(now)


class Pace:
    """Keeps a client in step: tells how long to wait before its next message is read.

    Two clocks run ahead of time with what the client sends, by the time that it may take, and
    never lag by more than the burst. When one is ahead, the client has to wait for it.
    """

    __slots__ = (
        "_audio_at",
        "_audio_burst_seconds",
        "_event_at",
        "_seconds_per_audio_second",
        "_seconds_per_event",
    )

    def __init__(
        self, audio_rate: float, audio_burst_seconds: float, events_per_second: float
    ) -> None:
        """Allow ``audio_rate`` seconds of audio a second after a burst, and so many events."""
        self._seconds_per_audio_second = 1 / audio_rate
        self._seconds_per_event = 1 / events_per_second
        self._audio_burst_seconds = audio_burst_seconds / audio_rate
        self._audio_at = self._event_at = -math.inf

    def wait_seconds(self, now: float, audio_seconds: float = 0.0) -> float:
        """Count an event, and its audio if it brings some; return how long not to read on.

        It is 0.0 for who is in step.
        """
        event_at, earliest = self._event_at, now - EVENT_BURST_SECONDS
        self._event_at = (max(event_at, earliest)) + self._seconds_per_event
        if audio_seconds:
            audio_at, earliest = self._audio_at, now - self._audio_burst_seconds
            taken_seconds = audio_seconds * self._seconds_per_audio_second
            self._audio_at = (max(audio_at, earliest)) + taken_seconds
        if self._event_at <= now and self._audio_at <= now:
            return 0.0
        return max(self._event_at, self._audio_at) - now
