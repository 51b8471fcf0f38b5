"""What of a conversation the client does not know: the items and the calls that stay here.

Hidden are the calls of tools that the server runs, their outputs, and the persona's own items. An
event that speaks of one of them is hidden whichever of its ids it uses; an event that the client
may see never points at one. Numbers are left as they are: behind a hidden call the
``output_index`` of a response has a gap, since closing it would mean to rebuild every audio delta.
"""

from collections.abc import Iterator, Mapping

from relay.core.conversation import is_hidden
from relay.core.events import Event, Json


class Unseen:
    """Remembers what is hidden, and what stands before it."""

    def __init__(self, *, served: frozenset[str], delegated: frozenset[str] | None) -> None:
        """Start with nothing hidden.

        Args:
            served: names of the tools that the server runs.
            delegated: names of the tools that the client runs; None: it may bring tools of its
                own, so any name that is not served is its.
        """
        self._served = served
        self._delegated = delegated
        self._hidden: dict[str, bool] = {}
        self._before: dict[str, Json] = {}

    def show(self, event: Event) -> Event | None:
        """Return what the client is to see of a server event: None for nothing.

        An event in which nothing is hidden is returned itself.
        """
        item = event.get("item")
        if isinstance(item, dict):
            hidden = self._hides(item)
            self._note(item, event, hidden=hidden)
        else:
            hidden = self._is_about_hidden(event)
        return None if hidden else self._without_hidden(event)

    def serves(self, call: Mapping[str, Json]) -> bool:
        """Tell whether a function call is the server's to run.

        A call of a tool that nobody has is: every call wants an answer. So is one that comes
        without a name, until it is known whose it is.
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
        """Tell whether an event that carries no item names a hidden one."""
        if str(event.get("type")).startswith("response.function_call"):
            return next(self._verdicts(event), self.serves(event))
        return next(self._verdicts(event), False)

    def _verdicts(self, named: Mapping[str, Json]) -> Iterator[bool]:
        """Yield what was decided on the ids in an event or an item."""
        for key in ("call_id", "item_id", "id"):
            if (hidden := self._is_hidden(named.get(key))) is not None:
                yield hidden

    def _is_hidden(self, some_id: Json) -> bool | None:
        """Tell what was decided on an id; None: nothing."""
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
        """Return an item that the client knows: this one, or the nearest before it."""
        return self._before.get(item_id) if self._is_hidden(item_id) else item_id

    def _without_hidden(self, event: Event) -> Event:
        previous = event.get("previous_item_id")
        known = self._known(previous)
        if known != previous:
            return event | {"previous_item_id": known}
        response = event.get("response")
        return self._response(event, response) if isinstance(response, dict) else event

    def _response(self, event: Event, response: Event) -> Event:
        """Leave hidden items out of a response; one that is made of nothing else is shown empty.

        Clients follow responses by their id, from ``response.created`` to ``response.done``, and
        read the usage there: none may come to them without its end.
        """
        output = response.get("output")
        if not isinstance(output, list):
            return event
        shown = [item for item in output if not (isinstance(item, dict) and self._hides(item))]
        if len(shown) == len(output):
            return event
        return event | {"response": response | {"output": shown}}
