"""The function calls of one session: who runs them, what came of them, who asks for the answer.

A model calls tools in a response and then waits. So each call gets exactly one output, and when a
response is done and all its calls have one, somebody must ask for the next. That is a debt, and it
is paid once:

- The relay asks when nothing else goes on: no response is being made, and the user is not speaking,
  since a turn of theirs brings a response of its own. A turn that ends while a response is being
  made may bring none: the server says so, in an error that names no event, and the relay asks.
- Whichever response begins after the outputs are in the conversation has seen them, and the debt
  is paid, whoever asked. The server's own order of events tells: it shows an item when it is in.
- When a response that began earlier is in the way (``conversation_already_has_active_response``),
  the relay asks again once that is done.

Calls that both sides are to answer, in one response, wait for both. The client does not know that
and asks for a response after its own outputs, so that one ``response.create`` is taken as the
relay's: it is held until everything is there, or dropped when the relay has asked already.

A tool that has begun may have taken effect, and nobody can take that back. So what was called by a
response that was cancelled or has failed runs to its end, and its output is recorded: else the
model would call again, or deny what was done. But nobody is made to speak of it, because the user
or the client has just said stop. A call that was cut off before its arguments were complete is not
run, and gets an output that says so: a call without one keeps the model waiting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

from relay.core.commands import CallTool, Send, Side
from relay.core.events import Event, Json, encode
from relay.core.unseen import Unseen

SILENT = frozenset({"cancelled", "failed"})
"""How a response ends of which nobody is made to speak."""

CUT_OFF: Final = '{"error":"The call was cut off before it was complete, so it was not run."}'

ALREADY_ACTIVE: Final = "conversation_already_has_active_response"


CallCommand = Send | CallTool
CallCommands = tuple[CallCommand, ...]
_NOTHING: CallCommands = ()


@dataclass(slots=True)
class _Response:
    """A response that called tools.

    Attributes:
        ours: the calls that the server runs, and whether they have their outputs.
        theirs: the calls that the client runs, and whether they have their outputs.
        begun: the calls of ours that were complete, and so are run.
        status: how it ended; None while it goes on.
        client_asked: the client has asked for the response that follows.
    """

    ours: dict[str, bool] = field(default_factory=dict)
    theirs: dict[str, bool] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    status: str | None = None
    client_asked: bool = False

    @property
    def client_will_ask(self) -> bool:
        """Whether the client has done its part, and is about to ask for what follows."""
        done = bool(self.ours and self.theirs) and all(self.theirs.values())
        return done and not self.client_asked and self.status not in SILENT

    @property
    def wants_answer(self) -> bool:
        """Whether a response is to follow."""
        return bool(self.ours) and (self.client_asked or self.status not in SILENT)

    @property
    def is_settled(self) -> bool:
        """Whether it is done and no output is missing that anybody waits for."""
        if self.status is None or not all(self.ours.values()):
            return False
        return self.status in SILENT or all(self.theirs.values())


@dataclass(frozen=True, slots=True)
class _Asked:
    """A ``response.create`` of ours, and the outputs that the next response is to see."""

    event_id: str
    outputs: frozenset[str]


class Calls:
    """Decides what follows from the calls in a session: tools to run, events to send."""

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
            relay_ids: what the ids of the relay's own events start with.
            served: names of the tools that the server runs.
            delegated: names of the tools that the client runs; None: it may bring its own.
            follow_up: fields of the ``response.create`` that follows outputs.
        """
        self._unseen = Unseen(served=served, delegated=delegated)
        self._relay_ids = relay_ids
        self._follow_up = dict(follow_up or {})
        self._made = 0
        self._responses: dict[str, _Response] = {}
        self._running: dict[str, str] = {}
        self._on_their_way: dict[str, str] = {}  # outputs: event id -> call id
        self._owed: set[str] = set()  # outputs that a response is to see
        self._asked: _Asked | None = None
        self._is_asking = False
        self._active: set[str] = set()
        self._asides: set[str] = set()
        self._client_asks_aside = False
        self._client_will_ask = False
        self._client_fields: Event = {}
        self._user_speaks = False
        self._user_has_turn = False  # until it is answered, or cannot be

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the tools that are running."""
        return tuple(self._running.values())

    def show(self, event: Event) -> Event | None:
        """Return what the client is to see of a server event: itself, less of it, or nothing."""
        return self._unseen.show(event)

    def hear(self, event: Event) -> CallCommands:
        """Decide what follows from a server event, once it has been shown."""
        react = self._reactions.get(str(event.get("type")))
        return _NOTHING if react is None else react(self, event)

    def forward(self, event: Event) -> CallCommands:
        """Take a client event on to the upstream, with what follows from it."""
        sent = Send(Side.UPSTREAM, encode(event))
        match event:
            case {"type": "response.create", "response": {"conversation": "none"}}:
                self._client_asks_aside = True
            case {"type": "response.create"} if self._is_asked_already(event):
                return _NOTHING
            case {"item": {"type": "function_call_output", "call_id": str(call_id)}}:
                return (sent, *self._client_answered(call_id))
        return (sent,)

    def finish(self, call_id: str, output: str) -> CallCommands:
        """Take in what a tool has put out; does nothing for a call that nobody waits for."""
        if self._running.pop(call_id, None) is None:
            return _NOTHING
        response_id = next(id_ for id_, made in self._responses.items() if call_id in made.ours)
        return (self._answer(response_id, call_id, output), *self._settle(response_id))

    # What the upstream says.

    def _on_response_created(self, event: Event) -> CallCommands:
        response = _object(event, "response")
        response_id = str(response.get("id"))
        if self._is_aside(response):
            self._asides.add(response_id)
            return _NOTHING
        self._active.add(response_id)
        self._is_asking = False
        self._user_has_turn = self._user_speaks
        self._client_fields = {}
        missed = frozenset(self._on_their_way.values())
        self._owed &= missed
        if self._asked is not None:
            self._asked = _Asked(self._asked.event_id, self._asked.outputs & missed)
        return _NOTHING

    def _is_aside(self, response: Event) -> bool:
        """Tell whether a response is in no conversation, so that nothing can be put out to it.

        Only a client asks for those, and some servers name the conversation of no response.
        """
        return self._client_asks_aside and response.get("conversation_id", "") is None

    def _on_output_item(self, event: Event) -> CallCommands:
        response_id, item = str(event.get("response_id")), _object(event, "item")
        self._note(response_id, item)
        if event["type"] == "response.output_item.added" or item.get("status") == "incomplete":
            return _NOTHING
        return self._begin(response_id, item)

    def _note(self, response_id: str, item: Event) -> None:
        """Remember whose call it is, if it is one."""
        call_id = item.get("call_id")
        if item.get("type") != "function_call" or not isinstance(call_id, str):
            return
        elsewhere = (r for id_, r in self._responses.items() if id_ != response_id)
        if response_id in self._asides or any(call_id in (*r.ours, *r.theirs) for r in elsewhere):
            return
        response = self._responses.setdefault(response_id, _Response())
        calls = response.ours if self._unseen.serves(item) else response.theirs
        calls.setdefault(call_id, False)

    def _begin(self, response_id: str, item: Event) -> CallCommands:
        """Run a call that is complete, unless that has been done."""
        call_id, response = str(item.get("call_id")), self._responses.get(response_id)
        if response is None or call_id not in response.ours or call_id in response.begun:
            return _NOTHING
        response.begun.add(call_id)
        name, arguments = (str(item.get(key) or "") for key in ("name", "arguments"))
        self._running[call_id] = name
        return (CallTool(call_id, name, arguments),)

    def _on_response_done(self, event: Event) -> CallCommands:
        response = _object(event, "response")
        response_id, status = str(response.get("id")), str(response.get("status"))
        self._client_will_ask = self._is_asking = False
        begun = self._read_output(response_id, status, response.get("output"))
        self._active.discard(response_id)
        self._asides.discard(response_id)
        called = self._responses.get(response_id)
        if called is None or not called.ours:
            self._responses.pop(response_id, None)
            return self._ask()
        called.status = status
        cut = [call_id for call_id in called.ours if call_id not in called.begun]
        outputs = [self._answer(response_id, call_id, CUT_OFF) for call_id in cut]
        return (*begun, *outputs, *self._settle(response_id))

    def _read_output(self, response_id: str, status: str, output: Json) -> CallCommands:
        """Run the calls that no other event has shown complete."""
        commands: list[CallCommand] = []
        for item in output if isinstance(output, list) else ():
            if isinstance(item, dict):
                self._note(response_id, item)
                complete = status not in SILENT and item.get("status") != "incomplete"
                commands += self._begin(response_id, item) if complete else ()
        return tuple(commands)

    def _on_item(self, event: Event) -> CallCommands:
        """See an output of ours arrive."""
        item = _object(event, "item")
        if item.get("type") == "function_call_output":
            call_id = item.get("call_id")
            arrived = [sent for sent, call in self._on_their_way.items() if call == call_id]
            for event_id in arrived:
                del self._on_their_way[event_id]
        return _NOTHING

    def _on_error(self, event: Event) -> CallCommands:
        """Take back what an event of ours was to do, if the upstream has refused it."""
        error = _object(event, "error")
        is_in_the_way = error.get("code") == ALREADY_ACTIVE
        if is_in_the_way and not error.get("event_id"):
            self._user_has_turn = self._user_speaks
            return _NOTHING  # what is in the way asks, when it is done
        event_id = str(error.get("event_id"))
        self._on_their_way.pop(event_id, None)
        if self._asked is None or self._asked.event_id != event_id:
            return _NOTHING
        asked, self._asked = self._asked, None
        if is_in_the_way:
            self._owed |= asked.outputs
            # In the way may be one that we do not know of: then the next to end sets us free.
            self._is_asking = not self._active
            return self._ask()
        self._is_asking = False
        return _NOTHING

    def _on_speech_started(self, _event: Event) -> CallCommands:
        self._user_speaks = self._user_has_turn = True
        return _NOTHING

    def _on_speech_ended(self, _event: Event) -> CallCommands:
        self._user_speaks = False
        return _NOTHING

    def _on_input_cleared(self, _event: Event) -> CallCommands:
        self._user_speaks = self._user_has_turn = False
        return self._ask()

    # What the client says.

    def _client_answered(self, call_id: str) -> CallCommands:
        for response_id, response in self._responses.items():
            if call_id in response.theirs:
                response.theirs[call_id] = True
                return self._settle(response_id)
        return _NOTHING

    def _is_asked_already(self, event: Event) -> bool:
        """Tell whether the client asks for the response that the relay asks for."""
        if self._client_will_ask:
            self._client_will_ask = False
            self._client_fields = event.get("response") or {} if self._owed else {}
            return True
        for response in self._responses.values():
            if response.client_will_ask:
                response.client_asked = True
                self._client_fields = event.get("response") or {}
                return True
        return False

    # What the relay says.

    def _answer(self, response_id: str, call_id: str, output: str) -> Send:
        event_id = self._new_id("output")
        self._on_their_way[event_id] = call_id
        self._responses[response_id].ours[call_id] = True
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        event = {"type": "conversation.item.create", "event_id": event_id, "item": item}
        return Send(Side.UPSTREAM, encode(event))

    def _settle(self, response_id: str) -> CallCommands:
        """Owe a response to what a response has called, when nothing of it is missing."""
        response = self._responses[response_id]
        if not response.is_settled:
            return _NOTHING
        del self._responses[response_id]
        if response.wants_answer:
            self._owed |= set(response.ours)
            self._client_will_ask |= response.client_will_ask
        return self._ask()

    def _ask(self) -> CallCommands:
        """Ask for the response that is owed, unless something else goes on."""
        if not self._owed or self._is_asking or self._active or self._user_has_turn:
            return _NOTHING
        self._asked = _Asked(self._new_id("response"), frozenset(self._owed))
        self._owed.clear()
        self._is_asking = True
        event: Event = {"type": "response.create", "event_id": self._asked.event_id}
        fields = self._follow_up | self._client_fields
        return (Send(Side.UPSTREAM, encode(event | ({"response": fields} if fields else {}))),)

    def _new_id(self, kind: str) -> str:
        self._made += 1
        return f"{self._relay_ids}{kind}_{self._made}"

    _reactions: ClassVar[Mapping[str, Callable[["Calls", Event], CallCommands]]] = {
        "response.created": _on_response_created,
        "response.output_item.added": _on_output_item,
        "response.output_item.done": _on_output_item,
        "response.done": _on_response_done,
        "conversation.item.added": _on_item,
        "conversation.item.created": _on_item,
        "conversation.item.done": _on_item,
        "input_audio_buffer.speech_started": _on_speech_started,
        "input_audio_buffer.speech_stopped": _on_speech_ended,
        "input_audio_buffer.committed": _on_speech_ended,
        "input_audio_buffer.cleared": _on_input_cleared,
        "error": _on_error,
    }


def _object(event: Mapping[str, Json], name: str) -> Event:
    value = event.get(name)
    return value if isinstance(value, dict) else {}
