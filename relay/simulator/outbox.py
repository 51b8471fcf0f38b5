"""The messages that wait for one client, in order; only the ``SocketWriter`` takes from here.

A send must not be cancelled, and two sends must not wait at the same time: aiohttp 3.14 loses
track of the waiting tasks. Therefore one writer sends all messages, also pings.
"""

import asyncio
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextFrame:
    """A text message."""

    text: str


@dataclass(frozen=True, slots=True)
class BinaryFrame:
    """A binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PingFrame:
    """A ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PongFrame:
    """The answer to a ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """Start the closing handshake."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Delay:
    """Send nothing for ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Send nothing more; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Drop:
    """End the TCP connection without a close frame."""


MessageFrame = TextFrame | BinaryFrame | PingFrame | PongFrame
OutboxEntry = MessageFrame | Delay | Stall | CloseFrame | Drop


class Outbox:
    """A queue with a limit that producers can wait for.

    Args:
        max_bytes: The size of text and binary above which the queue is too full.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[OutboxEntry] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def put(self, *entries: OutboxEntry) -> None:
        """Add entries at the end. Never waits: a producer that can wait awaits ``room`` first."""
        for entry in entries:
            self._waiting.append(entry)
            self._waiting_bytes += _size(entry)
        if self._waiting_bytes > self._max_bytes:
            self._has_room.clear()
        if self._waiting:
            self._filled.set()

    async def room(self) -> None:
        """Wait until the queue is not too full. Canceling it is safe."""
        await self._has_room.wait()

    async def take(self) -> OutboxEntry:
        """Wait for the first entry, remove it and return it. Canceling it is safe."""
        await self._filled.wait()
        entry = self._waiting.popleft()
        self._waiting_bytes -= _size(entry)
        if self._waiting_bytes <= self._max_bytes:
            self._has_room.set()
        if not self._waiting:
            self._filled.clear()
        return entry


def _size(entry: OutboxEntry) -> int:
    match entry:
        case TextFrame(text):
            return len(text)
        case BinaryFrame(data):
            return len(data)
    return 0
