"""Hides items and calls of a conversation from the client.

The calls of tools that the server runs, their outputs, and the persona's own items are hidden. An
event about a hidden item is hidden too, whichever of the item's ids it uses. An event that the
client may see never points at a hidden item. Numbers stay as they are: the ``output_index`` of a
response has a gap after a hidden call. To close the gap, every audio delta would have to be built
again.
"""

from collections.abc import Iterator, Mapping
from operator import is_

from relay.core.conversation import HIDDEN_ROLES, is_hidden
from relay.core.events import Event, Json
from relay.core.recent import Recent, digest, is_id

WITHOUT_ITEMS = frozenset({"session", "sessions", "usage", "content", "metadata", "logprobs"})
"""Parts of an event that have no item: the relay does not search them."""


class Unseen:
    """Remembers the hidden items, and the visible item before each of them."""

    def __init__(self, *, served: frozenset[str], delegated: frozenset[str] | None) -> None:
        """Start with nothing hidden.

        Args:
            served: names of the tools that the server runs.
            delegated: names of the tools that the client runs. None: the client may bring its own
                tools, so every name that is not in ``served`` belongs to the client.
        """
        self._served = served
        self._delegated = delegated
        self._hidden: Recent[bool] = Recent()
        self._before: Recent[str | None] = Recent()

    def show(self, event: Event) -> Event | None:
        """Return a server event as the client may see it; None if it is hidden.

        An event without hidden parts is returned itself.
        """
        item = event.get("item")
        if isinstance(item, dict):
            hidden = self._hides(item)
            self._note(item, event, hidden=hidden)
        else:
            hidden = self._is_about_hidden(event)
        return None if hidden else self._without_hidden(event)

    def serves(self, call: Mapping[str, Json]) -> bool:
        """Return whether the server runs a function call.

        If the server has tools, it also runs a call of an unknown tool, because every call needs
        an answer, and a call without a name, until an event decides on its ids.
        """
        name = call.get("name")
        if isinstance(name, str) and name:
            unknown = self._delegated is not None and name not in self._delegated
            return name in self._served or (unknown and bool(self._served))
        return next(self._verdicts(call), bool(self._served))

    def _hides(self, item: Mapping[str, Json]) -> bool:
        match item.get("type"):
            case "function_call":
                return self.serves(item)
            case "function_call_output":
                return self._is_hidden(item.get("call_id")) or False
        return is_hidden(item) or self._is_hidden(item.get("id")) or False

    def _is_about_hidden(self, event: Event) -> bool:
        """Return whether an event without an item names a hidden one, or is one itself."""
        if event.get("role") in HIDDEN_ROLES:
            return True
        if str(event.get("type")).startswith("response.function_call"):
            return next(self._verdicts(event), self.serves(event))
        return next(self._verdicts(event), False)

    def _verdicts(self, named: Mapping[str, Json]) -> Iterator[bool]:
        """Yield whether an id is hidden, for each known id of an event or an item."""
        for key in ("call_id", "item_id", "id"):
            if (hidden := self._is_hidden(named.get(key))) is not None:
                yield hidden

    def _is_hidden(self, some_id: Json) -> bool | None:
        """Return whether an id is hidden; None if it is unknown."""
        return self._hidden.get(digest(some_id)) if isinstance(some_id, str) else None

    def _note(self, item: Mapping[str, Json], event: Event, *, hidden: bool) -> None:
        item_id, call_id = item.get("id"), item.get("call_id")
        if item.get("type") == "function_call" and isinstance(call_id, str):
            self._hidden.note(digest(call_id), hidden)
        if not isinstance(item_id, str):
            return
        if hidden:
            before = self._known(event.get("previous_item_id")) or self._before.get(digest(item_id))
            self._before.note(digest(item_id), before if is_id(before) else None)
        if hidden or item.get("type") == "function_call":
            self._hidden.note(digest(item_id), hidden)

    def _known(self, item_id: Json) -> Json:
        """Return the id of an item that the client knows: this one, or the nearest before it."""
        return self._before.get(digest(item_id)) if self._is_hidden(item_id) else item_id

    def _without_hidden(self, event: Event) -> Event:
        """Return an object without hidden items at any depth: the object itself if it has none.

        The output of a response may become empty. Clients follow a response by its id, from
        ``response.created`` to ``response.done``, and read the usage there. Therefore, the end of
        every response is sent.
        """
        changed: Event = {}
        for name, value in event.items():
            if type(value) is dict or type(value) is list or name == "previous_item_id":
                shown = self._part(name, value)
                if shown is not value:
                    changed[name] = shown
        return event | changed if changed else event

    def _part(self, name: str, value: Json) -> Json:
        if name == "previous_item_id":
            return self._known(value)
        if name in WITHOUT_ITEMS:
            return value
        if type(value) is dict:
            is_item = name == "item" or "tools" not in value  # a response has tools
            return None if is_item and self._drops(value) else self._without_hidden(value)
        return self._members(name, value) if type(value) is list else value

    def _members(self, name: str, values: list[Json]) -> list[Json]:
        """Return a list without hidden items: the list itself if it has none."""
        if not any(type(value) is dict or type(value) is list for value in values):
            return values
        kept = [value for value in values if not (type(value) is dict and self._drops(value))]
        shown = [self._part(name, value) for value in kept]
        same = len(shown) == len(values) and all(map(is_, shown, values))
        return values if same else shown

    def _drops(self, item: Event) -> bool:
        """Return whether an item is hidden, and remember it if so."""
        hidden = self._hides(item)
        if hidden:
            self._note(item, {}, hidden=True)
        return hidden
