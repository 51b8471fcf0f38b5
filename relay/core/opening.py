"""The opening of a session at the upstream. It is open when the upstream has confirmed the persona.

::

    upstream                 relay
    session.created   ->
                      <-     session.update   the whole persona, the first event that it receives
    session.updated   ->                      opened

The upstream's 101 is no confirmation: if it refuses the key or the model, it sends an ``error``
event and closes with 3000 or 4000. A server may begin with ``conversation.created`` (xAI). If the
upstream does not know one field of an update, it discards the whole update with the instructions,
so a refusal ends the opening.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from relay.core.api_errors import ACCOUNT_ERRORS, TEMPORARY_ERRORS
from relay.core.close import CloseCode
from relay.core.commands import Send, Side
from relay.core.errors import (
    PersonaRejected,
    RelayError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from relay.core.events import Event, Json, decode_server, encode, error_of
from relay.core.messages import Binary
from relay.core.objects import object_or_empty

REFUSALS = frozenset({CloseCode.UNAUTHORIZED, CloseCode.FATAL_CONFIGURATION})
"""Close codes of the Realtime API that refuse a key, a model or a dialect after its 101."""


TOOL_FIELDS = ("type", "name", "description", "server_label", "server_url")
"""Fields of a tool that a server confirms as they are; it may complete a JSON Schema."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The upstream confirmed the persona; ``session`` is the confirmed session object."""

    session: Event


class Opening:
    """Decides about the messages of an upstream until it has confirmed the persona."""

    def __init__(self, session: Event, relay_ids: str) -> None:
        """Prepare an update with this session object, and an event id that only the relay knows."""
        self._update = encode(
            {"type": "session.update", "event_id": f"{relay_ids}update", "session": session}
        )
        self._session = session
        self._is_sent = False

    def receive(self, raw: bytes) -> Send | Opened | None:
        """Return the reaction to a message: the update to send, the confirmation, or None.

        Raises:
            UpstreamRefused: the upstream refuses the key or the model.
            PersonaRejected: it refuses the persona's ``session.update``, or confirms another one.
            UpstreamUnavailable: it fails, or sends a message that is not an event.
        """
        event = None if isinstance(raw, Binary) else decode_server(raw)
        if event is None:
            raise UpstreamUnavailable(detail="the upstream sent a message that is no event")
        match event["type"]:
            case "session.created" | "conversation.created" if not self._is_sent:
                self._is_sent = True
                return Send(Side.UPSTREAM, self._update)
            case "session.updated" if self._is_sent:
                return self._confirmed(object_or_empty(event, "session"))
            case "error":
                raise self._refused(event)
        return None

    def _confirmed(self, confirmed: Event) -> Opened:
        """Compare the confirmed session with the persona: no other prompt may answer.

        A server that does not know the update can confirm its own default session. A session that
        only transcribes has no prompt and gives no answer, so there is nothing to compare.
        """
        if self._session.get("type") == "transcription":
            return Opened(confirmed)
        if not _is_same_text(self._session.get("instructions"), confirmed.get("instructions")):
            raise PersonaRejected(detail="the upstream confirmed other instructions")
        if not _are_same_tools(self._session.get("tools"), confirmed.get("tools")):
            raise PersonaRejected(detail="the upstream confirmed other tools")
        return Opened(confirmed)

    def closed(self, code: int, reason: str) -> RelayError:
        """Return the error for a close of the upstream."""
        detail = f"the upstream closed with {code} {reason}".rstrip()
        error = UpstreamRefused if code in REFUSALS else UpstreamUnavailable
        return error(detail=detail)

    def _refused(self, event: Event) -> RelayError:
        error = error_of(event)
        code = str(error.get("code"))
        detail = f"{code} (param {error.get('param')}): {error.get('message')}"
        if code in TEMPORARY_ERRORS or error.get("type") == "server_error":
            return UpstreamUnavailable(detail=detail)
        # The refusal of an update usually has the relay's event id, but not always:
        # gpt-realtime-1.5 refuses `reasoning` without an id and a param. So any error after the
        # update means that the persona is refused, except errors about the account.
        if self._is_sent and code not in ACCOUNT_ERRORS:
            return PersonaRejected(detail=detail)
        return UpstreamRefused(detail=detail)


def _is_same_text(sent: Json, confirmed: Json) -> bool:
    """Return whether a text was confirmed as it was sent; a server may omit it."""
    return confirmed is None or str(confirmed).strip() == str(sent or "").strip()


def _are_same_tools(sent: Json, confirmed: Json) -> bool:
    """Return whether the tools were confirmed as they were sent; a server may omit them."""
    if confirmed is None:
        return True
    asked = sent if isinstance(sent, list | tuple) else ()
    if not isinstance(confirmed, list) or len(confirmed) != len(asked):
        return False
    return all(map(_is_same_tool, asked, confirmed))


def _is_same_tool(sent: Json, confirmed: Json) -> bool:
    """Compare the fields that say what a tool is; a server may add defaults and hide keys."""
    if not isinstance(sent, Mapping) or not isinstance(confirmed, Mapping):
        return False
    return all(
        confirmed.get(name) in (None, sent.get(name)) for name in TOOL_FIELDS if name in sent
    )
