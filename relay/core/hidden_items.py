"""Hides items and calls of a conversation from the client.

The calls of tools that the server runs, their outputs, and the persona's own items are hidden. An
event about a hidden item is hidden too, whichever of the item's ids it uses. An event that the
client may see never points at a hidden item. Numbers stay as they are: the ``output_index`` of a
response has a gap after a hidden call. To close the gap, every audio delta would have to be built
again.
"""

from collections.abc import Iterator, Mapping

from relay.core.conversation import is_hidden
from relay.core.events import Event, Json


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
        self._hidden: dict[str, bool] = {}
        self._before: dict[str, Json] = {}

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
        """Return whether an event without an item names a hidden one."""
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
        return self._hidden.get(some_id) if isinstance(some_id, str) else None

    def _note(self, item: Mapping[str, Json], event: Event, *, hidden: bool) -> None:
        item_id, call_id = item.get("id"), item.get("call_id")
        if item.get("type") == "function_call" and isinstance(call_id, str):
            self._hidden[call_id] = hidden
        if not isinstance(item_id, str):
            return
        if hidden:
            self._before[item_id] = self._known(event.get("previous_item_id")) or self._before.get(
                item_id
            )
        if hidden or item.get("type") == "function_call":
            self._hidden[item_id] = hidden

    def _known(self, item_id: Json) -> Json:
        """Return the id of an item that the client knows: this one, or the nearest before it."""
        return self._before.get(item_id) if self._is_hidden(item_id) else item_id

    def _without_hidden(self, event: Event) -> Event:
        previous = event.get("previous_item_id")
        known = self._known(previous)
        if known != previous:
            event = event | {"previous_item_id": known}
        response = event.get("response")
        return self._response(event, response) if isinstance(response, dict) else event

    def _response(self, event: Event, response: Event) -> Event:
        """Leave hidden items out of a response; its output may become empty.

        Clients follow a response by its id, from ``response.created`` to ``response.done``, and
        read the usage there. Therefore, the end of every response is sent.
        """
        output = response.get("output")
        if not isinstance(output, list):
            return event
        shown = [item for item in output if not (isinstance(item, dict) and self._hides(item))]
        if len(shown) == len(output):
            return event
        return event | {"response": response | {"output": shown}}
