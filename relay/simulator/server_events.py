"""Server events that are not part of a response's output."""

from collections.abc import Iterable, Iterator

from relay.simulator.ids import new_id
from relay.simulator.json_text import Json

_TOKENS_PER_MINUTE = 15_000_000


def event(type_: str, **fields: object) -> Json:
    """Return a server event; its first keys have the API's order."""
    return {"type": type_, "event_id": new_id("event"), **fields}


def mcp_list_failures(tools: Iterable[Json]) -> Iterator[Json]:
    """Yield the events of unreachable MCP servers: the simulator connects to no other machine."""
    for tool in tools:
        if tool["type"] == "mcp":
            item_id = new_id("mcpl")
            yield event("mcp_list_tools.in_progress", item_id=item_id)
            yield event("mcp_list_tools.failed", item_id=item_id)


def rate_limits_after(response_done: Json) -> Json:
    """Return the event that follows ``response.done``; the limit is invented."""
    used = response_done["response"]["usage"]["total_tokens"]
    limit = {
        "name": "tokens",
        "limit": _TOKENS_PER_MINUTE,
        "remaining": _TOKENS_PER_MINUTE - used,
        "reset_seconds": round(used * 60 / _TOKENS_PER_MINUTE, 3),
    }
    return event("rate_limits.updated", rate_limits=[limit])
