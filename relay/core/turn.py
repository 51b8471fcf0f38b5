"""The turn of the user, which a response of the upstream follows.

::

    SILENT --started--> SPEAKING --ended--> TAKEN --answered--> SILENT

While the turn is the user's (SPEAKING or TAKEN), the relay requests no response: the upstream
creates one by itself when the turn ends.
"""

from collections.abc import Mapping
from enum import Enum, auto


class Turn(Enum):
    """The states of the user's turn."""

    SILENT = auto()
    """The user does not speak, and the last turn was answered."""
    SPEAKING = auto()
    """The upstream detects speech."""
    TAKEN = auto()
    """The user has spoken, and no response has begun since."""


class TurnEvent(Enum):
    """The events that change the user's turn."""

    STARTED = auto()
    """``input_audio_buffer.speech_started``."""
    ENDED = auto()
    """``input_audio_buffer.speech_stopped`` or ``.committed``."""
    ANSWERED = auto()
    """A response has begun, or the upstream reports that the turn brings none."""
    CLEARED = auto()
    """``input_audio_buffer.cleared``."""


TURNS: Mapping[Turn, Mapping[TurnEvent, Turn]] = {
    Turn.SILENT: {
        TurnEvent.STARTED: Turn.SPEAKING,
        TurnEvent.ENDED: Turn.SILENT,  # a client commits audio without speech in it
        TurnEvent.ANSWERED: Turn.SILENT,
        TurnEvent.CLEARED: Turn.SILENT,
    },
    Turn.SPEAKING: {
        TurnEvent.STARTED: Turn.SPEAKING,
        TurnEvent.ENDED: Turn.TAKEN,
        TurnEvent.ANSWERED: Turn.SPEAKING,  # the response began before the user did
        TurnEvent.CLEARED: Turn.SILENT,
    },
    Turn.TAKEN: {
        TurnEvent.STARTED: Turn.SPEAKING,
        TurnEvent.ENDED: Turn.TAKEN,
        TurnEvent.ANSWERED: Turn.SILENT,
        TurnEvent.CLEARED: Turn.SILENT,
    },
}
