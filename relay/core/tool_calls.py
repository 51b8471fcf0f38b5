"""The function calls of one session: which side runs them, their outputs, the answer to them.

A model calls tools in a response and then waits. Each call gets exactly one output. When a response
is done and all its calls have their outputs, one side must request the next response. The relay
does so once for all outputs (`follow_up.py`):

- The relay requests it when nothing else goes on: no response is being made, and the turn is not
  the user's (`turn.py`), because a turn brings a response of its own. A turn that ends while a
  response is being made may bring none. The server then reports an error that names no event, and
  the relay requests the response.
- When a response that began earlier is in the way (``conversation_already_has_active_response``),
  the relay requests again after the end of that response.

A response may call tools of the server and tools of the client. The next response then waits for
the outputs of both. The client does not know this and sends a ``response.create`` after its own
outputs. The relay takes that event as its own request: it holds the event until all outputs are
there, or drops it if the request was sent already.

A tool that has begun may have taken effect, and nothing can undo that. A call of a response that
was cancelled or has failed therefore runs to its end, and its output enters the conversation;
otherwise the model would call again, or deny the effect. The relay requests no response to it,
because the user or the client has just stopped one. A call that was cut off before its arguments
were complete is not run and gets an output that says so: without an output the model would wait.
"""

from collections.abc import Callable, Mapping
from typing import Final

from relay.core.calling_response import STOPPED, CallingResponse
from relay.core.commands import CallTool, Send, Side
from relay.core.events import Event, Json, encode
from relay.core.follow_up import FollowUp
from relay.core.hidden_items import Unseen
from relay.core.ids import EventIds
from relay.core.objects import object_or_empty
from relay.core.requests import ALREADY_ACTIVE
from relay.core.states import step
from relay.core.turn import TURNS, Turn, TurnEvent

CUT_OFF: Final = '{"error":"The call was cut off before it was complete, so it was not run."}'

CallCommand = Send | CallTool
CallCommands = tuple[CallCommand, ...]
_NOTHING: CallCommands = ()


class Calls:
    """Decides on the calls of a session: tools to run, events to send."""

    def __init__(
        self,
        *,
        relay_ids: str,
        served: frozenset[str],
        delegated: frozenset[str] | None = None,
        follow_up: Mapping[str, Json] | None = None,
    ) -> None:
        """Start without a call.

        Args:
            relay_ids: the start of the ids of the relay's own events.
            served: names of the tools that the server runs.
            delegated: names of the tools that the client runs; None: it may bring its own.
            follow_up: fields of the ``response.create`` that follows outputs.
        """
        self._unseen = Unseen(served=served, delegated=delegated)
        self._follow_up = FollowUp(EventIds(relay_ids), follow_up or {})
        self._turn = Turn.SILENT
        self._responses: dict[str, CallingResponse] = {}
        self._running: dict[str, str] = {}  # call id -> name
        self._active: set[str] = set()
        self._asides: set[str] = set()
        self._client_asks_aside = False

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the tools that are running."""
        return tuple(self._running.values())

    @property
    def requested(self) -> str | None:
        """The id of the relay's ``response.create`` without an answer; None without one."""
        return self._follow_up.requested

    def receive(self, event: Event) -> tuple[Event | None, CallCommands]:
        """Return the part of a server event that the client sees, and the commands that follow.

        The first is the event itself, an event without its hidden parts, or None.
        """
        shown = self._unseen.show(event)
        react = _REACTIONS.get(str(event.get("type")))
        return shown, _NOTHING if react is None else react(self, event)

    def forward(self, event: Event) -> CallCommands:
        """Send a client event to the upstream, with the commands that follow."""
        sent = Send(Side.UPSTREAM, encode(event))
        match event:
            case {"type": "response.create", "response": {"conversation": "none"}}:
                self._client_asks_aside = True
            case {"type": "response.create"} if self._takes_request(event):
                return _NOTHING
            case {"item": {"type": "function_call_output", "call_id": str(call_id)}}:
                return (sent, *self._client_answered(call_id))
        return (sent,)

    def finish(self, call_id: str, output: str) -> CallCommands:
        """Take the output of a tool; do nothing for a call that is not running."""
        if self._running.pop(call_id, None) is None:
            return _NOTHING
        response_id = next(id_ for id_, made in self._responses.items() if call_id in made.ours)
        return (self._answer(response_id, call_id, output), *self._settle(response_id))

    # Events of the upstream.

    def _on_response_created(self, event: Event) -> CallCommands:
        response = object_or_empty(event, "response")
        response_id = str(response.get("id"))
        if self._is_aside(response):
            self._asides.add(response_id)
            return _NOTHING
        self._active.add(response_id)
        self._take_turn(TurnEvent.ANSWERED)
        self._follow_up.began()
        return _NOTHING

    def _is_aside(self, response: Event) -> bool:
        """Return whether a response is in no conversation, so that no output can reach it.

        Only a client asks for such a response, and some servers never name the conversation.
        """
        return self._client_asks_aside and response.get("conversation_id", "") is None

    def _on_output_item(self, event: Event) -> CallCommands:
        response_id, item = str(event.get("response_id")), object_or_empty(event, "item")
        self._note(response_id, item)
        if event["type"] == "response.output_item.added" or item.get("status") == "incomplete":
            return _NOTHING
        return self._begin(response_id, item)

    def _note(self, response_id: str, item: Event) -> None:
        """Remember the side that runs a call, if the item is one."""
        call_id = item.get("call_id")
        if item.get("type") != "function_call" or not isinstance(call_id, str):
            return
        elsewhere = (r for id_, r in self._responses.items() if id_ != response_id)
        if response_id in self._asides or any(
            call_id in r.ours or call_id in r.theirs for r in elsewhere
        ):
            return
        response = self._responses.setdefault(response_id, CallingResponse())
        calls = response.ours if self._unseen.serves(item) else response.theirs
        calls.setdefault(call_id, False)

    def _begin(self, response_id: str, item: Event) -> CallCommands:
        """Run a complete call of ours once."""
        call_id, response = str(item.get("call_id")), self._responses.get(response_id)
        if response is None or call_id not in response.ours or call_id in response.begun:
            return _NOTHING
        response.begun.add(call_id)
        name, arguments = (str(item.get(key) or "") for key in ("name", "arguments"))
        self._running[call_id] = name
        return (CallTool(call_id, name, arguments),)

    def _on_response_done(self, event: Event) -> CallCommands:
        response = object_or_empty(event, "response")
        response_id, status = str(response.get("id")), str(response.get("status"))
        self._follow_up.ended()
        begun = self._read_output(response_id, status, response.get("output"))
        self._active.discard(response_id)
        self._asides.discard(response_id)
        called = self._responses.get(response_id)
        if called is None or not called.ours:
            self._responses.pop(response_id, None)
            return self._request()
        called.status = status
        cut = [call_id for call_id in called.ours if call_id not in called.begun]
        outputs = [self._answer(response_id, call_id, CUT_OFF) for call_id in cut]
        return (*begun, *outputs, *self._settle(response_id))

    def _read_output(self, response_id: str, status: str, output: Json) -> CallCommands:
        """Run the calls that no earlier event has shown complete."""
        commands: list[CallCommand] = []
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict):
                self._note(response_id, item)
                complete = status not in STOPPED and item.get("status") != "incomplete"
                commands += self._begin(response_id, item) if complete else ()
        return tuple(commands)

    def _on_item(self, event: Event) -> CallCommands:
        """Note that an output is in the conversation."""
        item = object_or_empty(event, "item")
        if item.get("type") == "function_call_output":
            self._follow_up.arrived(item.get("call_id"))
        return _NOTHING

    def _on_error(self, event: Event) -> CallCommands:
        """Note that the upstream refused an event of ours, or a response to a turn."""
        error = object_or_empty(event, "error")
        active = error.get("code") == ALREADY_ACTIVE
        if active and not error.get("event_id"):
            self._take_turn(TurnEvent.ANSWERED)  # the end of the active response requests one
        else:
            event_id = str(error.get("event_id"))
            self._follow_up.refused(event_id, active=active, known=bool(self._active))
        return _NOTHING

    def _on_speech_started(self, _event: Event) -> CallCommands:
        self._take_turn(TurnEvent.STARTED)
        return _NOTHING

    def _on_speech_ended(self, _event: Event) -> CallCommands:
        self._take_turn(TurnEvent.ENDED)
        return _NOTHING

    def _on_input_cleared(self, _event: Event) -> CallCommands:
        self._take_turn(TurnEvent.CLEARED)
        return self._request()

    def _take_turn(self, event: TurnEvent) -> None:
        self._turn = step("user", TURNS, self._turn, event)

    # Events of the client.

    def _client_answered(self, call_id: str) -> CallCommands:
        for response_id, response in self._responses.items():
            if call_id in response.theirs:
                response.theirs[call_id] = True
                return self._settle(response_id)
        return _NOTHING

    def _takes_request(self, event: Event) -> bool:
        """Return whether the client asks for the response that the relay requests."""
        if self._follow_up.take_client_request(event):
            return True
        for response in self._responses.values():
            if response.client_will_ask:
                response.client_asked = True
                self._follow_up.use_fields(event)
                return True
        return False

    # Events of the relay.

    def _answer(self, response_id: str, call_id: str, output: str) -> Send:
        self._responses[response_id].ours[call_id] = True
        return self._follow_up.output(call_id, output)

    def _settle(self, response_id: str) -> CallCommands:
        """Owe an answer to the calls of a response, when all their outputs are there."""
        response = self._responses[response_id]
        if not response.is_settled:
            return _NOTHING
        del self._responses[response_id]
        if response.wants_answer:
            self._follow_up.owe(response.ours, client_will_ask=response.client_will_ask)
        return self._request()

    def _request(self) -> CallCommands:
        """Request the response that is owed, unless something else goes on."""
        if self._active or self._turn is not Turn.SILENT or not self._follow_up.is_due:
            return _NOTHING
        return (self._follow_up.request(),)


_REACTIONS: Final[Mapping[str, Callable[[Calls, Event], CallCommands]]] = {
    "response.created": Calls._on_response_created,
    "response.output_item.added": Calls._on_output_item,
    "response.output_item.done": Calls._on_output_item,
    "response.done": Calls._on_response_done,
    "conversation.item.added": Calls._on_item,
    "conversation.item.created": Calls._on_item,
    "conversation.item.done": Calls._on_item,
    "input_audio_buffer.speech_started": Calls._on_speech_started,
    "input_audio_buffer.speech_stopped": Calls._on_speech_ended,
    "input_audio_buffer.committed": Calls._on_speech_ended,
    "input_audio_buffer.cleared": Calls._on_input_cleared,
    "error": Calls._on_error,
}
