"""The thread that writes to the ledger.

All entries that wait share its next transaction. So a thousand sessions cost one fsync, and an
entry costs the event loop one put into a queue. After a fault of the disk the entries stay in
memory, in their order, until a retry writes them.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from queue import Empty, SimpleQueue

from relay.core.budgets import Payer
from relay.ledger.connection import (
    DiskFault,
    LedgerConnection,
    Refusal,
    as_os_error,
    cause_of,
    is_temporary,
)
from relay.ledger.entries import Entry
from relay.ledger.file_identity import LedgerReplaced

RETRY_SECONDS = 0.25
"""The time from a fault to the next attempt."""


@dataclass(frozen=True, slots=True, eq=False)
class PendingEntry:
    """An entry that is not on disk yet, and the future of the coroutine that waits for it."""

    entry: Entry
    written: asyncio.Future[None]


@dataclass(frozen=True, slots=True, eq=False)
class SpentQuestion:
    """The question how much each payer has spent since a time."""

    since: datetime
    answer: Future[Mapping[Payer, int]]


class WriterState(Enum):
    """The state of the writer; `_TRANSITIONS` has the steps between them."""

    OPENING = auto()
    """The ledger was never open; a fault that is not temporary refuses the file."""

    WORKING = auto()
    """The writer is connected, and waits for entries and questions."""

    RETRYING = auto()
    """The writer lost its connection by a fault; it connects again after `RETRY_SECONDS`."""

    STOPPING = auto()
    """The ledger is closed; the writer writes the entries that are left, and retries that too."""

    STOPPED = auto()
    """The thread has ended, or is about to end."""


_TRANSITIONS: Mapping[WriterState, frozenset[WriterState]] = {
    WriterState.OPENING: frozenset(
        {
            WriterState.WORKING,
            WriterState.RETRYING,  # after a fault, when the start no longer waits
            WriterState.STOPPING,
            WriterState.STOPPED,  # the file is refused
        }
    ),
    WriterState.WORKING: frozenset({WriterState.RETRYING, WriterState.STOPPING}),
    WriterState.RETRYING: frozenset({WriterState.WORKING, WriterState.STOPPING}),
    WriterState.STOPPING: frozenset({WriterState.STOPPED}),
    WriterState.STOPPED: frozenset(),
}


class Writer:
    """Owns the thread and its connection.

    Attributes:
        queue: the work; None is the last item.
        opened: done when the ledger is open; holds an OSError if the file cannot be the ledger.
        stopped: done when the thread ends.
        abandoned: set when the ledger no longer waits for the entries that are left.
        cause: the fault since which no entry was written, empty without one.
        state: changed by the thread only.
    """

    def __init__(
        self,
        file: Path,
        on_written: Callable[[Sequence[PendingEntry], Sequence[Refusal]], None],
        *,
        busy_seconds: float,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        """Write to the file.

        The thread calls ``on_written`` after each transaction, and ``on_replaced`` when the file
        is not the one that it has opened.
        """
        self.queue: SimpleQueue[PendingEntry | SpentQuestion | None] = SimpleQueue()
        self.opened: Future[None] = Future()
        self.stopped: Future[None] = Future()
        self.abandoned = threading.Event()
        self.cause = ""
        self.state = WriterState.OPENING
        self._on_written = on_written
        self._on_replaced = on_replaced
        self._connection = LedgerConnection(file, busy_seconds=busy_seconds)
        self._backlog: list[PendingEntry] = []
        self._questions: list[SpentQuestion] = []

    def start(self) -> None:
        """Start the thread."""
        # A daemon, so that a disk that hangs does not keep the process from ending.
        threading.Thread(target=self._run, name="ledger", daemon=True).start()

    @property
    def commits(self) -> int:
        """The number of committed transactions."""
        return self._connection.commits

    def _run(self) -> None:
        try:
            while not self._is_finished():
                try:
                    self._work()
                except (sqlite3.Error, OSError) as fault:
                    self._recover(fault)
        finally:
            self._connection.release()
            self.stopped.set_result(None)

    def _is_finished(self) -> bool:
        if self.state is WriterState.STOPPING and not self._backlog:
            self._enter(WriterState.STOPPED)
        return self.state is WriterState.STOPPED or self.abandoned.is_set()

    def _work(self) -> None:
        """Write the entries and answer the questions that wait, then wait for more."""
        self._connect()
        written = self._backlog
        refused = self._connection.write([pending.entry for pending in written])
        self._backlog = []
        self.cause = ""
        self._on_written(written, refused)
        self._answer_questions()
        if self.state is WriterState.WORKING:
            self._take(self.queue.get())
            self._take_available()

    def _connect(self) -> None:
        self._connection.open()
        if self.state is WriterState.OPENING and self.opened.set_running_or_notify_cancel():
            self.opened.set_result(None)
        if self.state in {WriterState.OPENING, WriterState.RETRYING}:
            self._enter(WriterState.WORKING)

    def _answer_questions(self) -> None:
        while self._questions:
            spent = self._connection.spent(self._questions[0].since)
            answer = self._questions.pop(0).answer
            if answer.set_running_or_notify_cancel():
                answer.set_result(spent)

    def _recover(self, fault: DiskFault) -> None:
        """Keep the entries until the next attempt, or refuse the file."""
        self.cause = cause_of(fault)
        self._connection.close()
        if isinstance(fault, LedgerReplaced):
            self._on_replaced()
        if self.state is WriterState.OPENING and not is_temporary(fault):
            if self.opened.set_running_or_notify_cancel():
                self.opened.set_exception(as_os_error(fault, self._connection.file))
                self._enter(WriterState.STOPPED)
                return
            self._enter(WriterState.RETRYING)
        elif self.state is WriterState.WORKING:
            self._enter(WriterState.RETRYING)
        self.abandoned.wait(RETRY_SECONDS)
        self._take_available()

    def _take(self, item: PendingEntry | SpentQuestion | None) -> None:
        match item:
            case PendingEntry():
                self._backlog.append(item)
            case SpentQuestion():
                self._questions.append(item)
            case None if self.state is not WriterState.STOPPING:
                self._enter(WriterState.STOPPING)

    def _take_available(self) -> None:
        with suppress(Empty):
            while True:
                self._take(self.queue.get_nowait())

    def _enter(self, state: WriterState) -> None:
        if state not in _TRANSITIONS[self.state]:
            raise AssertionError(f"the writer cannot step from {self.state} to {state}")
        self.state = state
