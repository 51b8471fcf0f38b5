"""Observations that the server reports: connections, and the messages of both directions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """A client connected.

    Attributes:
        session_id: The id of its session in all further observations.
        target: The path and query of the request.
        headers: The headers of the request, names in lower case.
    """

    session_id: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """The client sent a message."""

    session_id: str
    message: str | bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """The server sent a message."""

    session_id: str
    message: str | bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended.

    Attributes:
        session_id: The id of the session.
        code: The close code of the side that closed first; None without one.
    """

    session_id: str
    code: int | None


Observation = Connected | Received | Sent | Disconnected
Observer = Callable[[Observation], None]


def ignore(_: Observation) -> None:
    """Do nothing: the observer of a server without another one."""
