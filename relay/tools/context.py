"""What a tool may know of the session that calls it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """Whose call it is; given to a Python tool in a parameter that is annotated with it.

    Attributes:
        session_id: the relay's id of the session.
        persona: the name of the persona.
        client: the name of the client; ``anonymous`` where none is configured.
        user: the hash of the end user whom a trusted client has named, if it has.
        call_id: the upstream's id of the call: one for each, in any session.
    """

    session_id: str
    persona: str
    client: str
    user: str | None
    call_id: str
