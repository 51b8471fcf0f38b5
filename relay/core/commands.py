"""The commands of a session: the whole interface from the core to the I/O around it."""

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

    Every message makes one, and a frozen dataclass takes eight times as long to create.
    """

    to: Side
    message: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Record a report of usage in the ledger, before the commands after it run."""

    report: Report


@dataclass(frozen=True, slots=True)
class CallTool:
    """Run a tool of the server in a task; its output goes back into the session."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ObserveFirstAudio:
    """Record the time that the client waited for the first audio of an answer, now sent."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading from the client for ``seconds``: it sent faster than its rate allows."""

    seconds: float


@dataclass(frozen=True, slots=True)
class End:
    """End the session, on both sides.

    Attributes:
        by: the side that ended it: ``client``, ``upstream`` or ``relay``.
        outcome: an error code, or ``completed``.
        client_code: close code for the client.
        upstream_code: close code for the upstream.
        reason: close reason, in words that the client may read.
        farewell: the ``error`` event that the client receives before the close.
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
        """Return the end for an error, with the close code of the error for the client."""
        return cls(by, error.code, error.close_code, upstream_code, str(error), farewell)


Command = Send | Record | CallTool | ObserveFirstAudio | Pause | End
Commands = tuple[Command, ...]
NOTHING: Commands = ()
