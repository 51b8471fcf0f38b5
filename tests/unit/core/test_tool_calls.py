"""Calls of tools: which side runs them, their outputs, and the request of the next response."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relay.core.commands import CallTool, Send
from relay.core.events import Event
from relay.core.tool_calls import CUT_OFF, CallCommands, Calls

OURS, THEIRS = "look_up", "show_map"
RELAY_IDS = "relay_x_"


def make(**options: Any) -> Calls:
    """Return the calls of a session with one tool on each side."""
    names = {"served": frozenset({OURS}), "delegated": frozenset({THEIRS})}
    return Calls(relay_ids=RELAY_IDS, **(names | options))


def created(response_id: str = "resp_1", **fields: Any) -> Event:
    response = {"id": response_id, "conversation_id": "conv_1", "output": [], **fields}
    return {"type": "response.created", "response": response}


def call(call_id: str, name: str = OURS, **fields: Any) -> Event:
    item = {"type": "function_call", "id": f"item_{call_id}", "call_id": call_id, "name": name}
    return {**item, "arguments": "{}", "status": "completed", **fields}


def item_done(item: Event, response_id: str = "resp_1") -> Event:
    return {"type": "response.output_item.done", "response_id": response_id, "item": item}


def item_added(item: Event, response_id: str = "resp_1") -> Event:
    return {"type": "response.output_item.added", "response_id": response_id, "item": item}


def done(response_id: str = "resp_1", *output: Event, status: str = "completed") -> Event:
    response = {"id": response_id, "status": status, "output": list(output)}
    return {"type": "response.done", "response": response}


def arrived(call_id: str) -> Event:
    item = {"type": "function_call_output", "id": f"item_{call_id}_o", "call_id": call_id}
    return {"type": "conversation.item.added", "item": item}


def answer(call_id: str) -> Event:
    """Return the event with which a client answers its call."""
    item = {"type": "function_call_output", "call_id": call_id, "output": "done"}
    return {"type": "conversation.item.create", "item": item}


def buffer(suffix: str) -> Event:
    return {"type": f"input_audio_buffer.{suffix}", "item_id": "item_u"}


def active_error(event_id: str | None) -> Event:
    """Return the refusal of a second response; None: the end of a turn requested it."""
    code = "conversation_already_has_active_response"
    return {"type": "error", "error": {"code": code, "event_id": event_id}}


def receive(calls: Calls, *events: Event) -> list[Any]:
    """Receive server events; return all commands that follow, decoded."""
    commands: list[Any] = []
    for event in events:
        commands += decoded(calls.receive(event)[1])
    return commands


def decoded(commands: CallCommands) -> list[Any]:
    return [json.loads(c.message) if isinstance(c, Send) else c for c in commands]


def output(call_id: str, text: str, number: int = 1) -> Event:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    event_id = f"{RELAY_IDS}output_{number}"
    return {"type": "conversation.item.create", "event_id": event_id, "item": item}


def follow_up(number: int, **fields: Any) -> Event:
    return {"type": "response.create", "event_id": f"{RELAY_IDS}response_{number}", **fields}


def test_a_call_runs_once_and_only_with_complete_arguments() -> None:
    calls = make()

    assert receive(calls, created(), item_added(call("c1", arguments=""))) == []
    assert receive(calls, item_done(call("c1", arguments='{"a":1}'))) == [
        CallTool("c1", OURS, '{"a":1}')
    ]
    assert receive(calls, item_done(call("c1"))) == []
    assert calls.running == (OURS,)


def test_the_follow_up_waits_for_the_response_and_for_all_its_tools() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2")))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert receive(calls, done()) == []
    assert decoded(calls.finish("c2", "two")) == [output("c2", "two", 2), follow_up(3)]
    assert calls.running == ()


def test_after_a_fast_tool_the_follow_up_waits_for_the_response() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert receive(calls, done()) == [follow_up(2)]


def test_the_follow_up_has_its_configured_fields() -> None:
    calls = make(follow_up={"tool_choice": "auto"})
    receive(calls, created(), item_done(call("c1")), done())

    assert decoded(calls.finish("c1", "one"))[1] == follow_up(2, response={"tool_choice": "auto"})


def test_an_output_of_an_unknown_call_is_dropped() -> None:
    assert make().finish("c1", "late") == ()


def test_a_call_that_only_the_end_of_the_response_contains_is_run() -> None:
    calls = make()

    assert receive(calls, created(), done("resp_1", call("c1"))) == [CallTool("c1", OURS, "{}")]
    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), follow_up(2)]


def test_the_relay_does_not_run_a_call_of_the_clients_tool() -> None:
    calls = make()

    assert receive(calls, created(), item_done(call("c1", THEIRS)), done()) == []
    assert decoded(calls.forward(answer("c1"))) == [answer("c1")]
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_the_relay_runs_a_call_of_an_unknown_tool_so_that_it_is_answered() -> None:
    assert receive(make(), created(), item_done(call("c1", "made_up"))) == [
        CallTool("c1", "made_up", "{}")
    ]


def test_an_unknown_tool_belongs_to_a_client_that_may_bring_tools() -> None:
    assert receive(make(delegated=None), created(), item_done(call("c1", "made_up"))) == []


def test_without_tools_of_the_server_every_call_belongs_to_the_client() -> None:
    calls = make(served=frozenset())
    nameless = item_added({"type": "function_call", "id": "item_1", "call_id": "c1"})

    assert calls.receive(nameless)[0] is nameless
    assert receive(calls, created(), item_done(call("c1", "made_up")), done()) == []


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_the_output_of_a_call_of_a_stopped_response_is_sent_without_a_follow_up(
    status: str,
) -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")))

    assert receive(calls, done(status=status)) == []
    assert decoded(calls.finish("c1", "booked")) == [output("c1", "booked")]


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_a_call_that_was_cut_off_is_answered_without_a_run(status: str) -> None:
    calls = make()
    cut = call("c1", arguments='{"a', status="incomplete")
    receive(calls, created(), item_added(call("c1", arguments="")))

    commands = receive(calls, item_done(cut), done("resp_1", cut, status=status))

    assert commands[0] == output("c1", CUT_OFF)
    assert commands[1:] == ([follow_up(2)] if status == "incomplete" else [])


def test_a_call_that_a_cancelled_response_only_lists_is_not_run() -> None:
    commands = receive(make(), created(), done("resp_1", call("c1"), status="cancelled"))

    assert commands == [output("c1", CUT_OFF)]


def test_the_relay_requests_nothing_while_the_user_speaks_and_the_turn_brings_a_response() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done(), buffer("speech_started"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert receive(calls, arrived("c1"), buffer("speech_stopped"), buffer("committed")) == []
    assert receive(calls, created("resp_2"), done("resp_2")) == []


def test_the_relay_requests_a_response_after_a_cleared_turn() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done(), buffer("speech_started"))
    calls.finish("c1", "one")

    assert receive(calls, buffer("cleared")) == [follow_up(2)]


def test_the_relay_requests_a_response_after_a_turn_whose_own_request_was_refused() -> None:
    calls = make()
    receive(calls, buffer("speech_started"), created(), item_done(call("c1")))
    receive(calls, buffer("speech_stopped"), buffer("committed"), active_error(None), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), follow_up(2)]


def test_the_relay_waits_for_a_turn_that_began_before_the_refusal_of_another() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), buffer("speech_started"))
    receive(calls, active_error(None), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert receive(calls, arrived("c1"), buffer("speech_stopped"), created("resp_2")) == []


def test_a_response_that_began_before_the_output_arrived_is_followed_by_another() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done(), created("resp_2"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert receive(calls, arrived("c1"), done("resp_2")) == [follow_up(2)]


def test_a_competing_response_without_the_output_is_followed_by_another() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    commands = receive(calls, created("resp_2"), arrived("c1"), active_error(asked["event_id"]))

    assert commands == []
    assert receive(calls, done("resp_2")) == [follow_up(3)]


def test_a_competing_response_with_the_output_is_followed_by_none() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    commands = receive(calls, arrived("c1"), created("resp_2"), active_error(asked["event_id"]))

    assert commands == []
    assert receive(calls, done("resp_2")) == []


def test_the_follow_up_waits_for_a_competing_response_without_a_created_event() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    assert receive(calls, active_error(asked["event_id"])) == []
    assert receive(calls, done("resp_9")) == [follow_up(3)]


def test_a_follow_up_that_was_refused_for_another_reason_is_not_repeated() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    error = {"type": "error", "error": {"code": "server_error", "event_id": asked["event_id"]}}

    assert receive(calls, error, done("resp_9")) == []
    assert receive(calls, created("resp_2"), item_done(call("c2"), "resp_2"), done("resp_2"))
    assert decoded(calls.finish("c2", "two"))[1] == follow_up(4)


def test_a_refused_output_counts_as_arrived() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done(), buffer("speech_started"))
    [sent] = decoded(calls.finish("c1", "one"))
    refused = {"type": "error", "error": {"code": "x", "event_id": sent["event_id"]}}

    assert (
        receive(calls, refused, buffer("speech_stopped"), created("resp_2"), done("resp_2")) == []
    )


def test_the_follow_up_waits_for_the_outputs_of_both_sides() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert decoded(calls.forward(answer("c2"))) == [answer("c2"), follow_up(2)]


def test_a_request_of_the_client_after_that_of_the_relay_is_not_sent() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.finish("c1", "one")
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create"}) == ()
    assert receive(calls, arrived("c1"), created("resp_2"), done("resp_2")) == []
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_a_request_of_the_client_during_our_tool_is_sent_after_the_tool() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create", "response": {"metadata": {"a": "b"}}}) == ()
    assert decoded(calls.finish("c1", "one")) == [
        output("c1", "one"),
        follow_up(2, response={"metadata": {"a": "b"}}),
    ]


def test_only_one_request_of_the_client_replaces_that_of_the_relay() -> None:
    """The second request is a new turn, which does not wait for our tool."""
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create"}) == ()
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_a_request_of_the_client_is_sent_after_the_tool_of_a_stopped_response() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)))
    calls.forward(answer("c2"))
    calls.forward({"type": "response.create"})
    receive(calls, done(status="cancelled"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), follow_up(2)]


def test_a_request_of_the_client_after_a_stopped_response_is_sent_at_once() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)))
    receive(calls, done(status="cancelled"))
    calls.forward(answer("c2"))

    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_calls_of_a_response_outside_of_the_conversation_are_not_run() -> None:
    """Their outputs would have no conversation to go to."""
    calls = make()
    aside = {"type": "response.create", "response": {"conversation": "none"}}
    assert decoded(calls.forward(aside)) == [aside]

    commands = receive(calls, created(conversation_id=None), item_done(call("c1")), done())

    assert commands == []


def test_a_response_without_a_conversation_id_counts_as_part_of_the_conversation() -> None:
    commands = receive(make(), created(conversation_id=None), item_done(call("c1")))

    assert commands == [CallTool("c1", OURS, "{}")]


def test_a_repeated_call_id_in_another_response_is_not_run_again() -> None:
    calls = make()
    receive(calls, created(), item_done(call("c1")), done(), created("resp_2"))

    assert receive(calls, item_done(call("c1"), "resp_2"), done("resp_2")) == []
    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), follow_up(2)]


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "response.created", "response": None},
        {"type": "response.done", "response": {"output": [None, 5, {"type": "function_call"}]}},
        item_done({"type": "function_call", "call_id": 5}),
        item_done({"type": "message"}),
        {"type": "error"},
        {"type": "conversation.item.added", "item": {"type": "message"}},
        {"type": "response.output_item.done", "item": []},
    ],
)
def test_an_event_that_does_not_conform_to_the_api_changes_nothing(event: Event) -> None:
    assert receive(make(), event) == []


# A whole conversation, with events in any order that the network allows.


@dataclass
class Response:
    """A response of the simulated upstream."""

    id: str
    seen: frozenset[str]
    by_relay: bool
    ours: list[str] = field(default_factory=list)
    theirs: list[str] = field(default_factory=list)
    status: str | None = None


@dataclass
class Peers:
    """An upstream, a client and a user around the calls of one session.

    Messages wait in ``up`` and ``down`` until a step delivers them.
    """

    calls: Calls = field(default_factory=make)
    up: deque[Event] = field(default_factory=deque)
    down: deque[Event] = field(default_factory=deque)
    responses: list[Response] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    for_client: list[str] = field(default_factory=list)
    client_owes_create: bool = False
    speaking: bool = False
    may_call: bool = True
    user_turns: int = 0
    relay_sees_active: set[str] = field(default_factory=set)

    # Steps.

    def possible(self) -> list[str]:
        """Return the names of the steps that are possible now."""
        conditions = {
            "deliver_up": self.up,
            "deliver_down": self.down,
            "call_ours": self.active,
            "call_theirs": self.active,
            "complete": self.active,
            "fail": self.active,
            "finish_tool": self.running,
            "client_answers": self.for_client,
            "client_asks": self.client_owes_create and not self.for_client,
            "speak": not self.speaking,
            "fall_silent": self.speaking,
        }
        return [action for action, condition in conditions.items() if condition]

    def deliver_up(self) -> None:
        if not self.up:
            return
        event = self.up.popleft()
        if event["type"] == "response.create":
            self._create(event)
        else:
            call_id = event["item"]["call_id"]
            self.outputs.append(call_id)
            self.down.append(arrived(call_id))

    def deliver_down(self) -> None:
        if not self.down:
            return
        event = self.down.popleft()
        if event["type"] == "response.created":
            self.relay_sees_active.add(event["response"]["id"])
        if event["type"] == "response.done":
            self.relay_sees_active.discard(event["response"]["id"])
        shown, followed = self.calls.receive(event)
        if shown is not None:
            assert OURS not in json.dumps(shown)
            self._receive_as_client(shown)
        self._perform(followed)

    def call_ours(self) -> None:
        self._call(OURS)

    def call_theirs(self) -> None:
        self._call(THEIRS)

    def complete(self) -> None:
        self._end("completed")

    def fail(self) -> None:
        self._end("failed")

    def finish_tool(self) -> None:
        if self.running:
            self._perform(self.calls.finish(self.running.pop(0), "output"))

    def client_answers(self) -> None:
        if self.for_client:
            self.client_owes_create = True
            self._perform(self.calls.forward(answer(self.for_client.pop(0))))

    def client_asks(self) -> None:
        if self.client_owes_create and not self.for_client:
            self.client_owes_create = False
            self._perform(self.calls.forward({"type": "response.create"}))

    def speak(self) -> None:
        if not self.speaking:
            self.speaking = True
            self.user_turns += 1
            self.down.append(buffer("speech_started"))
            self._end("cancelled")

    def fall_silent(self) -> None:
        if self.speaking:
            self.speaking = False
            self.down += [buffer("speech_stopped"), buffer("committed")]
            self._create({})

    # Reactions of the upstream.

    @property
    def active(self) -> Response | None:
        """The response in progress."""
        last = self.responses[-1] if self.responses else None
        return last if last and last.status is None else None

    def _create(self, event: Event) -> None:
        event_id = event.get("event_id")
        if self.active:
            self.down.append(active_error(event_id))
            return
        response = Response(
            f"resp_{len(self.responses)}", frozenset(self.outputs), by_relay=event_id is not None
        )
        self.responses.append(response)
        self.down.append(created(response.id))

    def _call(self, name: str) -> None:
        response = self.active
        if response is None or not self.may_call:
            return
        mine = response.ours if name == OURS else response.theirs
        call_id = f"call_{response.id}_{name}_{len(mine)}"
        mine.append(call_id)
        self.down.append(item_added(call(call_id, name, arguments=""), response.id))
        self.down.append(item_done(call(call_id, name), response.id))

    def _end(self, status: str) -> None:
        response = self.active
        if response is None:
            return
        response.status = status
        calls = [call(c) for c in response.ours] + [call(c, THEIRS) for c in response.theirs]
        self.down.append(done(response.id, *calls, status=status))

    def _receive_as_client(self, event: Event) -> None:
        if event["type"] == "response.done" and event["response"]["status"] == "completed":
            self.for_client += [item["call_id"] for item in event["response"]["output"]]

    def _perform(self, commands: CallCommands) -> None:
        for command in commands:
            if isinstance(command, CallTool):
                self.running.append(command.call_id)
                continue
            event = json.loads(command.message)
            if str(event.get("event_id")).startswith(f"{RELAY_IDS}response"):
                assert not self.relay_sees_active, (
                    "the relay requested a response during a response"
                )
            self.up.append(event)

    def finish(self) -> None:
        """Take all steps that finish a response, a call or a turn; begin nothing new."""
        self.may_call = False
        before = None
        while before != (before := self._state()):
            self.fall_silent()
            self.finish_tool()
            self.client_answers()
            self.complete()
            self.client_asks()
            while self.up or self.down:
                self.deliver_up()
                self.deliver_down()

    def _state(self) -> str:
        return repr((self.up, self.down, self.responses, self.running, self.for_client))


TURN_ENDS_IN_A_RESPONSE = [0, 0, 0, 141, 0, 0, 0, 1, *[0] * 12]
"""The relay requests a response just when the user begins to speak, so the turn's is refused."""

DISTURBING = frozenset({"speak", "fall_silent", "call_theirs", "fail"})
STEPS = st.lists(st.integers(0, 1000), min_size=20, max_size=80)


def play(steps: list[int], without: frozenset[str] = frozenset()) -> Peers:
    peers = Peers()
    peers._create({})
    for step in steps:
        if possible := [action for action in peers.possible() if action not in without]:
            getattr(peers, possible[step % len(possible)])()
    peers.finish()
    return peers


@given(STEPS)
@example(TURN_ENDS_IN_A_RESPONSE)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_in_any_order_each_call_has_one_output_and_each_output_a_response(
    steps: list[int],
) -> None:
    peers = play(steps)

    ours = [call_id for response in peers.responses for call_id in response.ours]
    assert sorted(c for c in peers.outputs if OURS in c) == sorted(ours)
    for response in peers.responses:
        if response.status == "completed":
            assert not response.ours or any(r.seen >= {*response.ours} for r in peers.responses)
    with_calls = [r for r in peers.responses if r.ours and r.status == "completed"]
    asked_after_a_stop = [r for r in peers.responses if r.ours and r.theirs]
    by_relay = [r for r in peers.responses if r.by_relay]
    assert len(by_relay) <= len({r.id for r in (*with_calls, *asked_after_a_stop)})


@given(STEPS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_while_the_user_is_silent_each_response_with_calls_has_exactly_one_follow_up(
    steps: list[int],
) -> None:
    peers = play(steps, without=DISTURBING)

    with_calls = [response for response in peers.responses if response.ours]
    assert len(with_calls) == len([r for r in peers.responses if r.by_relay])
    assert len(peers.responses) == 1 + len(with_calls)
