"""Drives a session message by message, and returns the commands in a readable form.

``to_upstream(type="response.create")`` is an event for the upstream, and ``Refusal`` is an error
of the relay for the client.
"""

import json
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from relay.core.commands import Command, Record, Send, Side
from relay.core.events import Event
from relay.core.policy import Policy
from relay.core.pricing import Prices
from relay.core.quotations import PersonaWords
from relay.core.reports import Report
from relay.core.session import Session
from relay.core.terms import Billing, SessionLimits, Terms
from relay.dialects import translated
from relay.dialects.beta.events import unflattened
from relay.dialects.translated import GA, Dialect

INSTRUCTIONS = "PLANTED-A PLANTED-B PLANTED-C PLANTED-D PLANTED-E"
"""The persona's words. Every part of them that is long enough to reveal them contains PLANTED."""

PERSONA: Event = {
    "type": "realtime",
    "object": "realtime.session",
    "id": "sess_of_the_upstream",
    "model": "gpt-realtime-2.1",
    "expires_at": 9000,
    "instructions": INSTRUCTIONS,
    "tools": [{"type": "function", "name": "hours", "description": "PLANTED-TOOL"}],
    "tool_choice": {"type": "function", "name": "PLANTED-CHOICE"},
    "prompt": {"id": "PLANTED-PROMPT"},
    "tracing": {"workflow_name": "PLANTED-TRACE"},
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1", "prompt": "PLANTED", "keywords": ["PLANTED"]},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
}
"""A session as the upstream confirms it."""

SHOWN: Event = PERSONA | {
    "id": "sess_1",
    "expires_at": 5000,
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "prompt": None,
    "tracing": None,
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "whisper-1"},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
    },
}
"""The same session as the client may see it."""

TERMS = Terms(
    session_id="sess_1",
    expires_at=5000,
    relay_ids="relay_unguessable_",
    policy=Policy(),
    limits=SessionLimits(
        max_session_seconds=3600,
        idle_seconds=300,
        max_blocked_events=3,
        audio_rate=2,
        audio_burst_seconds=120,
        events_per_second=200,
    ),
    billing=Billing(
        model="gpt-realtime-2.1",
        prices=Prices(),
        started_at=datetime(2026, 11, 23, 23, 59, tzinfo=UTC),
    ),
    persona_words=PersonaWords(INSTRUCTIONS),
    to_ga=unflattened,
)


def terms_with(**changes: Any) -> Terms:
    """Return the terms with changes by name, wherever in them the name is."""
    terms = TERMS
    for name, value in changes.items():
        for group in ("limits", "billing", "tools"):
            inner = getattr(terms, group)
            if name in {field.name for field in fields(inner)}:
                terms = replace(terms, **{group: replace(inner, **{name: value})})
                break
        else:
            terms = replace(terms, **{name: value})
    return terms


@dataclass(frozen=True)
class Refusal:
    """An ``error`` event of the relay for the client."""

    code: str
    event_id: str | None = None


Answer = tuple[str, Event] | Command | Refusal


def to_upstream(**event: Any) -> Answer:
    """Return an event for the upstream."""
    return "upstream", event


def to_client(**event: Any) -> Answer:
    """Return an event for the client."""
    return "client", event


@dataclass
class Play:
    """A session at the time ``now``, with the reports that it has recorded."""

    session: Session
    now: float = 0.0
    recorded: list[Report] = field(default_factory=list)

    def client(self, **event: Any) -> list[Answer]:
        """Receive an event from the client; return the commands that follow."""
        return self.receive(Side.CLIENT, json.dumps(event).encode())

    def upstream(self, **event: Any) -> list[Answer]:
        """Receive an event from the upstream; return the commands that follow."""
        return self.receive(Side.UPSTREAM, json.dumps(event).encode())

    def receive(self, side: Side, raw: bytes) -> list[Answer]:
        """Receive a message from a side; return the commands that follow."""
        commands = self.session.receive(side, raw, self.now)
        self.recorded += [command.report for command in commands if isinstance(command, Record)]
        return [_readable(command) for command in commands if not isinstance(command, Record)]


def start(
    policy: Policy | None = None,
    *,
    session: Event = PERSONA,
    client: Dialect = GA,
    upstream: Dialect = GA,
    **terms: Any,
) -> Play:
    """Start a session at second 0."""
    changed = terms_with(policy=policy or Policy(), **terms)
    return Play(translated.start(changed, session, now=0.0, client=client, upstream=upstream))


def _readable(command: Command) -> Answer:
    if not isinstance(command, Send):
        return command
    event = json.loads(command.message)
    if event["type"] == "error" and str(event["event_id"]).startswith("relay_"):
        return Refusal(event["error"]["code"], event["error"]["event_id"])
    return command.to.value, event
