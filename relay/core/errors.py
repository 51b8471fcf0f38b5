"""The errors that refuse or end a session, as one tree.

An error has three wire forms: the HTTP status for use before the relay answers the handshake, the
WebSocket close code for use after that, and the ``code`` of OpenAI's error body. Its message is for
the client and contains no text of the upstream. The cause is for the log.

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

from typing import Any

from relay.core.close import CloseCode


class RelayError(Exception):
    """An error that a client receives when its session does not start or does not go on.

    Attributes:
        code: the ``code`` of the error body, and the ``outcome`` in metrics and logs.
        message: the default text for the client.
        status: the HTTP status before the relay answers the handshake.
        close_code: the WebSocket close code after that.
        silent: the relay sends no ``error`` event, because the client could not read it.
        retry_after_seconds: the value of the ``Retry-After`` header; None for no header.
        detail: a text for the log that the client does not receive.
    """

    code: str
    message: str
    status: int = 500
    close_code: int = CloseCode.INTERNAL_ERROR
    silent: bool = False
    retry_after_seconds: int | None = None

    def __init__(
        self,
        message: str | None = None,
        *,
        detail: str = "",
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message or self.message)
        self.detail = detail
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds

    def body(self, *, event_id: str | None = None, param: str | None = None) -> dict[str, Any]:
        """Return the error object in OpenAI's shape."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"  # noqa: PLR2004
        body = {"type": kind, "code": self.code, "message": str(self), "param": param}
        return body if event_id is None else {**body, "event_id": event_id}


class InvalidRequest(RelayError):
    """The request is not a WebSocket handshake, or the relay cannot accept it."""

    code, status, close_code = "invalid_request", 400, CloseCode.POLICY_VIOLATION
    message = "The relay does not understand this request."


class CredentialsNotOffered(InvalidRequest):
    """The configuration has no keys for short-lived credentials."""

    status = 404
    message = "This relay offers no short-lived credentials: its configuration has no 'secrets'."


class InvalidApiKey(RelayError):
    """The request has no credential, or an unknown or expired one."""

    code, status, close_code = "invalid_api_key", 401, CloseCode.UNAUTHORIZED
    message = (
        "The request has no valid credential. Send the relay's key as 'Authorization: Bearer KEY'."
    )


class OriginNotAllowed(RelayError):
    """The page has a foreign origin."""

    code, status, close_code = "origin_not_allowed", 403, CloseCode.FORBIDDEN
    message = "Pages of this origin may not connect. The operator can add it to allowed_origins."


class PersonaNotAllowed(RelayError):
    """The caller may not use this persona."""

    code, status, close_code = "persona_not_allowed", 403, CloseCode.FORBIDDEN
    message = "This credential may not use that persona."


class PersonaNotFound(RelayError):
    """No persona has this name, or the request names none and there is no default."""

    code, status, close_code = "persona_not_found", 404, CloseCode.NOT_FOUND
    message = "There is no such persona. Choose one with ?persona=NAME."


class SessionLimitReached(RelayError):
    """The caller has its maximum number of sessions open."""

    code, status, close_code = "session_limit_reached", 429, CloseCode.TOO_MANY
    message = "Too many sessions are open with this credential. Close one, or try again later."
    retry_after_seconds = 10


class BudgetExhausted(RelayError):
    """A budget of the caller, its persona or its session is used up."""

    code, status, close_code = "budget_exhausted", 429, CloseCode.TOO_MANY
    message = "The budget is used up. A budget of a day is reset at 0:00 UTC."


class RateLimitExceeded(RelayError):
    """The caller started its maximum number of sessions in this minute."""

    code, status, close_code = "rate_limit_exceeded", 429, CloseCode.TOO_MANY
    message = "Too many sessions were started with this credential. Try again later."


class RelayFull(RelayError):
    """The relay has its maximum number of sessions open."""

    code, status, close_code = "relay_full", 503, CloseCode.TRY_AGAIN_LATER
    message = "The relay is full. Try again later."
    retry_after_seconds = 10


class RelayDraining(RelayError):
    """The relay is about to stop."""

    code, status, close_code = "relay_draining", 503, CloseCode.SERVICE_RESTART
    message = "The relay is restarting. Connect again."
    retry_after_seconds = 5


class UpstreamUnavailable(RelayError):
    """The upstream is unreachable or overloaded, or it fails."""

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
    """The upstream refuses the persona's ``session.update``."""

    code, status, close_code = "persona_rejected", 502, CloseCode.UPSTREAM_REFUSED
    message = "The upstream refuses this persona. The relay's operator finds the reason in the log."


class UpstreamLost(RelayError):
    """The upstream ended the session."""

    code, status = "upstream_lost", 502
    message = "The upstream ended the session."

    def __init__(self, message: str | None = None, *, received: int = 0, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.close_code = received if received in CLOSES_PASSED_ON else CloseCode.INTERNAL_ERROR


class EventNotAllowed(RelayError):
    """The persona does not open this event to the client. The relay did not forward it."""

    code, status, close_code = "event_not_allowed", 403, CloseCode.POLICY_VIOLATION
    message = "This event is not allowed here."


class InvalidEvent(RelayError):
    """The client's event is invalid or ambiguous. The relay did not forward it."""

    code, status, close_code = "invalid_event", 400, CloseCode.POLICY_VIOLATION
    message = "This is not a valid event."


class SessionIdle(RelayError):
    """The session had no activity for ``idle_seconds``."""

    code, status, close_code = "session_idle", 408, CloseCode.IDLE
    message = "The session had no activity for too long."


class SessionExpired(RelayError):
    """The session lasted ``max_session_seconds``."""

    code, status, close_code = "session_expired", 408, CloseCode.GOING_AWAY
    message = "The session reached its maximum duration."


class MessageTooBig(RelayError):
    """A message of the client is longer than ``max_message_bytes``."""

    code, status, close_code = "message_too_big", 413, CloseCode.MESSAGE_TOO_BIG
    message = "The message is too big."
    silent = True


class SlowClient(RelayError):
    """The client stopped reading."""

    code, status, close_code = "slow_client", 408, CloseCode.TRY_AGAIN_LATER
    message = "The client stopped reading."
    silent = True


class ClientLost(RelayError):
    """The connection broke, or the client sent nothing for too long, not even a pong."""

    code, status = "client_lost", 408
    message = "The connection to the client was lost."
    silent = True


class InternalError(RelayError):
    """The relay has a defect."""

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
"""Close codes of the upstream that the relay sends to the client. Any other becomes 1011."""

ERRORS: tuple[type[RelayError], ...] = (
    InvalidRequest,
    InvalidApiKey,
    OriginNotAllowed,
    PersonaNotAllowed,
    PersonaNotFound,
    SessionLimitReached,
    RateLimitExceeded,
    BudgetExhausted,
    RelayFull,
    RelayDraining,
    UpstreamUnavailable,
    UpstreamRefused,
    UpstreamTimeout,
    PersonaRejected,
    EventNotAllowed,
    InvalidEvent,
    SessionIdle,
    SessionExpired,
    UpstreamLost,
    MessageTooBig,
    SlowClient,
    ClientLost,
    InternalError,
)
"""All errors, one for each code, in the order of ``docs/errors.md``."""


def codes() -> frozenset[str]:
    """Return the code of every error: a closed set, so it can be a label of metrics."""
    return frozenset(error.code for error in ERRORS)
