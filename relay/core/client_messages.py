"""The messages that the relay writes for the client itself."""

from collections.abc import Sequence
from decimal import Decimal

from relay.core.commands import Send, Side
from relay.core.counts import Counts
from relay.core.errors import RelayError
from relay.core.events import Event, Json, encode
from relay.core.ids import EventIds
from relay.core.reports import Report
from relay.core.terms import Terms


class ClientMessages:
    """Writes events for the client of one session.

    A client receives the relay's own events, ``relay.*``, only if it asked for them.
    """

    def __init__(self, terms: Terms) -> None:
        self._announces = terms.announces
        self._relay_ids = terms.relay_ids
        self._announced = terms.tools.announced
        self._ids = EventIds("relay_")

    def event(self, kind: str, /, **fields: Json) -> Send:
        """Return an event of the relay."""
        event = {"type": kind, "event_id": self._ids.new(), **fields}
        return Send(Side.CLIENT, encode(event))

    def rewritten(self, event: Event, **fields: Json) -> Send:
        """Return an event of the upstream with these fields and no other."""
        theirs = event.get("event_id")
        is_theirs = isinstance(theirs, str) and not theirs.startswith(self._relay_ids)
        event_id = theirs if is_theirs else self._ids.new()
        return Send(Side.CLIENT, encode({"type": event["type"], "event_id": event_id, **fields}))

    def error(self, error: RelayError, event_id: str | None = None) -> Send:
        """Return an error of the relay; ``event_id`` is the client event that it answers."""
        return self.event("error", error=error.body() | {"event_id": event_id})

    def tool(self, progress: str, name: str) -> tuple[Send, ...]:
        """Return the event that a tool has ``started`` or ``finished``."""
        if not self._announces or name not in self._announced:
            return ()
        return (self.event(f"relay.tool_{progress}", name=name),)

    def fields_ignored(self, event_type: str, names: Sequence[str]) -> tuple[Send, ...]:
        """Return the event that a client event lost these fields."""
        if not self._announces or not names:
            return ()
        fields = {"event_type": event_type, "fields": names}
        return (self.event("relay.fields_ignored", **fields),)

    def usage(self, report: Report | None, counts: Counts) -> tuple[Send, ...]:
        """Return the event that states the usage of a response, and of the session so far."""
        if report is None or not self._announces:
            return ()
        usage = self.event(
            "relay.usage",
            response_id=report.report_id,
            tokens=report.tokens.by_kind(),
            cost_usd=_decimal(report.cost_usd),
            estimated=report.estimated,
            total={"tokens": counts.tokens.by_kind(), "cost_usd": _decimal(counts.cost_usd)},
        )
        return (usage,)


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.6f}"
