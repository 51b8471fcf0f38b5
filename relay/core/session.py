"""One relayed conversation as a state machine: messages in, commands out.

The session owns no socket and no clock. ``now`` is an argument, in seconds of a monotonic clock,
and every method returns the commands that follow.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from relay.core.client_events import ClientEvents
from relay.core.close import SENDABLE, CloseCode
from relay.core.commands import NOTHING, CallTool, Commands, End, Record, Send, Side
from relay.core.counts import Counts
from relay.core.errors import ClientLost, InvalidEvent, MessageTooBig, RelayError, UpstreamLost
from relay.core.events import Event, encode
from relay.core.server_events import ServerEvents
from relay.core.session_state import SessionState
from relay.core.settling import Settling
from relay.core.terms import Terms

CLIENT, UPSTREAM = Side  # a member of an enumeration takes a call to be read from its class

Receiver = Callable[[bytes, float], Commands]
"""Decides on a message of one side, at a time."""


class Session:
    """Decides on each message, from the confirmed persona to the end.

    Attributes:
        counts: the counts so far, for the log, the metrics and the ledger.
        settling: the reports that are awaited after the end.
    """

    __slots__ = ("_client_events", "_server_events", "_state", "counts", "settling")

    def __init__(self, terms: Terms, confirmed: Event, *, now: float) -> None:
        """Start with the session object that the upstream confirmed."""
        self._state = SessionState.start(terms, confirmed, now=now)
        self.counts: Counts = self._state.counts
        self._client_events = ClientEvents(self._state)
        self._server_events = ServerEvents(self._state)
        self.settling = Settling(self._state)

    def open(self, now: float) -> Commands:
        """Send the confirmed session to the client; request a greeting if the persona has one."""
        session = self._state.confirmed.shown()
        created = self._state.messages.event("session.created", session=session)
        terms = self._state.terms
        if terms.greeting is None:
            return (created,)
        self._state.request_response(now)
        event_id = f"{terms.relay_ids}greeting"
        self._state.meter.requests.request(event_id)
        request = {"type": "response.create", "event_id": event_id, **terms.greeting}
        return (created, Send(UPSTREAM, encode(request)))

    def receiver(self, side: Side) -> Receiver:
        """Return the function that decides on the messages of one side."""
        return (self._client_events if side is CLIENT else self._server_events).receive

    def receive(self, side: Side, raw: bytes, now: float) -> Commands:
        """Decide on a message of one side."""
        return self.receiver(side)(raw, now)

    def closed(self, side: Side, code: int) -> Commands:
        """End the session because one side has closed with this code."""
        if side is UPSTREAM:
            return self.end(UpstreamLost(received=code), by="upstream")
        if code == CloseCode.ABNORMAL_CLOSURE:
            return self.end(ClientLost(), by="client")
        fault = _CLIENT_FAULTS.get(code)
        outcome, reason = (fault.code, fault.message) if fault else ("completed", "client closed")
        answer = code if code in SENDABLE else CloseCode.NORMAL_CLOSURE
        return (End("client", outcome, answer, CloseCode.NORMAL_CLOSURE, reason),)

    def end(self, error: RelayError, *, by: str = "relay", upstream_code: int = 1000) -> Commands:
        """End the session for an error; the client receives the error first."""
        farewell = None if error.silent else self._state.messages.error(error).message
        return (End.because(error, by=by, upstream_code=upstream_code, farewell=farewell),)

    @property
    def deadline(self) -> float:
        """The time at which ``tick`` is due, if nothing happens until then."""
        return self._state.activity.deadline

    def tick(self, now: float) -> Commands:
        """End the session if it is idle or expired."""
        error = self._state.activity.ended(now)
        return NOTHING if error is None else self.end(error)

    def tool_finished(self, call: CallTool, output: str) -> Commands:
        """Take the output of a tool."""
        followed = self._state.calls.finish(call.call_id, output)
        self._state.meter.underway.received(len(output))
        return (*followed, *self._state.messages.tool("finished", call.name))

    @property
    def running_tools(self) -> tuple[str, ...]:
        """The names of the running tools; ``other`` for a name that only the model knows."""
        served = self._state.terms.tools.served
        return tuple(name if name in served else "other" for name in self._state.calls.running)

    def exhaust_budget(self) -> Commands:
        """End the session for its budget, when the response under way was delivered."""
        return self._server_events.exhaust_budget()

    def outstanding_usd(self, now: float) -> Decimal:
        """Return the estimated cost of the usage that the upstream has not reported."""
        return self._state.meter.outstanding_usd(now)

    def settle(self, end: End, now: float) -> Commands:
        """Cancel the responses in progress after the end, whose reports are awaited."""
        return self.settling.begin(now, upstream_is_lost=end.by == "upstream")

    def record_late(self, raw: bytes, now: float) -> Commands:
        """Return the records of the usage that the upstream reports after the end."""
        return self.settling.receive(raw, now)

    def record_cut_off(self, now: float) -> Commands:
        """Return the records of the usage that the upstream will not report any more."""
        return tuple(Record(report) for report in self._state.meter.cut_off(now))


_CLIENT_FAULTS: Mapping[int, type[RelayError]] = {
    CloseCode.MESSAGE_TOO_BIG: MessageTooBig,
    CloseCode.PROTOCOL_ERROR: InvalidEvent,
    CloseCode.INVALID_DATA: InvalidEvent,
    CloseCode.POLICY_VIOLATION: InvalidEvent,
}
