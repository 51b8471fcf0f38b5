"""Hidden items and calls never reach the client, whichever of their ids an event uses."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.events import Event
from relay.core.hidden_items import Unseen
from relay.core.recent import MAX_IDS

OURS, THEIRS = "look_up", "show_map"


def make(delegated: frozenset[str] | None = frozenset({THEIRS})) -> Unseen:
    return Unseen(served=frozenset({OURS}), delegated=delegated)


def call(name: str | None = OURS, number: int = 1, **fields: Any) -> Event:
    item = {"type": "function_call", "id": f"item_{number}", "call_id": f"call_{number}"}
    return {**item, "name": name, "arguments": "PLANTED", **fields}


def message(number: int) -> Event:
    return {"type": "message", "role": "assistant", "id": f"item_{number}"}


def about(item: Event, kind: str = "conversation.item.added", **fields: Any) -> Event:
    return {"type": kind, "item": item, **fields}


KINDS = (
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.done",
    "conversation.item.retrieved",
    "response.output_item.added",
    "response.output_item.done",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_a_tool_that_the_server_runs_is_hidden(kind: str) -> None:
    assert make().show(about(call(), kind)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_a_tool_that_the_client_runs_is_shown(kind: str) -> None:
    event = about(call(THEIRS), kind)

    assert make().show(event) is event


@pytest.mark.parametrize("suffix", ["delta", "done", "invented"])
@pytest.mark.parametrize("key", [{"item_id": "item_1"}, {"call_id": "call_1"}])
def test_arguments_are_hidden_or_shown_like_their_call(suffix: str, key: dict[str, str]) -> None:
    event = {"type": f"response.function_call_arguments.{suffix}", "delta": "PLANTED", **key}
    hiding, showing = make(), make()
    hiding.show(about(call()))
    showing.show(about(call(THEIRS)))

    assert hiding.show(event) is None
    assert showing.show(event) is event


def test_arguments_of_an_unknown_call_are_hidden() -> None:
    event = {"type": "response.function_call_arguments.delta", "item_id": "item_9"}

    assert make().show(event) is None


def test_arguments_that_name_the_clients_tool_are_shown() -> None:
    event = {"type": "response.function_call_arguments.done", "item_id": "i", "name": THEIRS}

    assert make().show(event) is event


@pytest.mark.parametrize("name", [None, "", 5])
def test_a_call_without_a_name_is_hidden_until_an_event_names_its_tool(name: Any) -> None:
    unseen = make()
    named = about(call(THEIRS), "response.output_item.done")
    delta = {"type": "response.function_call_arguments.delta", "item_id": "item_1"}

    assert unseen.show(about(call(name))) is None
    assert unseen.show(delta) is None
    assert unseen.show(named) is named
    assert unseen.show(delta) is delta
    assert unseen.show(about(call(name))) is not None


def test_only_outputs_of_our_own_calls_are_hidden() -> None:
    unseen = make()
    unseen.show(about(call(OURS, 1)))
    unseen.show(about(call(THEIRS, 2)))
    output = {"type": "function_call_output", "id": "item_3", "output": "PLANTED"}
    theirs = about({**output, "call_id": "call_2"})

    assert unseen.show(about({**output, "call_id": "call_1"})) is None
    assert unseen.show(theirs) is theirs
    assert unseen.show({"type": "conversation.item.deleted", "item_id": "item_3"}) is None


def test_an_event_never_points_at_a_hidden_item() -> None:
    unseen = make()
    unseen.show(about(message(1)))
    unseen.show(about(call(number=2), "response.output_item.added"))
    unseen.show(about(call(number=2), previous_item_id="item_1"))
    output = {"type": "function_call_output", "id": "item_3", "call_id": "call_2"}
    unseen.show(about(output, previous_item_id="item_2"))
    committed = {"type": "input_audio_buffer.committed", "item_id": "item_4"}

    shown = unseen.show(committed | {"previous_item_id": "item_3"})
    added = unseen.show(about(message(5), previous_item_id="item_2"))

    assert shown == committed | {"previous_item_id": "item_1"}
    assert added == about(message(5), previous_item_id="item_1")


def test_an_item_after_a_hidden_first_item_has_no_previous_item() -> None:
    unseen = make()
    unseen.show(about(call(number=1), previous_item_id=None))

    assert unseen.show(about(message(2), previous_item_id="item_1")) == about(
        message(2), previous_item_id=None
    )


def test_the_personas_own_items_are_hidden_and_no_event_points_at_them() -> None:
    unseen = make()
    system = {"type": "message", "role": "system", "id": "item_1"}

    assert unseen.show(about(system)) is None
    assert unseen.show(about(message(2), previous_item_id="item_1")) == about(
        message(2), previous_item_id=None
    )


def test_a_response_is_shown_without_our_calls() -> None:
    response = {"id": "resp_1", "output": [message(1), call(OURS, 2), call(THEIRS, 3)]}
    event = {"type": "response.done", "response": response}

    assert make().show(event) == {
        "type": "response.done",
        "response": {"id": "resp_1", "output": [message(1), call(THEIRS, 3)]},
    }


def test_a_response_with_only_our_calls_is_shown_empty() -> None:
    event = {"type": "response.done", "response": {"id": "resp_1", "output": [call()]}}

    assert make().show(event) == {
        "type": "response.done",
        "response": {"id": "resp_1", "output": []},
    }


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_audio.delta", "item_id": "item_1", "delta": "AAAA"},
        {"type": "response.done", "response": {"output": [message(1), None]}},
        {"type": "response.done", "response": {"output": None}},
        {"type": "response.done", "response": None},
        {"type": "error", "error": {}},
        {},
    ],
)
def test_an_event_without_hidden_parts_is_returned_itself(event: Event) -> None:
    assert make().show(event) is event


def test_an_event_loses_a_hidden_previous_item_and_the_hidden_output_of_its_response() -> None:
    hidden = make()
    hidden.show(about(call(), previous_item_id="item_0"))
    event = {
        "type": "response.done",
        "previous_item_id": call()["id"],
        "response": {"id": "resp_1", "output": [message(2), call()]},
    }

    assert hidden.show(event) == {
        "type": "response.done",
        "previous_item_id": "item_0",
        "response": {"id": "resp_1", "output": [message(2)]},
    }


IDS = st.sampled_from(["item_1", "item_2", "call_1", "call_2", "", None, 5])
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["function_call", "function_call_output", "message"])},
    optional={"id": IDS, "call_id": IDS, "role": st.sampled_from(["user", "system"])},
)


HIDDEN = {"type": "message", "role": "system", "id": "item_hidden"}


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"items": [HIDDEN, message(1)]}, {"items": [message(1)]}),
        ({"output": [call()]}, {"output": []}),
        ({"data": {"item": HIDDEN, "x": 1}}, {"data": {"item": None, "x": 1}}),
        ({"message": HIDDEN, "output_item": call()}, {"message": None, "output_item": None}),
        (
            {"response": {"tools": [], "output": HIDDEN}},
            {"response": {"tools": [], "output": None}},
        ),
        (
            {"response": {"output": {"0": call(), "1": {}}}},
            {"response": {"output": {"0": None, "1": {}}}},
        ),
        ({"data": {"pages": [[call()], [message(2)]]}}, {"data": {"pages": [[], [message(2)]]}}),
        (
            {"response": {"output": [{"previous_item_id": "item_0"}]}},
            {"response": {"output": [{"previous_item_id": None}]}},
        ),
        ({"session": {"agents": [{"tools": []}]}}, {"session": {"agents": [{"tools": []}]}}),
    ],
)
def test_a_hidden_item_is_found_anywhere_in_an_event(event: Event, shown: Event) -> None:
    unseen = make()
    unseen.show(about({"type": "message", "role": "system", "id": "item_0"}))

    assert unseen.show({"type": "unknown", **event}) == {"type": "unknown", **shown}


def test_an_event_that_has_the_fields_of_a_hidden_item_itself_is_hidden() -> None:
    event = {**HIDDEN, "type": "conversation.item.added", "content": [{"text": "PLANTED"}]}

    assert make().show(event) is None


def test_an_event_about_an_item_that_was_hidden_in_a_list_is_hidden() -> None:
    unseen = make()
    unseen.show({"type": "conversation.restored", "items": [HIDDEN]})

    assert unseen.show({"type": "conversation.item.deleted", "item_id": "item_hidden"}) is None


def test_an_id_of_any_length_is_hidden() -> None:
    unseen, long = make(), "i" * 10_000
    hidden = {"type": "message", "role": "system", "id": long}
    unseen.show(about(hidden, previous_item_id="p" * 10_000))

    assert unseen.show({"type": "conversation.item.deleted", "item_id": long}) is None
    assert unseen.show(about(message(2), previous_item_id=long)) == about(
        message(2), previous_item_id=None
    )


def test_the_hidden_ids_are_limited_in_number() -> None:
    unseen = make()
    for number in range(3 * MAX_IDS):
        unseen.show(about(call(number=number)))

    assert len(unseen._hidden) <= MAX_IDS
    assert len(unseen._before) <= MAX_IDS


@given(st.lists(st.tuples(ITEMS, IDS), max_size=12))
def test_no_shown_event_names_our_tool_or_its_items(
    items: list[tuple[Event, Any]],
) -> None:
    unseen = make()
    unseen.show(about({"type": "function_call", "id": "hid", "call_id": "hic", "name": OURS}))
    for item, previous in items:
        unseen.show(about(item, previous_item_id=previous))
    for item, previous in [*items, (message(1), "hid")]:
        shown = unseen.show(about(item, previous_item_id=previous))
        assert shown is None or not {'"hid"', '"hic"'} & set(json.dumps(shown).split())
        response = {"type": "response.done", "response": {"output": [item, call()]}}
        assert OURS not in json.dumps(unseen.show(response))
