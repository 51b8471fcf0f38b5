"""What a client may see of the upstream's events: everything but the persona and the account."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from relay.core.conversation import is_hidden
from relay.core.events import Event, Json

HIDDEN_EVENTS = ("rate_limits.", "mcp_", "response.mcp_")
"""How server events start that stay here: the account's limits, and the tools the upstream runs."""

SPEAKABLE_ERRORS = frozenset(
    {
        "audio_unintelligible",
        "cannot_update_voice",
        "conversation_already_has_active_response",
        "input_audio_buffer_commit_empty",
        "invalid_event",
        "invalid_json",
        "invalid_parameter",
        "invalid_value",
        "item_already_exists",
        "item_delete_invalid_item_id",
        "item_not_found",
        "item_retrieve_invalid_item_id",
        "item_truncate_invalid_item_id",
        "missing_required_parameter",
        "response_cancel_not_active",
        "session_expired",
        "unknown_parameter",
    }
)
"""Codes of errors that speak of what the client did; the words of any other are the account's."""

KNOWN_ERRORS = SPEAKABLE_ERRORS | {
    "account_deactivated",
    "beta_api_shape_disabled",
    "billing_hard_limit_reached",
    "call_id_not_found",
    "inference_rate_limit_exceeded",
    "insufficient_quota",
    "invalid_api_key",
    "invalid_model",
    "missing_model",
    "model_not_found",
    "rate_limit_exceeded",
    "server_error",
}
"""Every error code of the API that is known: the closed set for metrics."""

UNSPOKEN: Final = "The upstream reported an error."

_ACCOUNT = re.compile(
    r"\b(?:sk|ek|org|proj|user|sess)[-_][\w*.-]{4,}|https?://|\borganization\b", re.IGNORECASE
)
_NAME = re.compile(r"[a-z0-9_.\[\]]{1,128}")
_MAX_MESSAGE_CHARS = 1000
_QUOTED_CHARS = 24
"""Shorter pieces of a prompt stand in any sentence."""

_EMPTY_FIELDS: Final[dict[str, Json]] = {
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "prompt": None,
    "tracing": None,
}
_SECRET_FIELDS = frozenset({*_EMPTY_FIELDS, "keywords", "client_secret"})
"""Fields that hold the persona's words or a key, wherever in an object they are."""


def redact_session(
    session: Mapping[str, Json],
    *,
    session_id: str,
    expires_at: int,
    persona_words: Sequence[str] = (),
) -> Event:
    """Return a session object without the persona's words, with the relay's id and limit.

    ``expires_at`` is in epoch seconds; the earlier of it and the upstream's stands.
    """
    theirs = session.get("expires_at")
    earlier = min(theirs, expires_at) if isinstance(theirs, int) and theirs > 0 else expires_at
    shown: Event = _discreet(session, persona_words)
    # A session that only transcribes has none of these fields, and strict clients know that.
    empty = {} if session.get("type") == "transcription" else _EMPTY_FIELDS
    return shown | empty | {"id": session_id, "expires_at": earlier}


def redact_response(response: Event, persona_words: Sequence[str] = ()) -> Event:
    """Return a response object without instructions, tools, hidden items and account words."""
    spoken = {name: response[name] for name in ("output", "metadata") if name in response}
    if isinstance(spoken.get("output"), list):
        spoken["output"] = [item for item in spoken["output"] if not is_hidden(item)]
    rest = {name: value for name, value in response.items() if name not in spoken}
    shown: Event = _discreet(rest, persona_words) | spoken
    details = response.get("status_details")
    if details is not None:
        shown["status_details"] = _redact_details(details, persona_words)
    return shown


def _redact_details(details: Json, persona_words: Sequence[str]) -> Json:
    if not isinstance(details, dict):
        return _unsaid(str(details), persona_words)
    shown: Event = {name: _name(details[name]) for name in ("type", "reason") if name in details}
    error = details.get("error")
    if error is not None:
        shown["error"] = redact_error(error if isinstance(error, dict) else {}, persona_words)
    return shown


def redact_error(error: Mapping[str, Json], persona_words: Sequence[str] = ()) -> Event:
    """Return an error object that tells the client nothing of the account or the persona."""
    code, message, event_id = _name(error.get("code")), error.get("message"), error.get("event_id")
    words = message if isinstance(message, str) and code in SPEAKABLE_ERRORS else UNSPOKEN
    return {
        "type": _name(error.get("type")),
        "code": code,
        "message": _unsaid(words, persona_words),
        "param": _name(error.get("param")),
        "event_id": event_id if isinstance(event_id, str) else None,
    }


def _discreet(value: Json, persona_words: Sequence[str]) -> Json:
    """Return a value without secret fields, at any depth, and without the persona's words."""
    match value:
        case dict():
            return {
                key: _discreet(item, persona_words)
                for key, item in value.items()
                if key not in _SECRET_FIELDS
            }
        case list():
            return [_discreet(item, persona_words) for item in value]
        case str() if _quotes(value, persona_words):
            return ""
    return value


def _name(value: Json) -> str | None:
    """Return a name of the API's; None for anything that could be prose."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def _unsaid(message: str, persona_words: Sequence[str] = ()) -> str:
    """Return the message, or our own words when it speaks of the account or the persona."""
    said = (
        len(message) > _MAX_MESSAGE_CHARS
        or _ACCOUNT.search(message)
        or _quotes(message, persona_words)
    )
    return UNSPOKEN if said else message


def _quotes(text: str, persona_words: Sequence[str]) -> bool:
    """Tell whether a text repeats some of the persona's words, be they cut or not."""
    pieces = (text[at : at + _QUOTED_CHARS] for at in range(len(text) - _QUOTED_CHARS + 1))
    return any(words in text for words in persona_words) or any(
        piece in words for piece in pieces for words in persona_words
    )
