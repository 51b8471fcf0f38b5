"""From the text of a client's message to an event that can be acted on."""

import json

from relay.simulator.errors import Json, Refused
from relay.simulator.schema import Choice
from relay.simulator.vocabulary import CLIENT_EVENTS

_TYPES = Choice(tuple(CLIENT_EVENTS))


def decode(message: str) -> Json:
    """Return the event in a text message; ``check`` tells whether it is a good one.

    Raises:
        Refused: It is not a JSON object.
    """
    try:
        decoded = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused("invalid_json") from None
    if not isinstance(decoded, dict):
        raise Refused("invalid_event", problem="An event must be a JSON object.")
    return decoded


def check(client_event: Json) -> None:
    """Check that an event is of a known type and has its fields, and no others.

    Raises:
        Refused: It is, or has, not.
    """
    if "type" not in client_event:
        raise Refused("invalid_event", param="type", problem="An event must have a type.")
    _TYPES.check(client_event["type"], "type")
    CLIENT_EVENTS[client_event["type"]].check(client_event, "")
