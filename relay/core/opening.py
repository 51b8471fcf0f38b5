"""How a session opens upstream: nothing counts as connected before the persona is confirmed.

::

    upstream                 relay
    session.created   ->
                      <-     session.update   the whole persona, the first thing it ever receives
    session.updated   ->                      opened

A 101 of the upstream means nothing: its verdict on key and model comes as an ``error`` event and
a close with 3000 or 4000. A server may begin with ``conversation.created`` (xAI). An update is all
or nothing: one field that it does not know discards the instructions too, so a refusal is the end.
"""

from dataclasses import dataclass

from relay.core.close import CloseCode
from relay.core.commands import Send, Side
from relay.core.errors import (
    PersonaRejected,
    RelayError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from relay.core.events import Binary, Event, decode_server, encode, error_of

REFUSALS = frozenset({CloseCode.UNAUTHORIZED, CloseCode.FATAL_CONFIGURATION})
"""Closes with which the Realtime API refuses a key, a model or a dialect after its 101."""

OVERLOADS = frozenset({"rate_limit_exceeded", "inference_rate_limit_exceeded", "server_error"})
"""Errors that pass by themselves, unlike a wrong key."""

ACCOUNT_ERRORS = frozenset(
    {
        "account_deactivated",
        "beta_api_shape_disabled",
        "billing_hard_limit_reached",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_model",
        "missing_model",
        "model_not_found",
    }
)
"""Errors of the key or the model, whenever they come."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The upstream confirmed the persona: this is the session that runs."""

    session: Event


class Opening:
    """Decides what the relay says to an upstream until it has confirmed the persona."""

    def __init__(self, session: Event, relay_ids: str) -> None:
        """Open with this session object, under an event id that only the relay knows."""
        self._update = encode(
            {"type": "session.update", "event_id": f"{relay_ids}update", "session": session}
        )
        self._asked = False

    def receive(self, raw: bytes) -> Send | Opened | None:
        """Decide what follows from a message.

        Raises:
            UpstreamRefused: the upstream refuses the key or the model.
            PersonaRejected: it refuses the persona's session.update.
            UpstreamUnavailable: it fails, or speaks something else.
        """
        event = None if isinstance(raw, Binary) else decode_server(raw)
        if event is None:
            raise UpstreamUnavailable(detail="the upstream sent a message that is no event")
        match event["type"]:
            case "session.created" | "conversation.created" if not self._asked:
                self._asked = True
                return Send(Side.UPSTREAM, self._update)
            case "session.updated" if self._asked:
                session = event.get("session")
                return Opened(session if isinstance(session, dict) else {})
            case "error":
                raise self._refused(event)
        return None

    def closed(self, code: int, reason: str) -> RelayError:
        """Return what it means that the upstream closed."""
        detail = f"the upstream closed with {code} {reason}".rstrip()
        meaning = UpstreamRefused if code in REFUSALS else UpstreamUnavailable
        return meaning(detail=detail)

    def _refused(self, event: Event) -> RelayError:
        told = error_of(event)
        code = str(told.get("code"))
        detail = f"{code} (param {told.get('param')}): {told.get('message')}"
        if code in OVERLOADS or told.get("type") == "server_error":
            return UpstreamUnavailable(detail=detail)
        # The refusal of an update carries our event id usually, not always (gpt-realtime-1.5
        # refusing `reasoning` names neither id nor param): once asked, what is wrong is what
        # was asked, unless it is the account's.
        if self._asked and code not in ACCOUNT_ERRORS:
            return PersonaRejected(detail=detail)
        return UpstreamRefused(detail=detail)
