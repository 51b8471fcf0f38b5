"""The data that waits for all slow clients together: it is limited.

Each client may hold ``max_buffered_bytes`` and the message that is being written. A thousand slow
clients would hold gigabytes.
"""

from collections.abc import Callable
from typing import Protocol

MAX_WAITING_BYTES = 256 * 1024 * 1024
"""The limit of one process."""


class ClientWriter(Protocol):
    """A writer to a client.

    Attributes:
        on_slow: Called when the client must be closed because it is slow.
    """

    on_slow: Callable[[], None]

    def waiting_bytes(self) -> int:
        """Return the bytes that wait for the client."""


class WaitingData:
    """Counts the bytes of the clients without room, and closes those that hold most."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._total_bytes = 0
        self._waiting_bytes: dict[ClientWriter, int] = {}

    def note(self, writer: ClientWriter) -> None:
        """Count the bytes that wait for a client now; close clients if all hold too much."""
        self._count(writer)
        if self._total_bytes > self._max_bytes:
            for each in tuple(self._waiting_bytes):
                self._count(each)  # a part may have been sent meanwhile
        while self._total_bytes > self._max_bytes:
            largest = max(self._waiting_bytes, key=self._waiting_bytes.__getitem__)
            self.discard(largest)
            largest.on_slow()

    def discard(self, writer: ClientWriter) -> None:
        """Count a client no more: it has room, or is lost."""
        self._total_bytes -= self._waiting_bytes.pop(writer, 0)

    def _count(self, writer: ClientWriter) -> None:
        waiting_bytes = writer.waiting_bytes()
        self._total_bytes += waiting_bytes - self._waiting_bytes.get(writer, 0)
        self._waiting_bytes[writer] = waiting_bytes
