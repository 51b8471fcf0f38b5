"""The ids of a conversation that the client may name in its events: it made or received them."""

from collections.abc import Mapping

from relay.core.events import Event, Json
from relay.core.objects import object_or_empty

HIDDEN_ROLES = ("system", "developer")
"""Roles of messages that contain the persona's words."""


def is_hidden(item: Json) -> bool:
    """Return whether an item shows the persona's words or tools, which the client may not see."""
    return isinstance(item, Mapping) and (
        item.get("role") in HIDDEN_ROLES
        or str(item.get("type")).startswith("mcp_")
        or "tools" in item
    )


class Conversation:
    """Remembers the ids of items, of responses, and of the calls that the client has to answer."""

    def __init__(self) -> None:
        self.items: set[str] = set()
        self.responses: set[str] = set()
        self._creating: dict[str, Json] = {}  # item id -> id of the event that creates it
        self._calls: dict[str, bool] = {}

    def show(self, item: Json) -> bool:
        """Remember an item of a server event; return whether the client may see it."""
        if not isinstance(item, Mapping):
            return True
        if is_hidden(item):
            return False
        self.add_item(item.get("id"))
        if item.get("type") == "function_call":
            self.delegate(item.get("call_id"))
        return True

    def add_item(self, item_id: Json) -> None:
        """Remember the id of an item."""
        if isinstance(item_id, str):
            self.items.add(item_id)
            self._creating.pop(item_id, None)

    def has_item(self, item_id: str) -> bool:
        """Return whether an item has this id, or is being created with it."""
        return item_id in self.items or item_id in self._creating

    def creation_failed(self, event_id: Json) -> None:
        """Free the id of an item that the upstream did not create."""
        failed = [item for item, event in self._creating.items() if event_id and event == event_id]
        for item_id in failed:
            del self._creating[item_id]

    def forget(self, item_id: Json) -> None:
        """Forget the id of an item that was deleted."""
        if isinstance(item_id, str):
            self.items.discard(item_id)

    def add_response(self, response_id: Json) -> None:
        """Remember the id of a response."""
        if isinstance(response_id, str):
            self.responses.add(response_id)

    def delegate(self, call_id: Json) -> None:
        """Remember a call that the client has to answer."""
        if isinstance(call_id, str):
            self._calls.setdefault(call_id, True)

    def may_answer(self, call_id: str) -> bool:
        """Return whether the call was delegated to the client and is not answered yet."""
        return self._calls.get(call_id, False)

    def note_sent(self, event: Event) -> None:
        """Remember the effect of a client event that the relay sends to the upstream.

        The client may not name an item yet that it has only asked to create. The upstream refuses
        the id of a hidden item, so the item counts when the upstream has confirmed it.
        """
        item_id = object_or_empty(event, "item").get("id")
        if isinstance(item_id, str):
            self._creating[item_id] = event.get("event_id")
        match event:
            case {"type": "conversation.item.delete", "item_id": item_id}:
                self.forget(item_id)
            case {"item": {"type": "function_call_output", "call_id": call_id}}:
                self._calls[call_id] = False
