"""The parts of a session that both of its directions use."""

from dataclasses import dataclass, field

from relay.core.activity import Activity
from relay.core.client_messages import ClientMessages
from relay.core.confirmed_session import Confirmed
from relay.core.conversation import Conversation
from relay.core.counts import Counts
from relay.core.events import Event
from relay.core.first_audio import FirstAudio
from relay.core.meter import Meter
from relay.core.terms import Terms
from relay.core.tool_calls import Calls


@dataclass(frozen=True, slots=True)
class SessionState:
    """The shared parts of one session.

    Attributes:
        messages: writes the relay's own events for the client.
    """

    terms: Terms
    confirmed: Confirmed
    activity: Activity
    calls: Calls
    meter: Meter
    messages: ClientMessages
    counts: Counts
    conversation: Conversation = field(default_factory=Conversation)
    first_audio: FirstAudio = field(default_factory=FirstAudio)

    @classmethod
    def start(cls, terms: Terms, session: Event, *, now: float) -> "SessionState":
        """Start with the session object that the upstream confirmed."""
        confirmed, counts = Confirmed(terms, session), Counts()
        return cls(
            terms=terms,
            confirmed=confirmed,
            activity=Activity(
                max_session_seconds=terms.limits.max_session_seconds,
                idle_seconds=terms.limits.idle_seconds,
                now=now,
            ),
            calls=Calls(
                relay_ids=terms.relay_ids,
                served=terms.tools.served,
                delegated=terms.tools.delegated,
                follow_up=terms.tools.follow_up,
            ),
            meter=Meter(terms, confirmed, counts, now=now),
            messages=ClientMessages(terms),
            counts=counts,
        )

    def request_response(self, now: float) -> None:
        """Note that an answer is awaited: the next response, not one that goes on already."""
        self.first_audio.requested(now, responding=bool(self.meter.underway))
