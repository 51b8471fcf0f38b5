"""The ids of a conversation that the client may name in its events: it made or received them."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from relay.core.events import Event, Json
from relay.core.objects import object_or_empty
from relay.core.recent import Recent, is_id

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
        self._items: Recent[None] = Recent()
        self._responses: Recent[None] = Recent()
        self._creating: Recent[Json] = Recent()  # item id -> id of the event that creates it
        self._calls: Recent[bool] = Recent()

    @property
    def items(self) -> AbstractSet[str]:
        """The ids of items."""
        return self._items.keys()

    @property
    def responses(self) -> AbstractSet[str]:
        """The ids of responses."""
        return self._responses.keys()

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
        if is_id(item_id):
            self._items.note(item_id, None)
            self._creating.pop(item_id, None)

    def has_item(self, item_id: str) -> bool:
        """Return whether an item has this id, or is being created with it."""
        return item_id in self._items or item_id in self._creating

    def creation_failed(self, event_id: Json) -> None:
        """Free the id of an item that the upstream did not create."""
        if event_id:
            self._free(event_id)

    def unnamed_creation_failed(self) -> None:
        """Free the ids of the items that were created without an event id.

        An error that names no event may be about any of them. The upstream refuses the id of an
        item that it has created.
        """
        self._free(None)

    def _free(self, event_id: Json) -> None:
        for item_id in [item for item, event in self._creating.items() if event == event_id]:
            del self._creating[item_id]

    def forget(self, item_id: Json) -> None:
        """Forget the id of an item that was deleted."""
        if isinstance(item_id, str):
            self._items.pop(item_id, None)

    def add_response(self, response_id: Json) -> None:
        """Remember the id of a response."""
        if is_id(response_id):
            self._responses.note(response_id, None)

    def delegate(self, call_id: Json) -> None:
        """Remember a call that the client has to answer."""
        if is_id(call_id) and call_id not in self._calls:
            self._calls.note(call_id, True)

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
            self._creating.note(item_id, event.get("event_id"))
        match event:
            case {"type": "conversation.item.delete", "item_id": item_id}:
                self.forget(item_id)
            case {"item": {"type": "function_call_output", "call_id": call_id}}:
                self._calls.note(call_id, False)
