"""The milestones of sessions, for the metrics and the log."""

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.commands import End
from relay.sessions.running import RunningSession
from relay.telemetry.metrics import Metrics
from relay.telemetry.record import line


class SessionObserver:
    """Counts sessions in the metrics, and logs one line when a session has ended."""

    def __init__(self, metrics: Metrics, log: Logger) -> None:
        self._metrics = metrics
        self._log = log

    def started(self, session: RunningSession) -> None:
        """Count a session that runs."""
        self._metrics.started(session)

    def first_audio(self, seconds: float, own_seconds: float) -> None:
        """Count the first audio of an answer."""
        self._metrics.observe_first_audio(seconds, own_seconds)

    def ended(self, session: RunningSession, end: End, duration_seconds: float) -> None:
        """Count a session that has ended, and log its line."""
        self._metrics.ended(session, end, duration_seconds)
        self._log.info("session.ended", **line(session, end, duration_seconds))
