"""The ids of items, responses and calls that the client may name."""

from typing import Any

import pytest

from relay.core.conversation import Conversation, is_hidden
from relay.core.events import Event
from relay.core.recent import MAX_IDS


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "system"},
        {"type": "message", "role": "developer"},
        {"role": "system"},
        {"type": "mcp_list_tools"},
        {"type": "mcp_call"},
        {"type": "mcp_approval_request"},
        {"type": "mcp_approval_response"},
        {"type": "what_is_not_known_yet", "tools": []},
    ],
)
def test_the_servers_own_items_are_hidden_and_their_ids_not_remembered(
    item: dict[str, Any],
) -> None:
    conversation = Conversation()

    assert is_hidden(item)
    assert not conversation.show({"id": "item_1", "call_id": "call_1"} | item)
    assert conversation.items == set()


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user"},
        {"type": "message", "role": "assistant"},
        {"type": "function_call", "call_id": "call_1"},
        {"type": "what_is_not_known_yet", "role": ["system"]},
    ],
)
def test_the_id_of_a_shown_item_is_remembered(item: dict[str, Any]) -> None:
    conversation = Conversation()

    assert conversation.show({"id": "item_1"} | item)
    assert conversation.items == {"item_1"}


@pytest.mark.parametrize("item", [None, "item_1", ["mcp_call"], 7, {"id": ["item_1"]}])
def test_a_value_that_is_no_item_has_no_id_to_remember(item: Any) -> None:
    conversation = Conversation()

    assert conversation.show(item)
    assert conversation.items == set()


def test_a_delegated_call_may_be_answered_once() -> None:
    conversation = Conversation()
    output = {"type": "function_call_output", "call_id": "call_1"}
    before = conversation.may_answer("call_1")
    conversation.show({"type": "function_call", "id": "item_1", "call_id": "call_1"})
    asked = conversation.may_answer("call_1")
    conversation.note_sent({"type": "conversation.item.create", "item": output})
    conversation.delegate("call_1")

    assert (before, asked, conversation.may_answer("call_1")) == (False, True, False)


def test_a_deleted_item_is_forgotten_and_its_id_is_free() -> None:
    """Agent SDKs replace an item: they delete it and create it again at once with the same id."""
    conversation = Conversation()
    conversation.add_item("item_1")

    conversation.note_sent({"type": "conversation.item.delete", "item_id": "item_1"})

    assert conversation.items == set()


def test_an_item_that_the_upstream_has_not_confirmed_is_not_remembered() -> None:
    conversation = Conversation()

    conversation.note_sent(
        {"type": "conversation.item.create", "item": {"id": "item_1", "type": "message"}}
    )

    assert conversation.items == set()


def test_only_strings_are_remembered_as_ids() -> None:
    conversation = Conversation()
    invalid_ids: list[Any] = [None, 1, ["x"], {}]
    for invalid_id in invalid_ids:
        conversation.add_item(invalid_id)
        conversation.forget(invalid_id)
        conversation.add_response(invalid_id)
        conversation.delegate(invalid_id)
    conversation.add_item("item_1")
    conversation.forget("item_2")
    conversation.add_response("resp_1")

    assert (conversation.items, conversation.responses) == ({"item_1"}, {"resp_1"})


def created_with(item_id: str, event_id: str | None) -> Event:
    item = {"id": item_id, "type": "message"}
    return {"type": "conversation.item.create", "event_id": event_id, "item": item}


def test_an_id_is_taken_while_its_item_is_being_created() -> None:
    """A second item with the id of a hidden one would get another error than one with a free id."""
    conversation = Conversation()
    conversation.note_sent(created_with("item_1", "e1"))

    assert conversation.has_item("item_1")
    conversation.add_item("item_1")
    conversation.forget("item_1")
    assert not conversation.has_item("item_1")


def test_an_id_is_free_again_when_the_upstream_did_not_create_the_item() -> None:
    conversation = Conversation()
    conversation.note_sent(created_with("item_1", "e1"))
    conversation.note_sent(created_with("item_2", None))

    conversation.creation_failed("e2")
    conversation.creation_failed(None)
    assert conversation.has_item("item_1")
    conversation.creation_failed("e1")

    assert not conversation.has_item("item_1")
    assert conversation.has_item("item_2")


def test_an_error_without_an_event_frees_the_items_that_were_created_without_one() -> None:
    conversation = Conversation()
    conversation.note_sent(created_with("item_1", "e1"))
    conversation.note_sent(created_with("item_2", None))

    conversation.unnamed_creation_failed()

    assert conversation.has_item("item_1")
    assert not conversation.has_item("item_2")


def test_the_ids_of_a_conversation_are_limited_in_number() -> None:
    """A client that sends 200 events a second for an hour makes 720,000 items."""
    conversation = Conversation()
    for number in range(3 * MAX_IDS):
        conversation.note_sent(created_with(f"new_{number}", None))
        conversation.add_item(f"item_{number}")
        conversation.add_response(f"resp_{number}")
        conversation.delegate(f"call_{number}")

    assert len(conversation.items) <= MAX_IDS
    assert len(conversation.responses) <= MAX_IDS
    for last in range(3 * MAX_IDS - 1000, 3 * MAX_IDS):
        assert f"item_{last}" in conversation.items
        assert f"resp_{last}" in conversation.responses
        assert conversation.may_answer(f"call_{last}")
        assert conversation.has_item(f"new_{last}")
    assert not conversation.may_answer("call_0")
    assert not conversation.has_item("new_0")


def test_an_id_that_no_client_may_name_is_not_remembered() -> None:
    conversation = Conversation()
    conversation.add_item("i" * 513)
    conversation.add_response("r" * 513)
    conversation.delegate("c" * 513)

    assert (conversation.items, conversation.responses) == (set(), set())
    assert not conversation.may_answer("c" * 513)
