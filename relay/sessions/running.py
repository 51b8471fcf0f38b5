"""One running session, for the ledger, the metrics and the log."""

from dataclasses import dataclass
from datetime import datetime

from relay.core.commands import End
from relay.ledger.entries import SessionEnd, SessionStart
from relay.sessions.bridge import Bridge


@dataclass(frozen=True, slots=True, eq=False)
class RunningSession:
    """A session that is relayed.

    Attributes:
        user: the hash of the end user, if a trusted client named one.
        upstream: the name of the upstream in the configuration.
        ready_seconds: from dialling the upstream to its confirmation of the persona.
        started_at: in seconds of the loop's clock.
    """

    session_id: str
    upstream_session_id: str
    persona: str
    client: str
    user: str | None
    model: str
    upstream: str
    ready_seconds: float
    started_at: float
    bridge: Bridge

    def beginning(self, at: datetime) -> SessionStart:
        """Return the row that the ledger holds when the session starts."""
        return SessionStart(
            session_id=self.session_id,
            started_at=at,
            client=self.client,
            persona=self.persona,
            model=self.model,
            upstream=self.upstream,
            upstream_session_id=self.upstream_session_id,
            user_hash=self.user,
        )

    def ending(self, end: End, duration_seconds: float, at: datetime) -> SessionEnd:
        """Return the part of the row that the ledger adds when the session ends."""
        counts = self.bridge.session.counts
        return SessionEnd(
            session_id=self.session_id,
            ended_at=at,
            outcome=end.outcome,
            close_code=end.client_code,
            seconds=duration_seconds,
            audio_seconds_in=counts.audio_seconds_to_upstream,
            audio_seconds_out=counts.audio_seconds_to_client,
        )
