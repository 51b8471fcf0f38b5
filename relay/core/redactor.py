"""Redaction of the events of one session by their structure, whatever their type is.

An object is redacted for its name: ``session``, ``response``, ``error``. So an event with a name
that the relay does not know, of another server or a later API, shows nothing of the persona.
"""

from typing import Final

from relay.core.confirmed_session import Confirmed
from relay.core.events import Event, Json
from relay.core.redaction import (
    EMPTY_FIELDS,
    REDACTED,
    SECRET_FIELDS,
    api_name,
    redact_error,
    redact_response,
)
from relay.core.terms import Terms

CONTENTS: Final = frozenset(
    {"item", "items", "output", "part", "content", "metadata", "usage", "logprobs"}
)
"""The words of the model and the client, and numbers. The hidden items were removed before."""

SESSIONS, RESPONSES = ({name, f"{name}s"} for name in ("session", "response"))
ERRORS: Final = frozenset({"error", "errors", "warning", "warnings"})

_READ: Final = frozenset({*ERRORS, *SECRET_FIELDS, "session", "session_id", "event_id"})
"""The fields whose value may be hidden whatever its type is."""

_SESSION_OBJECTS = ("realtime.session", "realtime.transcription_session")
_FAILURES = (".error", ".failed", "warning")
_CAUSES = ("detail", "reason")


class Redactor:
    """Redacts the events of the upstream for the client."""

    __slots__ = ("_confirmed", "_terms")

    def __init__(self, terms: Terms, confirmed: Confirmed) -> None:
        self._terms = terms
        self._confirmed = confirmed

    def redact(self, event: Event) -> Event:
        """Return an event as the client may see it: the event itself if it has no hidden part."""
        changed = self._changed(event)
        if event.get("error") is not None or event["type"].endswith(_FAILURES):
            changed |= dict.fromkeys(_words(event), REDACTED)
        return event | changed if changed else event

    def _changed(self, parent: Event) -> Event:
        """Return the fields of an object that the client sees in another form."""
        changed: Event = {}
        for name, value in parent.items():
            if type(value) is dict or type(value) is list or name in _READ:
                shown = self._part(name, value)
                if shown is not value and shown != value:
                    changed[name] = shown
        return changed

    def _part(self, name: str, value: Json) -> Json:
        """Return the part of an event under a name; a part of a list has the name of the list."""
        if name in CONTENTS:
            return value
        if name in SECRET_FIELDS:
            return EMPTY_FIELDS.get(name)
        match value:
            case dict():
                return self._object(name, value)
            case list() if name in ERRORS or _has_objects(value):
                return [self._part(name, member) for member in value]
            case str() if name in ERRORS:
                return redact_error({})
            case str() if name in {"session", "session_id"}:
                return self._terms.session_id
            case str() if name == "event_id" and value.startswith(self._terms.relay_ids):
                return None
        return value

    def _object(self, name: str, value: Event) -> Event:
        if name in RESPONSES or value.get("object") == "realtime.response":
            return self.response(value)
        if name in SESSIONS or value.get("object") in _SESSION_OBJECTS or "instructions" in value:
            return self._confirmed.redact(value)
        if name in ERRORS:
            return redact_error(value | self._changed(value))
        changed = self._changed(value)
        return value | changed if changed else value

    def response(self, response: Event) -> Event:
        """Return a response object as the client may see it."""
        terms, response = self._terms, response | self._changed(response)
        opened = terms.policy.response | terms.policy.session
        return redact_response(response, terms.persona_words, opened, terms.closed_fields)


def _words(failure: Event) -> list[str]:
    """Return the names of the fields with the upstream's words about a failure."""
    causes = [name for name in _CAUSES if isinstance(failure.get(name), str)]
    words = [name for name in causes if api_name(failure[name]) is None]
    return ["message", *words] if isinstance(failure.get("message"), str) else words


def _has_objects(values: list[Json]) -> bool:
    return any(type(value) is dict or type(value) is list for value in values)
