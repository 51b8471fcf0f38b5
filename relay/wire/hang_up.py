"""The end of TCP, after the closing handshake."""

import asyncio

from relay.wire.state import ConnectionState, Lifecycle

QUIET_SECONDS = 0.1
"""A peer that broke the protocol and sends no byte for this long has stopped sending."""


class HangUp:
    """Closes TCP once everything is sent and the peer has been quiet for a while.

    Closing while bytes are unread makes TCP reset the connection, and a peer that is still sending
    never sees our last frames. No Close can be read from a peer that broke the protocol, so the
    relay waits until it is quiet.
    """

    __slots__ = ("_life", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, life: Lifecycle) -> None:
        self._transport = transport
        self._life = life
        self._timer: asyncio.TimerHandle | None = None

    def schedule(self) -> None:
        """Close TCP soon."""
        self.cancel()
        has_failed = self._life.state is ConnectionState.FAILED_CLOSE_SENT
        quiet_seconds = QUIET_SECONDS if has_failed else 0
        self._timer = asyncio.get_running_loop().call_later(quiet_seconds, self._close)

    def postpone(self) -> None:
        """Begin the quiet time again: a byte came. Does nothing before `schedule`."""
        if self._timer is not None:
            self.schedule()

    def cancel(self) -> None:
        """Do not close TCP any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # it leads back here

    def _close(self) -> None:
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        else:
            self._transport.close()
