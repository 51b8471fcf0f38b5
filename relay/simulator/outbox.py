"""What is to go to one client, in order; the only one who writes to its socket takes from here.

A send must not be cancelled, nor two of them wait at once (aiohttp 3.14 loses track of who
waits), so everything that is sent, pings included, goes through one writer.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from relay.simulator.commands import Close


@dataclass(frozen=True, slots=True)
class Text:
    """A text message."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for some time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing, ever again."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The end of the TCP connection, without a word."""


Entry = Text | Binary | Ping | Pong | Pause | Stall | Drop | Close


class Outbox:
    """A queue that says when it is too full.

    Args:
        max_bytes: Of text and binary that may wait before it is.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def put(self, *entries: Entry) -> None:
        """Put something at the end. Never waits: who can wait awaits ``room`` first."""
        for entry in entries:
            self._waiting.append(entry)
            self._waiting_bytes += _size(entry)
        if self._waiting_bytes > self._max_bytes:
            self._has_room.clear()
        if self._waiting:
            self._filled.set()

    async def room(self) -> None:
        """Wait until it is not too full. Canceling it is safe."""
        await self._has_room.wait()

    async def take(self) -> Entry:
        """Wait for what is first, and take it out. Canceling it is safe."""
        await self._filled.wait()
        entry = self._waiting.popleft()
        self._waiting_bytes -= _size(entry)
        if self._waiting_bytes <= self._max_bytes:
            self._has_room.set()
        if not self._waiting:
            self._filled.clear()
        return entry


def _size(entry: Entry) -> int:
    match entry:
        case Text(text):
            return len(text)
        case Binary(data):
            return len(data)
    return 0
