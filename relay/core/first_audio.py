"""The wait for the first audio of an answer.

It starts at the end of speech or at a ``response.create``, whichever is later, and ends with the
first audio delta of that answer::

    IDLE --requested--> WAITING --audio or ended--> IDLE
      |                    ^
      +--requested during an earlier response--> QUEUED --began or ended--+

Time is an argument, in seconds of a monotonic clock.
"""

from collections.abc import Mapping
from enum import Enum, auto

from relay.core.states import step


class Wait(Enum):
    """The states of the wait."""

    IDLE = auto()
    """No answer is awaited."""
    QUEUED = auto()
    """An answer is awaited, and an earlier response goes on: its audio is not the answer."""
    WAITING = auto()
    """The next audio is the answer."""


class WaitEvent(Enum):
    """The events that change the wait."""

    REQUESTED = auto()
    REQUESTED_DURING_RESPONSE = auto()
    BEGAN = auto()
    """``response.created``."""
    ENDED = auto()
    """``response.done``."""
    AUDIO = auto()


_REQUESTED = {
    WaitEvent.REQUESTED: Wait.WAITING,
    WaitEvent.REQUESTED_DURING_RESPONSE: Wait.QUEUED,
}

WAITS: Mapping[Wait, Mapping[WaitEvent, Wait]] = {
    Wait.IDLE: {**_REQUESTED, WaitEvent.BEGAN: Wait.IDLE, WaitEvent.ENDED: Wait.IDLE},
    Wait.QUEUED: {**_REQUESTED, WaitEvent.BEGAN: Wait.WAITING, WaitEvent.ENDED: Wait.WAITING},
    Wait.WAITING: {
        **_REQUESTED,
        WaitEvent.BEGAN: Wait.WAITING,
        WaitEvent.ENDED: Wait.IDLE,
        WaitEvent.AUDIO: Wait.IDLE,
    },
}
"""Audio is an event of the wait only while it is WAITING."""


class FirstAudio:
    """Measures the wait.

    Attributes:
        state: ``Wait.WAITING`` if the next audio is to be reported.
    """

    __slots__ = ("_requested_at", "state")

    def __init__(self) -> None:
        self.state = Wait.IDLE
        self._requested_at = 0.0

    def requested(self, now: float, *, responding: bool) -> None:
        """Start the wait; ``responding`` is whether an earlier response goes on."""
        event = WaitEvent.REQUESTED_DURING_RESPONSE if responding else WaitEvent.REQUESTED
        self._step(event)
        self._requested_at = now

    def began(self) -> None:
        """Note that a response has begun."""
        self._step(WaitEvent.BEGAN)

    def ended(self) -> None:
        """Note that a response is done."""
        self._step(WaitEvent.ENDED)

    def audio(self, now: float) -> float:
        """End the wait; return its length in seconds.

        Raises:
            IllegalStep: the state is not ``Wait.WAITING``.
        """
        self._step(WaitEvent.AUDIO)
        return now - self._requested_at

    def _step(self, event: WaitEvent) -> None:
        self.state = step("first audio", WAITS, self.state, event)
