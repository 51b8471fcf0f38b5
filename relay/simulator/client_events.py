"""Client events from the text of a message: parsed, then checked against the API's shapes."""

from relay.simulator.errors import RequestRefused
from relay.simulator.event_shapes import CLIENT_EVENTS
from relay.simulator.json_text import Json, parse_or_raise
from relay.simulator.schema import Choice

_TYPES = Choice(tuple(CLIENT_EVENTS))


def parse(message: str) -> Json:
    """Return the event in a text message; it is not checked yet.

    Raises:
        RequestRefused: The message is not a JSON object.
    """
    try:
        event = parse_or_raise(message)
    except ValueError:
        raise RequestRefused("invalid_json") from None
    if not isinstance(event, dict):
        raise RequestRefused("invalid_event", problem="An event must be a JSON object.")
    return event


def check(client_event: Json) -> None:
    """Check that an event has a known type, all required fields and no unknown field.

    Raises:
        RequestRefused: One of these is not so.
    """
    if "type" not in client_event:
        raise RequestRefused("invalid_event", param="type", problem="An event must have a type.")
    _TYPES.check(client_event["type"], "type")
    CLIENT_EVENTS[client_event["type"]].check(client_event, "")
