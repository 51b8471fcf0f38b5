"""What the server can tell a test, or anybody who watches: who came, what was said both ways."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """A client came; ``session_id`` names its session in all that follows.

    Attributes:
        target: The path and query of the request.
        headers: Of the request, names in lower case.
    """

    session_id: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """A message came from the client."""

    session_id: str
    message: str | bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """A message went to the client."""

    session_id: str
    message: str | bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended.

    Attributes:
        code: The client's close code; the server's own, if it closed.
    """

    session_id: str
    code: int | None


Observation = Connected | Received | Sent | Disconnected
Observer = Callable[[Observation], None]


def unobserved(_: Observation) -> None:
    """Watch nothing."""
