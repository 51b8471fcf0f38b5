"""Who runs a call, what becomes of its output, and who asks for the next response."""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relay.core.calls import CUT_OFF, CallCommands, Calls
from relay.core.commands import CallTool, Send
from relay.core.events import Event

OURS, THEIRS = "look_up", "show_map"
RELAY_IDS = "relay_x_"


def make(**options: Any) -> Calls:
    """Return a session's calls, with one tool of each side."""
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
    """Return what a client answers its call with."""
    item = {"type": "function_call_output", "call_id": call_id, "output": "done"}
    return {"type": "conversation.item.create", "item": item}


def speech(what: str) -> Event:
    return {"type": f"input_audio_buffer.{what}", "item_id": "item_u"}


def active_error(event_id: str | None) -> Event:
    """Return how a second response is refused; None: one that the end of a turn asked for."""
    code = "conversation_already_has_active_response"
    return {"type": "error", "error": {"code": code, "event_id": event_id}}


def hear(calls: Calls, *events: Event) -> list[Any]:
    """Receive events; return all commands that follow, decoded."""
    followed: list[Any] = []
    for event in events:
        followed += decoded(calls.receive(event)[1])
    return followed


def decoded(commands: CallCommands) -> list[Any]:
    return [json.loads(c.message) if isinstance(c, Send) else c for c in commands]


def output(call_id: str, text: str, number: int = 1) -> Event:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    event_id = f"{RELAY_IDS}output_{number}"
    return {"type": "conversation.item.create", "event_id": event_id, "item": item}


def asks(number: int, **fields: Any) -> Event:
    return {"type": "response.create", "event_id": f"{RELAY_IDS}response_{number}", **fields}


def test_a_call_is_run_once_its_arguments_are_complete() -> None:
    calls = make()

    assert hear(calls, created(), item_added(call("c1", arguments=""))) == []
    assert hear(calls, item_done(call("c1", arguments='{"a":1}'))) == [
        CallTool("c1", OURS, '{"a":1}')
    ]
    assert hear(calls, item_done(call("c1"))) == []
    assert calls.running == (OURS,)


def test_the_answer_is_asked_for_after_the_end_of_the_response_and_of_all_its_tools() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2")))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert hear(calls, done()) == []
    assert decoded(calls.finish("c2", "two")) == [output("c2", "two", 2), asks(3)]
    assert calls.running == ()


def test_a_tool_that_is_faster_than_its_response_waits_for_it() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert hear(calls, done()) == [asks(2)]


def test_the_follow_up_has_the_fields_that_it_is_given() -> None:
    calls = make(follow_up={"tool_choice": "auto"})
    hear(calls, created(), item_done(call("c1")), done())

    assert decoded(calls.finish("c1", "one"))[1] == asks(2, response={"tool_choice": "auto"})


def test_an_output_of_a_call_that_nobody_waits_for_is_dropped() -> None:
    assert make().finish("c1", "late") == ()


def test_calls_are_found_in_the_end_of_the_response_when_no_other_event_has_shown_them() -> None:
    calls = make()

    assert hear(calls, created(), done("resp_1", call("c1"))) == [CallTool("c1", OURS, "{}")]
    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), asks(2)]


def test_the_clients_calls_are_left_to_the_client() -> None:
    calls = make()

    assert hear(calls, created(), item_done(call("c1", THEIRS)), done()) == []
    assert decoded(calls.forward(answer("c1"))) == [answer("c1")]
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_a_tool_that_nobody_has_is_run_so_that_the_call_is_answered() -> None:
    assert hear(make(), created(), item_done(call("c1", "made_up"))) == [
        CallTool("c1", "made_up", "{}")
    ]


def test_a_tool_that_nobody_has_is_the_clients_when_it_may_bring_tools() -> None:
    assert hear(make(delegated=None), created(), item_done(call("c1", "made_up"))) == []


def test_without_tools_of_the_server_every_call_is_the_clients() -> None:
    calls = make(served=frozenset())
    nameless = item_added({"type": "function_call", "id": "item_1", "call_id": "c1"})

    assert calls.receive(nameless)[0] is nameless
    assert hear(calls, created(), item_done(call("c1", "made_up")), done()) == []


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_what_a_stopped_response_has_called_is_recorded_and_nobody_speaks_of_it(
    status: str,
) -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")))

    assert hear(calls, done(status=status)) == []
    assert decoded(calls.finish("c1", "booked")) == [output("c1", "booked")]


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_a_call_that_was_cut_off_is_not_run_and_yet_answered(status: str) -> None:
    calls = make()
    cut = call("c1", arguments='{"a', status="incomplete")
    hear(calls, created(), item_added(call("c1", arguments="")))

    heard = hear(calls, item_done(cut), done("resp_1", cut, status=status))

    assert heard[0] == output("c1", CUT_OFF)
    assert heard[1:] == ([asks(2)] if status == "incomplete" else [])


def test_a_call_that_a_cancelled_response_only_lists_is_not_run() -> None:
    heard = hear(make(), created(), done("resp_1", call("c1"), status="cancelled"))

    assert heard == [output("c1", CUT_OFF)]


def test_nobody_asks_while_the_user_speaks_and_their_turn_brings_the_answer() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done(), speech("speech_started"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert hear(calls, arrived("c1"), speech("speech_stopped"), speech("committed")) == []
    assert hear(calls, created("resp_2"), done("resp_2")) == []


def test_a_turn_that_is_cleared_brings_no_answer_so_the_relay_asks() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done(), speech("speech_started"))
    calls.finish("c1", "one")

    assert hear(calls, speech("cleared")) == [asks(2)]


def test_a_turn_that_finds_a_response_in_the_way_brings_no_answer_so_the_relay_asks() -> None:
    calls = make()
    hear(calls, speech("speech_started"), created(), item_done(call("c1")))
    hear(calls, speech("speech_stopped"), speech("committed"), active_error(None), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), asks(2)]


def test_a_turn_that_has_not_ended_is_waited_for_when_another_was_refused() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), speech("speech_started"))
    hear(calls, active_error(None), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert hear(calls, arrived("c1"), speech("speech_stopped"), created("resp_2")) == []


def test_a_response_that_began_before_the_output_was_there_is_followed_by_another() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done(), created("resp_2"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert hear(calls, arrived("c1"), done("resp_2")) == [asks(2)]


def test_a_response_that_was_in_the_way_and_missed_the_output_is_followed_by_another() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    heard = hear(calls, created("resp_2"), arrived("c1"), active_error(asked["event_id"]))

    assert heard == []
    assert hear(calls, done("resp_2")) == [asks(3)]


def test_a_response_that_was_in_the_way_and_saw_the_output_is_enough() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    heard = hear(calls, arrived("c1"), created("resp_2"), active_error(asked["event_id"]))

    assert heard == []
    assert hear(calls, done("resp_2")) == []


def test_a_response_in_the_way_that_was_never_announced_is_waited_for() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    assert hear(calls, active_error(asked["event_id"])) == []
    assert hear(calls, done("resp_9")) == [asks(3)]


def test_a_follow_up_that_is_refused_for_another_reason_is_not_repeated() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done())
    _, asked = decoded(calls.finish("c1", "one"))

    error = {"type": "error", "error": {"code": "server_error", "event_id": asked["event_id"]}}

    assert hear(calls, error, done("resp_9")) == []
    assert hear(calls, created("resp_2"), item_done(call("c2"), "resp_2"), done("resp_2"))
    assert decoded(calls.finish("c2", "two"))[1] == asks(4)


def test_an_output_that_is_refused_counts_as_one_that_has_arrived() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done(), speech("speech_started"))
    [sent] = decoded(calls.finish("c1", "one"))
    refused = {"type": "error", "error": {"code": "x", "event_id": sent["event_id"]}}

    assert hear(calls, refused, speech("speech_stopped"), created("resp_2"), done("resp_2")) == []


def test_calls_of_both_sides_in_one_response_wait_for_both() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one")]
    assert decoded(calls.forward(answer("c2"))) == [answer("c2"), asks(2)]


def test_a_client_that_asks_after_the_relay_has_asked_does_not_ask_twice() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.finish("c1", "one")
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create"}) == ()
    assert hear(calls, arrived("c1"), created("resp_2"), done("resp_2")) == []
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_a_client_that_asks_before_our_tool_is_done_is_answered_when_it_is() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create", "response": {"metadata": {"a": "b"}}}) == ()
    assert decoded(calls.finish("c1", "one")) == [
        output("c1", "one"),
        asks(2, response={"metadata": {"a": "b"}}),
    ]


def test_only_one_request_of_the_client_is_taken_for_the_relays() -> None:
    """The second is a new turn, which need not wait for our tool."""
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)), done())
    calls.forward(answer("c2"))

    assert calls.forward({"type": "response.create"}) == ()
    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_a_client_that_has_asked_is_answered_even_if_the_response_was_stopped_then() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)))
    calls.forward(answer("c2"))
    calls.forward({"type": "response.create"})
    hear(calls, done(status="cancelled"))

    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), asks(2)]


def test_a_request_of_the_client_after_a_stopped_response_goes_on() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), item_done(call("c2", THEIRS)))
    hear(calls, done(status="cancelled"))
    calls.forward(answer("c2"))

    assert decoded(calls.forward({"type": "response.create"})) == [{"type": "response.create"}]


def test_calls_of_a_response_outside_of_the_conversation_are_not_run() -> None:
    """There is nothing to give their outputs to."""
    calls = make()
    aside = {"type": "response.create", "response": {"conversation": "none"}}
    assert decoded(calls.forward(aside)) == [aside]

    heard = hear(calls, created(conversation_id=None), item_done(call("c1")), done())

    assert heard == []


def test_a_server_that_names_no_conversation_is_not_taken_for_an_aside() -> None:
    heard = hear(make(), created(conversation_id=None), item_done(call("c1")))

    assert heard == [CallTool("c1", OURS, "{}")]


def test_a_call_id_that_comes_again_in_another_response_is_not_run_again() -> None:
    calls = make()
    hear(calls, created(), item_done(call("c1")), done(), created("resp_2"))

    assert hear(calls, item_done(call("c1"), "resp_2"), done("resp_2")) == []
    assert decoded(calls.finish("c1", "one")) == [output("c1", "one"), asks(2)]


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
def test_an_event_that_is_not_what_the_api_says_changes_nothing(event: Event) -> None:
    assert hear(make(), event) == []


# A whole conversation, in any order that the network allows.


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
class World:
    """An upstream, a client and the user around one session's calls; messages take their time."""

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

    # What may happen.

    def possible(self) -> list[str]:
        """Return what can happen now; what should happen often comes twice."""
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
            self._client_hears(shown)
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
            self.down.append(speech("speech_started"))
            self._end("cancelled")

    def fall_silent(self) -> None:
        if self.speaking:
            self.speaking = False
            self.down += [speech("speech_stopped"), speech("committed")]
            self._create({})

    # How the upstream reacts.

    @property
    def active(self) -> Response | None:
        """The response that is being made."""
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

    def _client_hears(self, event: Event) -> None:
        if event["type"] == "response.done" and event["response"]["status"] == "completed":
            self.for_client += [item["call_id"] for item in event["response"]["output"]]

    def _perform(self, commands: CallCommands) -> None:
        for command in commands:
            if isinstance(command, CallTool):
                self.running.append(command.call_id)
                continue
            event = json.loads(command.message)
            if str(event.get("event_id")).startswith(f"{RELAY_IDS}response"):
                assert not self.relay_sees_active, "it asked while a response was being made"
            self.up.append(event)

    def calm_down(self) -> None:
        """Let everything that has begun come to its end, and nothing new begin."""
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
"""The relay asks just as the user begins to speak, and the turn finds that response in the way."""

DISTURBING = frozenset({"speak", "fall_silent", "call_theirs", "fail"})
STEPS = st.lists(st.integers(0, 1000), min_size=20, max_size=80)


def play(steps: list[int], without: frozenset[str] = frozenset()) -> World:
    world = World()
    world._create({})
    for step in steps:
        if possible := [action for action in world.possible() if action not in without]:
            getattr(world, possible[step % len(possible)])()
    world.calm_down()
    return world


@given(STEPS)
@example(TURN_ENDS_IN_A_RESPONSE)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_in_any_order_every_call_is_answered_once_and_every_answer_is_spoken_of(
    steps: list[int],
) -> None:
    world = play(steps)

    ours = [call_id for response in world.responses for call_id in response.ours]
    assert sorted(c for c in world.outputs if OURS in c) == sorted(ours)
    for response in world.responses:
        if response.status == "completed":
            assert not response.ours or any(r.seen >= {*response.ours} for r in world.responses)
    with_calls = [r for r in world.responses if r.ours and r.status == "completed"]
    asked_after_a_stop = [r for r in world.responses if r.ours and r.theirs]
    by_relay = [r for r in world.responses if r.by_relay]
    assert len(by_relay) <= len({r.id for r in (*with_calls, *asked_after_a_stop)})


@given(STEPS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_while_the_user_is_silent_each_response_with_calls_is_followed_by_exactly_one(
    steps: list[int],
) -> None:
    world = play(steps, without=DISTURBING)

    with_calls = [response for response in world.responses if response.ours]
    assert len(with_calls) == len([r for r in world.responses if r.by_relay])
    assert len(world.responses) == 1 + len(with_calls)
