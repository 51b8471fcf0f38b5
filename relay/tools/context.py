"""The session of a call, as a tool sees it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """The session of a call; a Python tool receives it in a parameter annotated with it.

    Attributes:
        session_id: the relay's id of the session.
        persona: the name of the persona.
        client: the name of the client; ``anonymous`` where none is configured.
        user: the hash of the end user, if a trusted client has named one.
        call_id: the upstream's id of the call; no two calls have the same, in any session.
    """

    session_id: str
    persona: str
    client: str
    user: str | None
    call_id: str
