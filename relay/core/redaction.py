"""Redaction of the upstream's events: a client sees nothing of the persona and the account."""

import re
from collections.abc import Mapping
from typing import Final

from relay.core.api_errors import CLIENT_ERRORS
from relay.core.conversation import is_hidden
from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.paths import Path, leave_out
from relay.core.quotations import CLIENT_QUOTED_CHARS, NO_WORDS, PersonaWords, Quotations

HIDDEN_EVENTS = ("rate_limits.", "mcp_", "response.mcp_")
"""The first parts of the names of hidden events: the account's limits, the upstream's tools."""

REDACTED: Final = "The upstream reported an error."

_NAME = re.compile(r"[a-z0-9_.\[\]]{1,128}")

EMPTY_FIELDS: Final[dict[str, Json]] = {
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "prompt": None,
    "tracing": None,
}
"""The fields of the persona, with the values that a client sees."""
SECRET_FIELDS = frozenset({*EMPTY_FIELDS, "keywords", "client_secret"})
"""Fields with the persona's words or a key, at any depth of an object."""

_NUMBERS: Final = frozenset({int, float, bool, type(None)})
"""The types of values without a text."""


def redact_session(
    session: Mapping[str, Json],
    *,
    session_id: str,
    expires_at: int,
    persona_words: PersonaWords = NO_WORDS,
    opened: frozenset[Path] = frozenset(),
    closed: frozenset[Path] = frozenset(),
) -> Event:
    """Return a session object without the persona's words, with the relay's id and limit.

    ``expires_at`` is in epoch seconds. If the upstream has an earlier one, the client gets that.
    ``closed`` are the paths of fields that are hidden unless they are opened.
    """
    theirs = session.get("expires_at")
    earlier = min(theirs, expires_at) if isinstance(theirs, int) and theirs > 0 else expires_at
    visible = leave_out(session, closed, opened) if closed else session
    shown: Event = _without_secrets(visible, Quotations(persona_words), opened)
    # A transcription session has none of these fields, and strict clients check that.
    empty = {} if session.get("type") == "transcription" else EMPTY_FIELDS
    return shown | empty | {"id": session_id, "expires_at": earlier}


def redact_response(
    response: Event,
    persona_words: PersonaWords = NO_WORDS,
    opened: frozenset[Path] = frozenset(),
    closed: frozenset[Path] = frozenset(),
) -> Event:
    """Return a response object without instructions, tools, hidden items and account data."""
    # The model's own words, and the client's.
    kept = {name: response[name] for name in ("output", "metadata") if name in response}
    if isinstance(kept.get("output"), list):
        kept["output"] = [item for item in kept["output"] if not is_hidden(item)]
    rest = {name: value for name, value in response.items() if name not in kept}
    visible = leave_out(rest, closed, opened) if closed else rest
    shown: Event = _without_secrets(visible, Quotations(persona_words), opened) | kept
    details = response.get("status_details")
    if details is not None:
        shown["status_details"] = _redact_details(details)
    return shown


def _redact_details(details: Json) -> Json:
    if not isinstance(details, dict):
        return REDACTED
    shown: Event = {name: api_name(details[name]) for name in ("type", "reason") if name in details}
    if details.get("error") is not None:
        shown["error"] = redact_error(object_or_empty(details, "error"))
    return shown


def redact_error(error: Mapping[str, Json]) -> Event:
    """Return an error object with its code, its parameter and a sentence of the relay.

    No word of the upstream is in it, so no answer depends on whether a text is in the persona.
    """
    code, event_id = api_name(error.get("code")), error.get("event_id")
    return {
        "type": api_name(error.get("type")),
        "code": code,
        "message": CLIENT_ERRORS.get(code or "", REDACTED),
        "param": api_name(error.get("param")),
        "event_id": event_id if isinstance(event_id, str) else None,
    }


def _without_secrets(
    value: Json, quotations: Quotations | None, opened: frozenset[Path], field: str = ""
) -> Json:
    """Return the value of a field without secret fields, and with ``""`` for texts that may quote.

    A text in an opened field may be the client's own, so it is never compared with the persona.
    """
    if type(value) is str:
        return "" if quotations is not None and quotations.are_in(value, field) else value
    if type(value) is list:
        return [_without_secrets(item, quotations, opened, field) for item in value]
    if type(value) is not dict:
        return value
    if opened:
        return _without_secrets_below(value, quotations, opened)
    return {
        key: item
        if type(item) in _NUMBERS or (type(item) is str and len(item) < CLIENT_QUOTED_CHARS)
        else _without_secrets(item, quotations, opened, key)
        for key, item in value.items()
        if key not in SECRET_FIELDS
    }


def _without_secrets_below(
    parent: Event, quotations: Quotations | None, opened: frozenset[Path]
) -> Event:
    """Return the same for an object with opened fields in it."""
    shown: Event = {}
    for key, item in parent.items():
        if key in SECRET_FIELDS:
            continue
        if (key,) in opened:
            shown[key] = _without_secrets(item, None, frozenset(), key)
        else:
            below = frozenset(path[1:] for path in opened if path[0] == key)
            shown[key] = _without_secrets(item, quotations, below, key)
    return shown


def api_name(value: Json) -> str | None:
    """Return a name of the API; None for anything that could be a sentence."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None
