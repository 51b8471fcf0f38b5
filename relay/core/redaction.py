"""Redaction of the upstream's events: a client sees nothing of the persona and the account."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from relay.core.api_errors import CLIENT_ERRORS
from relay.core.conversation import is_hidden
from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.quotations import quotes

HIDDEN_EVENTS = ("rate_limits.", "mcp_", "response.mcp_")
"""The first parts of the names of hidden events: the account's limits, the upstream's tools."""

REDACTED: Final = "The upstream reported an error."

_ACCOUNT = re.compile(
    r"\b(?:sk|ek|org|proj|user|sess)[-_][\w*.-]{4,}|https?://|\borganization\b", re.IGNORECASE
)
_NAME = re.compile(r"[a-z0-9_.\[\]]{1,128}")
_MAX_MESSAGE_CHARS = 1000

_EMPTY_FIELDS: Final[dict[str, Json]] = {
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "prompt": None,
    "tracing": None,
}
_SECRET_FIELDS = frozenset({*_EMPTY_FIELDS, "keywords", "client_secret"})
"""Fields with the persona's words or a key, at any depth of an object."""


def redact_session(
    session: Mapping[str, Json],
    *,
    session_id: str,
    expires_at: int,
    persona_words: Sequence[str] = (),
) -> Event:
    """Return a session object without the persona's words, with the relay's id and limit.

    ``expires_at`` is in epoch seconds. If the upstream has an earlier one, the client gets that.
    """
    theirs = session.get("expires_at")
    earlier = min(theirs, expires_at) if isinstance(theirs, int) and theirs > 0 else expires_at
    shown: Event = _without_secrets(session, persona_words)
    # A transcription session has none of these fields, and strict clients check that.
    empty = {} if session.get("type") == "transcription" else _EMPTY_FIELDS
    return shown | empty | {"id": session_id, "expires_at": earlier}


def redact_response(response: Event, persona_words: Sequence[str] = ()) -> Event:
    """Return a response object without instructions, tools, hidden items and account data."""
    # The model's own words, and the client's.
    kept = {name: response[name] for name in ("output", "metadata") if name in response}
    if isinstance(kept.get("output"), list):
        kept["output"] = [item for item in kept["output"] if not is_hidden(item)]
    rest = {name: value for name, value in response.items() if name not in kept}
    shown: Event = _without_secrets(rest, persona_words) | kept
    details = response.get("status_details")
    if details is not None:
        shown["status_details"] = _redact_details(details, persona_words)
    return shown


def _redact_details(details: Json, persona_words: Sequence[str]) -> Json:
    if not isinstance(details, dict):
        return _harmless(str(details), persona_words)
    shown: Event = {name: _name(details[name]) for name in ("type", "reason") if name in details}
    if details.get("error") is not None:
        shown["error"] = redact_error(object_or_empty(details, "error"), persona_words)
    return shown


def redact_error(error: Mapping[str, Json], persona_words: Sequence[str] = ()) -> Event:
    """Return an error object with nothing of the account or the persona."""
    code, message, event_id = _name(error.get("code")), error.get("message"), error.get("event_id")
    words = message if isinstance(message, str) and code in CLIENT_ERRORS else REDACTED
    return {
        "type": _name(error.get("type")),
        "code": code,
        "message": _harmless(words, persona_words),
        "param": _name(error.get("param")),
        "event_id": event_id if isinstance(event_id, str) else None,
    }


def _without_secrets(value: Json, persona_words: Sequence[str]) -> Json:
    """Return a value without secret fields at any depth, and with ``""`` for texts that quote."""
    match value:
        case dict():
            return {
                key: _without_secrets(item, persona_words)
                for key, item in value.items()
                if key not in _SECRET_FIELDS
            }
        case list():
            return [_without_secrets(item, persona_words) for item in value]
        case str() if quotes(value, persona_words):
            return ""
    return value


def _name(value: Json) -> str | None:
    """Return a name of the API; None for anything that could be a sentence."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _harmless(message: str, persona_words: Sequence[str]) -> str:
    """Return the message; the relay's own text if it is about the account or the persona."""
    is_secret = (
        len(message) > _MAX_MESSAGE_CHARS
        or _ACCOUNT.search(message)
        or quotes(message, persona_words)
    )
    return REDACTED if is_secret else message
