"""The response that follows the outputs of tools: owed, requested, paid.

The outputs that a response must still see are owed. The relay requests one response for all of
them::

    IDLE --send--> SENT --began or ended--> IDLE
                    |
                    +--refused--> IDLE
                    +--obstructed--> OBSTRUCTED --began or ended--> IDLE

The first response that begins after the outputs are in the conversation has seen them, whichever
side requested it, and the debt is paid. The order of the upstream's events shows this: it reports
an item when the item is in the conversation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from relay.core.commands import Send, Side
from relay.core.events import Event, Json, encode
from relay.core.ids import EventIds
from relay.core.states import step


class Request(Enum):
    """The states of the relay's ``response.create``."""

    IDLE = auto()
    """No request is under way."""
    SENT = auto()
    """The request was sent, and no response has begun or ended since."""
    OBSTRUCTED = auto()
    """The request was refused because of a response that the relay does not know."""


class RequestEvent(Enum):
    """The events that change the state of the request."""

    SEND = auto()
    BEGAN = auto()
    """``response.created``."""
    ENDED = auto()
    """``response.done``."""
    REFUSED = auto()
    """An error that names the request."""
    OBSTRUCTED = auto()
    """The same, because of a response that is being made and that no event has shown."""


_ANY = {RequestEvent.BEGAN: Request.IDLE, RequestEvent.ENDED: Request.IDLE}

REQUESTS: Mapping[Request, Mapping[RequestEvent, Request]] = {
    Request.IDLE: {
        RequestEvent.SEND: Request.SENT,
        # An error may arrive after another response has begun.
        RequestEvent.REFUSED: Request.IDLE,
        RequestEvent.OBSTRUCTED: Request.OBSTRUCTED,
        **_ANY,
    },
    Request.SENT: {
        RequestEvent.REFUSED: Request.IDLE,
        RequestEvent.OBSTRUCTED: Request.OBSTRUCTED,
        **_ANY,
    },
    Request.OBSTRUCTED: _ANY,
}


@dataclass(frozen=True, slots=True)
class _Requested:
    """The last request, and the outputs that the response to it is to see."""

    event_id: str
    outputs: frozenset[str]


class FollowUp:
    """Keeps the outputs that are owed an answer, and the request for that answer.

    Attributes:
        expects_client: the client has answered its calls and is about to send a
            ``response.create``, which asks for the response that the relay requests itself.
    """

    def __init__(self, ids: EventIds, fields: Mapping[str, Json]) -> None:
        """Owe nothing; ``fields`` are those of the ``response.create`` that is requested."""
        self.expects_client = False
        self._ids = ids
        self._fields = dict(fields)
        self._client_fields: Event = {}
        self._state = Request.IDLE
        self._owed: set[str] = set()
        self._arriving: dict[str, str] = {}  # event id -> call id
        self._requested: _Requested | None = None

    def output(self, call_id: str, output: str) -> Send:
        """Return the event that puts an output into the conversation."""
        event_id = self._ids.new("output_")
        self._arriving[event_id] = call_id
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        event = {"type": "conversation.item.create", "event_id": event_id, "item": item}
        return Send(Side.UPSTREAM, encode(event))

    def arrived(self, call_id: Json) -> None:
        """Note that the output of a call is in the conversation."""
        arrived = [event_id for event_id, call in self._arriving.items() if call == call_id]
        for event_id in arrived:
            del self._arriving[event_id]

    def owe(self, outputs: Iterable[str], *, client_will_ask: bool) -> None:
        """Owe a response to these outputs."""
        self._owed |= set(outputs)
        self.expects_client |= client_will_ask

    def take_client_request(self, event: Event) -> bool:
        """Return whether a client's ``response.create`` asks for the response that is owed.

        If a response is still owed, it is requested with the client's fields.
        """
        if not self.expects_client:
            return False
        self.expects_client = False
        self._client_fields = (event.get("response") or {}) if self._owed else {}
        return True

    def use_fields(self, event: Event) -> None:
        """Request the response with the fields of the client's ``response.create``."""
        self._client_fields = event.get("response") or {}

    @property
    def is_due(self) -> bool:
        """Whether a response is owed and none is requested."""
        return bool(self._owed) and self._state is Request.IDLE

    @property
    def requested(self) -> str | None:
        """The event id of the request that is under way; None without one."""
        is_sent = self._state is Request.SENT
        return self._requested.event_id if is_sent and self._requested else None

    def request(self) -> Send:
        """Return the request for the response that is owed.

        Raises:
            IllegalStep: a request is under way.
        """
        self._state = step("follow-up", REQUESTS, self._state, RequestEvent.SEND)
        self._requested = _Requested(self._ids.new("response_"), frozenset(self._owed))
        self._owed.clear()
        event: Event = {"type": "response.create", "event_id": self._requested.event_id}
        fields = self._fields | self._client_fields
        return Send(Side.UPSTREAM, encode(event | ({"response": fields} if fields else {})))

    def began(self) -> None:
        """Note that a response has begun: it has seen all outputs that have arrived."""
        self._state = step("follow-up", REQUESTS, self._state, RequestEvent.BEGAN)
        self._client_fields = {}
        missed = frozenset(self._arriving.values())
        self._owed &= missed
        if self._requested is not None:
            requested = self._requested
            self._requested = _Requested(requested.event_id, requested.outputs & missed)

    def ended(self) -> None:
        """Note that a response is done."""
        self._state = step("follow-up", REQUESTS, self._state, RequestEvent.ENDED)
        self.expects_client = False

    def refused(self, event_id: str, *, active: bool, known: bool) -> None:
        """Note an error that names an event: an output or the request.

        Args:
            event_id: the event that the error names.
            active: the error is that a response is being made already.
            known: an event has shown that response.
        """
        self._arriving.pop(event_id, None)
        requested = self._requested
        if requested is None or requested.event_id != event_id:
            return
        self._requested = None
        if active:
            self._owed |= requested.outputs
        # Behind an unknown response, the end of any response lets the relay request again.
        refusal = RequestEvent.OBSTRUCTED if active and not known else RequestEvent.REFUSED
        self._state = step("follow-up", REQUESTS, self._state, refusal)
