"""What a session asks of those who can wait, send and compute: it does none of it itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from relay.simulator.conversation import Item
from relay.simulator.errors import Json
from relay.simulator.response import Response


@dataclass(frozen=True, slots=True)
class Send:
    """Send an event, after some time if it says so."""

    event: Json
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """Tell of each frame how probably it is speech; answered by ``Session.hear``."""

    frames: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Weigh:
    """Make out what was said so far in a turn that may be over; by ``Session.weighed``."""

    turn: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Listen:
    """Make out what was said in a part of an item; answered by ``Session.heard``."""

    item: Item
    index: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Begin to give a response; all that it answers to has been heard."""

    response: Response


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop giving a response; the client knows already."""

    response: Response


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection, once all that was said before is sent."""

    code: int
    reason: str


Command = Send | Score | Weigh | Listen | Answer | Halt | Close
