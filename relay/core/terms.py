"""The terms of a session: the persona, the limits and the prices at its start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from relay.core.commands import Side
from relay.core.events import Event
from relay.core.paths import Path
from relay.core.policy import Policy
from relay.core.pricing import Prices
from relay.core.quotations import NO_WORDS, PersonaWords


def unchanged(event: Event) -> Event:
    """Return the event."""
    return event


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """The limits of a session.

    Attributes:
        max_session_seconds: the session ends after this long.
        idle_seconds: a session without activity for this long ends.
        max_blocked_events: more refused events than this end the session.
        audio_rate: seconds of audio that the client may send per second.
        audio_burst_seconds: seconds of audio that the client may send at once.
        events_per_second: events that the client may send per second.
    """

    max_session_seconds: float
    idle_seconds: float
    max_blocked_events: int
    audio_rate: float
    audio_burst_seconds: float
    events_per_second: float


@dataclass(frozen=True, slots=True)
class Billing:
    """The prices of a session, and the models that they are for.

    Attributes:
        model: model name under which responses are billed.
        prices: prices of the models.
        started_at: start of the session, in UTC.
        transcriber: model name used when the upstream reports no transcription model.
        prompt_chars: length of the instructions and tools, which each response reads.
    """

    model: str
    prices: Prices
    started_at: datetime
    transcriber: str | None = None
    prompt_chars: int = 0


@dataclass(frozen=True, slots=True)
class ToolTerms:
    """The tools of a session.

    Attributes:
        served: names of the tools that the server runs.
        delegated: names of the tools that the client runs; None: it may bring its own.
        announced: names of the tools whose runs may be reported to the client.
        follow_up: fields of the ``response.create`` that follows the outputs of tools.
    """

    served: frozenset[str] = frozenset()
    delegated: frozenset[str] | None = None
    announced: frozenset[str] = frozenset()
    follow_up: Event = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a session.

    Attributes:
        session_id: the relay's id of the session.
        expires_at: end of the session in epoch seconds, as ``session.created`` states it.
        relay_ids: prefix of the ids of the relay's own events at the upstream. The client cannot
            guess it, so no event of the client is mistaken for one of the relay.
        policy: events and fields that the persona opens to the client.
        persona_words: texts of the persona that no text for the client may quote.
        closed_fields: paths of session fields that only this upstream knows. The client does not
            see them, unless the policy opens them.
        announces: whether the client has asked for the relay's own events.
        greeting: fields of the ``response.create`` that opens the session; None: none is sent.
        binary_audio: the sides whose binary messages are audio; from another side they are refused.
        to_ga: rewrites a client event that has a shape of another interface.
    """

    session_id: str
    expires_at: int
    relay_ids: str
    policy: Policy
    limits: SessionLimits
    billing: Billing
    tools: ToolTerms = field(default_factory=ToolTerms)
    persona_words: PersonaWords = NO_WORDS
    closed_fields: frozenset[Path] = frozenset()
    announces: bool = False
    greeting: Event | None = None
    binary_audio: frozenset[Side] = frozenset()
    to_ga: Callable[[Event], Event] = unchanged
