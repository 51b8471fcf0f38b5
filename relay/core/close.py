"""Close codes, and what of them may legally be sent (RFC 6455 section 7.4)."""

from enum import IntEnum

MAX_REASON_BYTES = 123
"""A control frame carries at most 125 bytes, and the code takes two (RFC 6455 5.5)."""


class CloseCode(IntEnum):
    """The close codes that the relay sends or understands.

    1xxx are the registry's, 3000 is the Realtime API's for a bad key, 44xx are the relay's own,
    made from the HTTP status that says the same. Realtime SDKs reconnect on 1001, 1005, 1006,
    1011, 1012, 1013 and 1015 only, so these mean "come back" and all others mean "don't"
    (openai-python, ``types/websocket_reconnection.py``).
    """

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    UNAUTHORIZED = 3000
    FATAL_CONFIGURATION = 4000
    FORBIDDEN = 4403
    NOT_FOUND = 4404
    IDLE = 4408
    TOO_MANY = 4429
    UPSTREAM_REFUSED = 4502


SENDABLE = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""What an endpoint may put into a Close frame: 1004 to 1006, 1015 and the rest never travel."""


def sendable(code: int, reason: str) -> tuple[int, bytes]:
    """Return a close code and a reason that may be sent.

    An illegal code becomes 1011. The reason is cut to 123 bytes, never inside a character.
    """
    legal = code if code in SENDABLE else CloseCode.INTERNAL_ERROR
    cut = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES]
    return int(legal), cut.decode("utf-8", "ignore").encode()
