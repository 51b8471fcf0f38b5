"""The messages of a peer, from the call that reads them to the task that takes them.

A listener is a task that has given a ``MessageHandler`` and waits. The handler is called in the
very call that read the message, without a change of tasks. A handler that cannot finish at once
returns the remainder of its work. The listener wakes, awaits the remainder, and takes the messages
that were read meanwhile:

    data_received                               listener
         │                                         │
         │                                     await Wakeup
         │ ─ handle(message) ─> None               │
         │ ─ handle(message) ─> Remainder          │
         │ ─────── Wakeup.set_result(Remainder) ─> │
         │                                     await Remainder
         │ ─ unread.append(message)                │
         │ ─ unread.append(message)                │
         │                                     handle(unread.popleft())
         │                                     handle(unread.popleft())
         │                                     await Wakeup
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from relay.wire.frame_reader import FRAME_OVERHEAD_BYTES
from relay.wire.intake import Intake
from relay.wire.state import Lifecycle

MAX_UNREAD_BYTES = 64 * 1024
"""The relay reads up to this much while it works on an earlier message: it sees a Close behind it
at once. Each message counts with `FRAME_OVERHEAD_BYTES`."""

Remainder = Awaitable[None]
"""The work on a message that takes time; it is awaited before the next message is taken."""

MessageHandler = Callable[[bytes], Remainder | None]
"""Takes a message."""

Wakeup = asyncio.Future[Remainder | None]
"""Wakes the task that waits for messages. Its result is the remainder of a message that was handled
already; None when there may be a message to take, or the peer has ended."""


class Inbox:
    """The messages that were read, and are not taken yet; reading pauses while they are many.

    Attributes:
        read_at: When the message that is handled now was read, by `time.monotonic`.
    """

    __slots__ = (
        "_handle",
        "_intake",
        "_life",
        "_unread",
        "_unread_bytes",
        "_wakeup",
        "read_at",
    )

    def __init__(self, life: Lifecycle, intake: Intake) -> None:
        self._life = life
        self._intake = intake
        self._unread: deque[tuple[bytes, float]] = deque()
        self._unread_bytes = 0
        self._handle: MessageHandler | None = None
        self._wakeup: Wakeup | None = None
        self.read_at = intake.received_at

    async def listen(self, handle: MessageHandler) -> None:
        """Give each message to ``handle`` until the peer has ended; await each remainder."""
        self._handle = handle
        try:
            while self._unread or self._life.is_receiving:
                remainder = handle(self._take()) if self._unread else await self._wait()
                if remainder is not None:
                    await remainder
        finally:
            self._handle = None

    async def receive(self) -> bytes | None:
        """Return the next message; None once the peer has ended and all was taken."""
        while not self._unread and self._life.is_receiving:
            await self._wait()
        return self._take() if self._unread else None

    async def _wait(self) -> Remainder | None:
        self._wakeup = asyncio.get_running_loop().create_future()
        try:
            return await self._wakeup
        finally:
            self._wakeup = None

    def _take(self) -> bytes:
        message, self.read_at = self._unread.popleft()
        self._unread_bytes -= len(message) + FRAME_OVERHEAD_BYTES
        if not self._unread:
            self._intake.drain()
        return message

    def deliver(self, message: bytes) -> None:
        """Give a message to the handler of a listener that waits, or keep it."""
        wakeup = self._wakeup
        if wakeup is None or wakeup.done() or self._handle is None:
            self._keep(message)
            return
        self.read_at = self._intake.received_at
        try:
            remainder = self._handle(message)
        except Exception as defect:  # noqa: BLE001  # it is raised in the listener
            wakeup.set_exception(defect)
            return
        if remainder is not None:
            wakeup.set_result(remainder)

    def _keep(self, message: bytes) -> None:
        self._unread.append((message, self._intake.received_at))
        self._unread_bytes += len(message) + FRAME_OVERHEAD_BYTES
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self._intake.fill()
        self.wake()

    def wake(self) -> bool:
        """Wake the task that waits for messages; return whether one was waiting."""
        if self._wakeup is None or self._wakeup.done():
            return False
        self._wakeup.set_result(None)
        return True
