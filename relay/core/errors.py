"""Every way a session can fail to start or be made to end, as one tree.

An error knows its wire forms: the HTTP status it has before the handshake is answered, the
WebSocket close code it has afterwards, and the ``code`` of OpenAI's error body. Its message is
written for the client and carries nothing of the upstream's own words; the cause is for the log.

::

    RelayError
    ├── InvalidRequest ── CredentialsNotOffered
    ├── InvalidApiKey
    ├── OriginNotAllowed, PersonaNotAllowed, PersonaNotFound
    ├── SessionLimitReached, RateLimitExceeded, BudgetExhausted, RelayFull, RelayDraining
    ├── UpstreamUnavailable, UpstreamRefused, UpstreamTimeout, PersonaRejected, UpstreamLost
    ├── EventNotAllowed, InvalidEvent
    ├── SessionIdle, SessionExpired
    ├── MessageTooBig, SlowClient, ClientLost
    └── InternalError
"""

from typing import Any, ClassVar

from relay.core.close import CloseCode


class RelayError(Exception):
    """What the relay tells a client when a session does not start or does not go on.

    Attributes:
        code: the ``code`` of the error body, and the ``outcome`` in metrics and logs.
        status: the HTTP status before the handshake is answered.
        close_code: the WebSocket close code once it is.
        silent: the client is not told with an ``error`` event: it could not read it.
        retry_after_seconds: when it is worth coming back, for the ``Retry-After`` header.
        detail: what the log may know and the client may not.
    """

    code: ClassVar[str]
    message: ClassVar[str]
    status: ClassVar[int] = 500
    close_code: ClassVar[int] = CloseCode.INTERNAL_ERROR
    silent: ClassVar[bool] = False
    retry_after_seconds: ClassVar[int | None] = None

    def __init__(self, message: str | None = None, *, detail: str = "") -> None:
        super().__init__(message or self.message)
        self.detail = detail

    def body(self, *, event_id: str | None = None, param: str | None = None) -> dict[str, Any]:
        """Return the error object in OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"  # noqa: PLR2004
        body = {"type": kind, "code": self.code, "message": str(self), "param": param}
        return body if event_id is None else {**body, "event_id": event_id}


class InvalidRequest(RelayError):
    """Not a WebSocket handshake, or one that the relay cannot take."""

    code, status, close_code = "invalid_request", 400, CloseCode.POLICY_VIOLATION
    message = "This is not a request that the relay understands."


class CredentialsNotOffered(InvalidRequest):
    """Nothing is configured that short-lived credentials could be made with."""

    status = 404
    message = "This relay offers no short-lived credentials: its configuration has no 'secrets'."


class InvalidApiKey(RelayError):
    """No credential, or an unknown or expired one."""

    code, status, close_code = "invalid_api_key", 401, CloseCode.UNAUTHORIZED
    message = "No valid credential was given. Send the relay's key as 'Authorization: Bearer KEY'."


class OriginNotAllowed(RelayError):
    """A page of a foreign origin."""

    code, status, close_code = "origin_not_allowed", 403, CloseCode.FORBIDDEN
    message = "Pages of this origin may not connect. The operator lists them in allowed_origins."


class PersonaNotAllowed(RelayError):
    """The caller may not use this persona."""

    code, status, close_code = "persona_not_allowed", 403, CloseCode.FORBIDDEN
    message = "This credential may not use that persona."


class PersonaNotFound(RelayError):
    """No persona was named that exists, and there is no default."""

    code, status, close_code = "persona_not_found", 404, CloseCode.NOT_FOUND
    message = "There is no such persona. Choose one with ?persona=NAME."


class SessionLimitReached(RelayError):
    """The caller has as many sessions as it may have."""

    code, status, close_code = "session_limit_reached", 429, CloseCode.TOO_MANY
    message = "Too many sessions are open with this credential. Close one, or try again later."
    retry_after_seconds = 10


class BudgetExhausted(RelayError):
    """The caller, its persona or its session has spent what it may spend."""

    code, status, close_code = "budget_exhausted", 429, CloseCode.TOO_MANY
    message = "The budget is used up. The budget of a day starts anew at 0:00 UTC."


class RateLimitExceeded(RelayError):
    """The caller started as many sessions this minute as it may."""

    code, status, close_code = "rate_limit_exceeded", 429, CloseCode.TOO_MANY
    message = "Too many sessions were started with this credential. Try again later."

    def __init__(self, message: str | None = None, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds  # type: ignore[misc]  # this one can tell


class RelayFull(RelayError):
    """The relay has as many sessions as it may have."""

    code, status, close_code = "relay_full", 503, CloseCode.TRY_AGAIN_LATER
    message = "The relay is full. Try again later."
    retry_after_seconds = 10


class RelayDraining(RelayError):
    """The relay is about to stop."""

    code, status, close_code = "relay_draining", 503, CloseCode.SERVICE_RESTART
    message = "The relay is restarting. Connect again."
    retry_after_seconds = 5


class UpstreamUnavailable(RelayError):
    """The upstream cannot be reached, is overloaded or fails."""

    code, status, close_code = "upstream_unavailable", 502, CloseCode.TRY_AGAIN_LATER
    message = "The upstream cannot be reached. Try again later."


class UpstreamRefused(RelayError):
    """The upstream refuses the relay's key or the model."""

    code, status, close_code = "upstream_refused", 502, CloseCode.UPSTREAM_REFUSED
    message = "The upstream refuses this relay. Its operator finds the reason in the log."


class UpstreamTimeout(RelayError):
    """The upstream was not ready in time."""

    code, status, close_code = "upstream_timeout", 504, CloseCode.TRY_AGAIN_LATER
    message = "The upstream was not ready in time. Try again later."


class PersonaRejected(RelayError):
    """The upstream refused the persona's session.update."""

    code, status, close_code = "persona_rejected", 502, CloseCode.UPSTREAM_REFUSED
    message = "The upstream refuses this persona. The relay's operator finds the reason in the log."


class UpstreamLost(RelayError):
    """The upstream went away in mid-session."""

    code, status = "upstream_lost", 502
    message = "The upstream ended the session."

    def __init__(self, message: str | None = None, *, received: int = 0, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.close_code = received if received in CLOSES_PASSED_ON else CloseCode.INTERNAL_ERROR  # type: ignore[misc]  # this one depends on the peer


class EventNotAllowed(RelayError):
    """The client's event is not open to it, and was not forwarded."""

    code, status, close_code = "event_not_allowed", 403, CloseCode.POLICY_VIOLATION
    message = "This event is not allowed here."


class InvalidEvent(RelayError):
    """The client's event cannot be read in one way only, and was not forwarded."""

    code, status, close_code = "invalid_event", 400, CloseCode.POLICY_VIOLATION
    message = "This is not a valid event."


class SessionIdle(RelayError):
    """Nobody spoke for ``idle_seconds``."""

    code, status, close_code = "session_idle", 408, CloseCode.IDLE
    message = "Nobody spoke for too long."


class SessionExpired(RelayError):
    """The session reached ``max_session_seconds``."""

    code, status, close_code = "session_expired", 408, CloseCode.GOING_AWAY
    message = "The session reached its longest duration."


class MessageTooBig(RelayError):
    """A message is longer than ``max_message_bytes``."""

    code, status, close_code = "message_too_big", 413, CloseCode.MESSAGE_TOO_BIG
    message = "The message is too big."
    silent = True


class SlowClient(RelayError):
    """The client stopped reading."""

    code, status, close_code = "slow_client", 408, CloseCode.TRY_AGAIN_LATER
    message = "The client stopped reading."
    silent = True


class ClientLost(RelayError):
    """Nothing came from the client any more, pongs included."""

    code, status = "client_lost", 408
    message = "The client is gone."
    silent = True


class InternalError(RelayError):
    """A defect of the relay."""

    code = "internal_error"
    message = "The relay failed. Its operator finds the reason in the log."


CLOSES_PASSED_ON = frozenset(
    {
        CloseCode.NORMAL_CLOSURE,
        CloseCode.GOING_AWAY,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
    }
)
"""Close codes of the upstream that say the same of the relay; any other becomes 1011."""


def codes() -> frozenset[str]:
    """Return the code of every error: the closed set that metrics may use as a label."""
    return frozenset(error.code for error in RelayError.__subclasses__())
