"""The data that waits in the relay for all clients together: it is limited.

Each client may hold ``max_buffered_bytes`` and the message that is being written to it, and a part
of a message that it sends slowly. A thousand clients would hold gigabytes.
"""

from typing import Protocol

MAX_WAITING_BYTES = 256 * 1024 * 1024
"""The limit of one process."""


class Holder(Protocol):
    """One direction of the connection to a client."""

    def waiting_bytes(self) -> int:
        """Return the bytes that wait."""

    def on_slow(self) -> None:
        """Close the client, because it holds the most."""


class WaitingData:
    """Counts the bytes that wait in each direction, and closes the clients that hold most."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._total_bytes = 0
        self._waiting_bytes: dict[Holder, int] = {}

    def note(self, writer: Holder) -> None:
        """Count the bytes that wait for a client now; close clients if all hold too much."""
        self._count(writer)
        if self._total_bytes > self._max_bytes:
            for each in tuple(self._waiting_bytes):
                self._count(each)  # a part may have been sent meanwhile
        while self._total_bytes > self._max_bytes:
            largest = max(self._waiting_bytes, key=self._waiting_bytes.__getitem__)
            self.discard(largest)
            largest.on_slow()

    def discard(self, writer: Holder) -> None:
        """Count a client no more: it has room, or is lost."""
        self._total_bytes -= self._waiting_bytes.pop(writer, 0)

    def _count(self, writer: Holder) -> None:
        waiting_bytes = writer.waiting_bytes()
        self._total_bytes += waiting_bytes - self._waiting_bytes.get(writer, 0)
        self._waiting_bytes[writer] = waiting_bytes
