"""Rates: the session starts of a client, its messages in a session, and the frames of a peer.

Time is an argument, in seconds of a monotonic clock.
"""

import math
from collections import deque
from collections.abc import Hashable

from relay.core.errors import RateLimitExceeded

MINUTE_SECONDS = 60

EVENT_BURST_SECONDS = 1.0
"""The events of one second may come at once: a client sends them after an interruption."""

MAX_PAUSE_SECONDS = 30.0
"""The longest pause. A message can hold 26 minutes of audio, and the relay does not see that a
client has left while it does not read. The rest of the wait follows after the next message."""

LEAST_FRAME_BURST = 20
"""This number of frames may come at once at any rate: a peer pings, answers pings and closes."""

BYTES_PER_EVENT = 1_024
"""An event counts once more for each of these bytes, except its audio, which has its own rate."""


class Starts:
    """Counts the session starts of each client, and refuses too many in a minute.

    The window slides: no minute has more starts than the limit, from any moment on.
    """

    def __init__(self) -> None:
        self._started: dict[Hashable, deque[float]] = {}

    def start(self, client: Hashable, per_minute: float, now: float) -> None:
        """Count a start. A refused start does not count.

        Only whole starts count, so a fraction changes the length of the window: 0.5 is one start in
        two minutes, 2.5 are two in 48 seconds.

        Raises:
            RateLimitExceeded: the window has its maximum number of starts.
        """
        limit = max(1, int(per_minute))
        window_seconds = MINUTE_SECONDS * limit / per_minute
        started = self._started.setdefault(client, deque())
        while started and started[0] + window_seconds <= now:
            started.popleft()
        if len(started) >= limit:
            free_at = started[len(started) - limit] + window_seconds
            raise RateLimitExceeded(retry_after_seconds=max(1, math.ceil(free_at - now)))
        started.append(now)


class Pace:
    """Limits the rate of a client's events and audio with pauses before its next message is read.

    There is one clock for events and one for audio. Each message moves its clock forward by the
    time that it takes at the allowed rate. A clock is at least ``now`` minus the burst. When a
    clock is ahead of ``now``, the relay waits until that time.
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
        """Allow ``audio_rate`` seconds of audio in each second, and a burst of it at once."""
        self._seconds_per_audio_second = 1 / audio_rate
        self._seconds_per_event = 1 / events_per_second
        self._audio_burst_seconds = audio_burst_seconds / audio_rate
        self._audio_at = self._event_at = -math.inf

    def wait_seconds(self, now: float, audio_seconds: float = 0.0, text_bytes: int = 0) -> float:
        """Count an event and its audio, and return the seconds to wait before the next read.

        ``text_bytes`` is the length of the event without its audio, if the relay reads it. The
        result is 0.0 for a client within its rates, and at most `MAX_PAUSE_SECONDS`.
        """
        # Comparisons, because `max` takes a call, and this runs for every message.
        event_at, earliest = self._event_at, now - EVENT_BURST_SECONDS
        if event_at < earliest:  # noqa: PLR1730
            event_at = earliest
        events = 1 + text_bytes // BYTES_PER_EVENT
        self._event_at = event_at = event_at + events * self._seconds_per_event
        audio_at = self._audio_at
        if audio_seconds:
            earliest = now - self._audio_burst_seconds
            if audio_at < earliest:  # noqa: PLR1730
                audio_at = earliest
            audio_at += audio_seconds * self._seconds_per_audio_second
            self._audio_at = audio_at
        if event_at <= now and audio_at <= now:
            return 0.0
        return min(max(event_at, audio_at) - now, MAX_PAUSE_SECONDS)


class FrameRate:
    """Limits the frames that carry no message: control frames, and small fragments."""

    __slots__ = ("_burst_seconds", "_next_at", "_seconds_per_frame")

    def __init__(self, frames_per_second: float) -> None:
        self._seconds_per_frame = 1 / frames_per_second
        least_seconds = LEAST_FRAME_BURST * self._seconds_per_frame
        self._burst_seconds = max(EVENT_BURST_SECONDS, least_seconds)
        self._next_at = -math.inf

    def is_exceeded(self, now: float) -> bool:
        """Count a frame; return whether the peer is beyond its rate."""
        earliest = now - self._burst_seconds
        self._next_at = max(self._next_at, earliest) + self._seconds_per_frame
        return self._next_at > now
