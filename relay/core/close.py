"""Close codes, and the codes and reasons that may be sent (RFC 6455 section 7.4)."""

from enum import IntEnum

MAX_REASON_BYTES = 123
"""A control frame has at most 125 bytes, and the code takes two (RFC 6455 section 5.5)."""


class CloseCode(IntEnum):
    """The close codes that the relay sends or understands.

    1xxx are registered codes. 3000 is the Realtime API's code for a bad key. 44xx and 45xx are the
    relay's own, made from the HTTP status with the same meaning. Realtime SDKs reconnect after
    1001, 1005, 1006, 1011, 1012, 1013 and 1015 only, so these codes mean "connect again", and all
    others mean "do not" (openai-python, ``types/websocket_reconnection.py``).
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
"""Codes that an endpoint may send in a Close frame; 1004 to 1006 and 1015 may never be sent."""


def sendable(code: int, reason: str) -> tuple[int, bytes]:
    """Return a close code and a reason that may be sent.

    An illegal code becomes 1011. The reason is cut to 123 bytes, never inside a character.
    """
    legal = code if code in SENDABLE else CloseCode.INTERNAL_ERROR
    cut = reason.encode("utf-8", "replace")[:MAX_REASON_BYTES]
    return int(legal), cut.decode("utf-8", "ignore").encode()
