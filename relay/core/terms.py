"""The terms of a session: the persona, the limits and the prices, as they are when it begins."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from relay.core.commands import Side
from relay.core.events import Event
from relay.core.policy import Policy
from relay.core.pricing import Prices


def unchanged(event: Event) -> Event:
    """Return the event."""
    return event


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a session.

    Attributes:
        session_id: the relay's id of it.
        policy: what the persona opens to the client.
        max_session_seconds: how long it may last.
        idle_seconds: how long nobody may speak.
        max_blocked_events: refused events beyond this end it.
        expires_at: when it expires, in epoch seconds, as the client is told.
        relay_ids: what the ids of the relay's own events at the upstream start with; the client
            cannot guess it, so no event of its own is taken for one of ours.
        model: what the responses are billed as.
        transcriber: the model that transcribes, if one does and the upstream does not say.
        prices: what things cost.
        started_at: when it began, in UTC.
        audio_rate: seconds of audio a second that the client may send.
        audio_burst_seconds: what of it may come at once.
        events_per_second: events that it may send.
        served: names of the tools that the server runs.
        delegated: names of the tools that the client runs; None: it may bring its own.
        announced: names of the tools that a client may be told of when they run.
        follow_up: fields of the ``response.create`` that follows the outputs of tools.
        persona_words: what no error message may quote.
        announces: the client wants the relay's own events too.
        greeting: the first response is asked for when the client is in; None: it is not.
        binary_audio: the sides whose binary messages are audio; of any other they are refused.
        to_ga: rewrites a client event that has a shape of another interface.
    """

    session_id: str
    policy: Policy
    max_session_seconds: float
    idle_seconds: float
    max_blocked_events: int
    expires_at: int
    relay_ids: str
    model: str
    prices: Prices
    started_at: datetime
    audio_rate: float
    audio_burst_seconds: float
    events_per_second: float
    served: frozenset[str] = frozenset()
    delegated: frozenset[str] | None = None
    announced: frozenset[str] = frozenset()
    follow_up: Event = field(default_factory=dict)
    persona_words: tuple[str, ...] = ()
    announces: bool = False
    greeting: Event | None = None
    binary_audio: frozenset[Side] = frozenset()
    transcriber: str | None = None
    to_ga: Callable[[Event], Event] = unchanged
