"""What a session asks of the world: the whole border between the core and the I/O around it."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from relay.core.close import CloseCode
from relay.core.errors import RelayError
from relay.core.reports import Report


class Side(StrEnum):
    """The two ends of a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send one message to one side: text, or binary if it is a ``Binary``.

    There is one of it for every message, and a frozen dataclass takes eight times as long to make.
    """

    to: Side
    message: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Write down what was used, before anything that follows it is sent."""

    report: Report


@dataclass(frozen=True, slots=True)
class CallTool:
    """Run a tool of the server's beside everything else; its output goes back to the session."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ObserveFirstAudio:
    """Record how long the client waited for the first audio of an answer, which has been sent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Read nothing more of the client for so long: it is ahead of its rate."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """End the session, on both sides.

    Attributes:
        by: who ended it: ``client``, ``upstream`` or ``relay``.
        outcome: an error code, or ``completed``.
        client_code: what the client is closed with.
        upstream_code: what the upstream is closed with.
        reason: why, in words that the client may read.
        farewell: the ``error`` event that the client gets before the close.
    """

    by: str
    outcome: str
    client_code: int
    upstream_code: int
    reason: str
    farewell: bytes | None = None

    @classmethod
    def because(
        cls,
        error: RelayError,
        *,
        by: str = "relay",
        upstream_code: int = CloseCode.NORMAL_CLOSURE,
        farewell: bytes | None = None,
    ) -> "End":
        """End for an error: the client gets its close code."""
        return cls(by, error.code, error.close_code, upstream_code, str(error), farewell)


Command = Send | Record | CallTool | ObserveFirstAudio | Pause | End
Commands = tuple[Command, ...]
NOTHING: Commands = ()
