"""The states of one connection, from the end of its opening handshake to the end of TCP.

Each side of the closing handshake (RFC 6455 section 7) sends one Close. The rows show the last
data of the peer, the columns whether our Close was sent:

                           not sent                           sent

    messages                 OPEN ────────── CLOSE_SENT ───> CLOSE_SENT
                              │                                  │
                        CLOSE_RECEIVED                     CLOSE_RECEIVED
                              v                                  v
    its Close           CLOSE_RECEIVED ───── CLOSE_SENT ───> CLOSES_EXCHANGED

    a broken protocol       FAILED ───────── CLOSE_SENT ───> FAILED_CLOSE_SENT

FAILED leads from the first row to the last: nothing is read behind a Close or a broken frame.
TCP_CLOSED leads from every other state to CLOSED.
"""

import asyncio
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from relay.core.close import CloseCode
from relay.core.states import step


class ConnectionState(Enum):
    """How much of a connection is left.

    FAILED is the state of section 7.1.7: nothing more that the peer sends can be read as frames.
    CLOSED is that of section 7.1.4: nothing is left of TCP.
    """

    OPEN = auto()
    CLOSE_SENT = auto()
    CLOSE_RECEIVED = auto()
    CLOSES_EXCHANGED = auto()
    FAILED = auto()
    FAILED_CLOSE_SENT = auto()
    CLOSED = auto()


class ConnectionEvent(Enum):
    """An event that changes the state of a connection.

    CLOSE_SENT: our Close was written. CLOSE_RECEIVED: the Close of the peer was read. FAILED: the
    peer broke the protocol. TCP_CLOSED: the TCP connection has ended, for any reason.
    """

    CLOSE_SENT = auto()
    CLOSE_RECEIVED = auto()
    FAILED = auto()
    TCP_CLOSED = auto()


STEPS: Final[Mapping[ConnectionState, Mapping[ConnectionEvent, ConnectionState]]] = {
    ConnectionState.OPEN: {
        ConnectionEvent.CLOSE_SENT: ConnectionState.CLOSE_SENT,
        ConnectionEvent.CLOSE_RECEIVED: ConnectionState.CLOSE_RECEIVED,
        ConnectionEvent.FAILED: ConnectionState.FAILED,
        ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSE_SENT: {
        ConnectionEvent.CLOSE_RECEIVED: ConnectionState.CLOSES_EXCHANGED,
        ConnectionEvent.FAILED: ConnectionState.FAILED_CLOSE_SENT,
        ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSE_RECEIVED: {
        ConnectionEvent.CLOSE_SENT: ConnectionState.CLOSES_EXCHANGED,
        ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED,
    },
    ConnectionState.CLOSES_EXCHANGED: {ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED},
    ConnectionState.FAILED: {
        ConnectionEvent.CLOSE_SENT: ConnectionState.FAILED_CLOSE_SENT,
        ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED,
    },
    ConnectionState.FAILED_CLOSE_SENT: {ConnectionEvent.TCP_CLOSED: ConnectionState.CLOSED},
    ConnectionState.CLOSED: {},
}
"""Every legal step."""

RECEIVING: Final = (ConnectionState.OPEN, ConnectionState.CLOSE_SENT)
"""The peer may send messages."""

SENDING: Final = (
    ConnectionState.OPEN,
    ConnectionState.CLOSE_RECEIVED,
    ConnectionState.FAILED,
)
"""We may send frames: after our Close we may not (RFC 6455 5.5.1)."""


class Lifecycle:
    """The state of one connection, and the reason of its end.

    Attributes:
        state: Changed by `take` only, as all that follow from it.
        is_receiving: Whether the state is one of `RECEIVING`; read for every message.
        is_sending: Whether it is one of `SENDING`; read for every message.
        close_code: The code that the peer closed with; 1006 until it has closed.
        close_reason: The reason of its Close.
        failure_code: The close code for a peer that broke the protocol.
        peer_ended: Done once the peer has sent its Close, has broken the protocol or is lost.
        tcp_closed: Done once nothing is left of TCP.
    """

    __slots__ = (
        "close_code",
        "close_reason",
        "failure_code",
        "is_receiving",
        "is_sending",
        "peer_ended",
        "state",
        "tcp_closed",
    )

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.state = ConnectionState.OPEN
        self.is_receiving = self.is_sending = True
        self.close_code: int = CloseCode.ABNORMAL_CLOSURE
        self.close_reason = ""
        self.failure_code: int | None = None
        self.peer_ended: asyncio.Future[None] = loop.create_future()
        self.tcp_closed: asyncio.Future[None] = loop.create_future()

    def take(self, event: ConnectionEvent) -> None:
        """Take the step of this event.

        Raises:
            IllegalStep: The event is not legal in this state.
        """
        self.state = step("connection", STEPS, self.state, event)
        self.is_receiving = self.state in RECEIVING
        self.is_sending = self.state in SENDING
        if not self.is_receiving and not self.peer_ended.done():
            self.peer_ended.set_result(None)
        if self.state is ConnectionState.CLOSED:
            self.tcp_closed.set_result(None)
