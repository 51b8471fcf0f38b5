"""The sections ``limits``: of the relay, of an end user, of a client, of a persona."""

from relay.yaml.section import Section
from relay.yaml.value import Count, Rate, Seconds, Usd


class UserLimits(Section):
    """Limits of one end user. A trusted client names the end user."""

    max_sessions: Count | None = None
    """Maximum number of sessions at the same time."""
    usd_per_day: Usd | None = None
    """Maximum cost of one day (UTC)."""


class Limits(Section):
    """Limits of the relay and of each connection."""

    max_sessions: Count = 1000
    """Maximum number of sessions at the same time, of all clients together."""
    max_message_bytes: Count = 16_777_216
    """Maximum size of one message in bytes, in both directions."""
    max_buffered_bytes: Count = 4_194_304
    """Close a client if more bytes than this wait behind the message that is being written."""
    slow_client_seconds: Seconds = 10
    """Close a client that reads nothing for this long."""
    drain_seconds: Seconds = 30
    """Time that open sessions may continue after the relay receives the signal to stop."""
    audio_rate: Rate = 2
    """Seconds of audio per second that a client may send after a burst."""
    audio_burst_seconds: Seconds = 120
    """Seconds of audio that a client may send at once."""
    events_per_second: Rate = 200
    """Events per second that a client may send."""
    max_blocked_events: Count = 100
    """Close a session with 1008 if the relay refuses more events than this."""
    max_lag_ms: Count | None = 100
    """Refuse new sessions while the event loop is later than this, in milliseconds: the median of
    the last 2 seconds. `null` turns this off."""
    user: UserLimits = UserLimits()
    """Limits of one end user. A trusted client names the end user."""


class ClientLimits(Section):
    """Limits of one client."""

    max_sessions: Count | None = None
    """Maximum number of sessions at the same time."""
    sessions_per_minute: Rate | None = None
    """Maximum number of new sessions per minute."""
    usd_per_session: Usd | None = None
    """Maximum cost of one session."""
    usd_per_day: Usd | None = None
    """Maximum cost of one day (UTC)."""


class PersonaLimits(Section):
    """Limits of the sessions of one persona."""

    max_session_seconds: Seconds = 3600
    """End a session after this long."""
    idle_seconds: Seconds = 300
    """End a session without activity after this long."""
    max_tool_seconds: Seconds = 20
    """Time limit of one tool call."""
    max_sessions: Count | None = None
    """Maximum number of sessions at the same time."""
    usd_per_session: Usd | None = None
    """Maximum cost of one session."""
    usd_per_day: Usd | None = None
    """Maximum cost of one day (UTC)."""
