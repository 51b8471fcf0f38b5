"""What was used, on disk before the client is told.

One thread owns the connection, and whatever waits for it shares its next transaction: a thousand
sessions cost one fsync, and none of them costs the event loop more than a queue.

When the disk fails, rows are kept in memory, in their order, and written when it is back. Nobody
waits longer than ``patience_seconds`` for that; a row that took longer makes the ledger
``failing``, until everything is written. A crash in that state loses what is in memory.
"""

import asyncio
import errno
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.budgets import Payer
from relay.ledger import books
from relay.ledger.books import Entry, Instance, LedgerUnusable, SessionEnd, SessionRow, UsageRow

__all__ = ["PATIENCE_SECONDS", "Ledger", "LedgerUnusable", "SessionEnd", "SessionRow", "UsageRow"]

PATIENCE_SECONDS = 1.0
"""How long anybody waits for the disk."""

RETRY_SECONDS = 0.25
"""How long after a fault the disk is tried again."""

_MIN_SQLITE = (3, 37, 0)
"""The first with STRICT tables (https://www.sqlite.org/stricttables.html)."""

_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_PASSING_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Faults with which a relay may start: they pass, or the operator ends them."""

_REFUSALS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)
"""Faults of a row and not of the disk: it would never be written."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A row that is not on disk yet, and who waits for it."""

    entry: Entry
    written: asyncio.Future[None]


@dataclass(frozen=True, slots=True, eq=False)
class _Spent:
    """The question what was spent since a moment."""

    since: datetime
    answer: Future[Mapping[Payer, int]]


Refused = list[tuple[str, str]]
"""The session of each row that was not taken, and why."""


class Ledger:
    """Writes down sessions and what they use.

    Attributes:
        failing: a row has waited for longer than ``patience_seconds``, and is in memory only.
        unwritten: how many rows are not on disk.
        refused: how many rows SQLite would not take; each is an error in the log.
    """

    def __init__(self, file: Path, log: Logger, *, patience_seconds: float) -> None:
        self.failing = False
        self.unwritten = 0
        self.refused = 0
        self._log = log
        self._patience_seconds = patience_seconds
        self._reports: dict[str, dict[str, int]] = {}
        self._loop = asyncio.get_running_loop()
        # Half of it, so that whoever runs out of patience knows the cause.
        self._writer = _Writer(file, self._tell, busy_seconds=patience_seconds / 2)

    @classmethod
    async def open(
        cls, file: Path, log: Logger, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> "Ledger":
        """Open the ledger; make it if there is none, and close what a crash has left open.

        A full disk or a locked file does not keep it from being opened: it is ``failing`` then.

        Raises:
            OSError: the file cannot be the ledger; it is `LedgerUnusable` where SQLite says so.
        """
        if sqlite3.sqlite_version_info < _MIN_SQLITE:
            raise LedgerUnusable(f"SQLite is {sqlite3.sqlite_version}: 3.37 is needed")
        ledger = cls(file, log, patience_seconds=patience_seconds)
        await ledger._start()
        return ledger

    async def _start(self) -> None:
        self._writer.start()
        opened = asyncio.wrap_future(self._writer.opened)
        await asyncio.wait((opened,), timeout=self._patience_seconds)
        if opened.done():
            opened.result()
        else:
            opened.cancel()
            self._fail()

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._writer.commits

    async def session_started(self, row: SessionRow) -> None:
        """Write down a session that starts; it waits as ``used`` does."""
        self._reports[row.session_id] = {}
        await self._write(Entry(row, 0))

    async def used(self, row: UsageRow) -> bool:
        """Write down a report of usage of a session that is open; return whether it is new.

        Returns when it is on disk, or after ``patience_seconds``, or at once while the ledger is
        failing. Cancelling it is safe: the row is written all the same.
        """
        numbers = self._reports[row.session_id]
        new = row.report_id not in numbers
        # A report that is known goes the same way, so that it waits for its first appearance.
        await self._write(Entry(row, numbers.setdefault(row.report_id, len(numbers) + 1)))
        return new

    async def session_ended(self, row: SessionEnd) -> None:
        """Write down how a session ended; it waits as ``used`` does."""
        await self._write(Entry(row, len(self._reports.pop(row.session_id))))

    def spent(self, since: datetime) -> asyncio.Future[Mapping[Payer, int]]:
        """Ask what each client, persona and end user has spent since then, in micro-dollars.

        What was used until it is asked is in it, committed or not. While the disk fails there is
        no answer; it comes when everything is written.
        """
        question = _Spent(since, Future())
        self._writer.queue.put(question)
        return asyncio.wrap_future(question.answer, loop=self._loop)

    async def close(self, seconds: float = 5.0) -> None:
        """Write what is not written, and close; within a bound, even if the disk hangs."""
        self._writer.queue.put(None)
        stopped = asyncio.wrap_future(self._writer.stopped)
        await asyncio.wait((stopped,), timeout=seconds)
        self._writer.abandoned.set()
        if self.unwritten:
            self._log.error("ledger.lost", unwritten=self.unwritten, cause=self._writer.cause)

    async def _write(self, entry: Entry) -> None:
        written: asyncio.Future[None] = self._loop.create_future()
        self.unwritten += 1
        self._writer.queue.put(_Waiting(entry, written))
        if self.failing:
            return
        # Not a timeout around an await: that would cancel what the writer is about to resolve.
        await asyncio.wait((written,), timeout=self._patience_seconds)
        if not written.done():
            self._fail()

    def _fail(self) -> None:
        if not self.failing:
            self.failing = True
            self._log.error("ledger.failed", unwritten=self.unwritten, cause=self._writer.cause)

    def _tell(self, written: Sequence[_Waiting], refused: Refused) -> None:
        """Tell the loop what the writer has done; called by the writer."""
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._note, written, refused)

    def _note(self, written: Sequence[_Waiting], refused: Refused) -> None:
        self.unwritten -= len(written)
        self.refused += len(refused)
        for session_id, cause in refused:
            self._log.error("ledger.refused", session_id=session_id, cause=cause)
        for waiting in written:
            waiting.written.set_result(None)
        if self.failing:
            self.failing = False
            self._log.warning("ledger.recovered", written=len(written))


class _Writer(threading.Thread):
    """The thread that owns the connection.

    After a fault it begins anew with another connection, because the file may be another one.

    Attributes:
        queue: what is to be done; None is the last.
        abandoned: nobody waits for the rest any more.
        cause: why the disk fails.
    """

    def __init__(
        self,
        file: Path,
        tell: Callable[[Sequence[_Waiting], Refused], None],
        *,
        busy_seconds: float,
    ) -> None:
        # A daemon, so that a disk that hangs does not keep the process.
        super().__init__(name="ledger", daemon=True)
        self.queue: SimpleQueue[_Waiting | _Spent | None] = SimpleQueue()
        self.opened: Future[None] = Future()
        self.stopped: Future[None] = Future()
        self.abandoned = threading.Event()
        self.commits = 0
        self.cause = ""
        self._file = file
        self._tell = tell
        self._busy_seconds = busy_seconds
        self._instance = Instance(file)
        self._connection: sqlite3.Connection | None = None
        self._backlog: list[_Waiting] = []
        self._questions: list[_Spent] = []
        self._last = False

    def run(self) -> None:
        """Write until told to stop, and then what is left."""
        try:
            while not self.abandoned.is_set():
                try:
                    self._work()
                except (sqlite3.Error, OSError) as fault:
                    self._survive(fault)
                if self._last and not self._backlog:
                    break
        finally:
            self._disconnect()
            self._instance.leave()
            self.stopped.set_result(None)

    def _work(self) -> None:
        """Write and answer what waits, then wait for more."""
        connection = self._connection = self._connection or self._connect()
        written, refused = self._backlog, self._write(connection)
        self._backlog = []
        self.cause = ""
        self._tell(written, refused)
        self._answer(connection)
        if not self._last:
            self._take(self.queue.get())
            self._take_what_waits()

    def _answer(self, connection: sqlite3.Connection) -> None:
        while self._questions:
            spent = books.spent(connection, self._questions[0].since)
            answer = self._questions.pop(0).answer
            if answer.set_running_or_notify_cancel():
                answer.set_result(spent)

    def _write(self, connection: sqlite3.Connection) -> Refused:
        """Write the backlog in one transaction, but for rows that can never be written."""
        try:
            self._commit(connection, self._backlog)
        except _REFUSALS:
            return [refusal for row in self._backlog for refusal in self._try(connection, row)]
        return []

    def _try(self, connection: sqlite3.Connection, waiting: _Waiting) -> Refused:
        try:
            self._commit(connection, [waiting])
        except _REFUSALS as fault:
            return [(waiting.entry.row.session_id, str(fault))]
        return []

    def _commit(self, connection: sqlite3.Connection, rows: Sequence[_Waiting]) -> None:
        if rows:
            books.write(connection, [row.entry for row in rows], self._instance.name)
            self.commits += 1

    def _connect(self) -> sqlite3.Connection:
        connection = books.connect(self._file, busy_seconds=self._busy_seconds)
        try:
            self._instance.live()
            books.close_crashed(connection, self._file)
        except BaseException:
            connection.close()
            raise
        if not self.opened.done() and self.opened.set_running_or_notify_cancel():
            self.opened.set_result(None)
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _survive(self, fault: sqlite3.Error | OSError) -> None:
        """Keep what is to be written until the disk is tried again."""
        self.cause = getattr(fault, "sqlite_errorname", None) or type(fault).__name__
        self._disconnect()
        if self.opened.done() or _passes(fault):
            self.abandoned.wait(RETRY_SECONDS)
            self._take_what_waits()
        elif self.opened.set_running_or_notify_cancel():  # pragma: no branch  # cancelled just now
            self.abandoned.set()
            self.opened.set_exception(_told(fault, self._file))

    def _take(self, item: _Waiting | _Spent | None) -> None:
        match item:
            case _Waiting():
                self._backlog.append(item)
            case _Spent():
                self._questions.append(item)
            case None:  # pragma: no branch  # all kinds
                self._last = True

    def _take_what_waits(self) -> None:
        with suppress(Empty):
            while True:
                self._take(self.queue.get_nowait())


def _passes(fault: sqlite3.Error | OSError) -> bool:
    if isinstance(fault, OSError):
        return fault.errno in _PASSING_ERRNO
    return fault.sqlite_errorcode & 0xFF in _PASSING


def _told(fault: sqlite3.Error | OSError, file: Path) -> OSError:
    return fault if isinstance(fault, OSError) else LedgerUnusable(f"{file}: {fault}")
