"""The ledger for the event loop: an entry is on disk before the client receives its event.

If the disk fails, entries stay in memory, in their order, and are written when the disk works
again. A caller waits at most ``patience_seconds`` for an entry. After a longer wait the ledger is
``failing`` until every entry is written. A crash in that state loses the entries in memory.

The ledger is ``failing`` too when its file was deleted, moved, replaced or truncated. Then it opens
a new file at the path.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from structlog.typing import FilteringBoundLogger as Logger

from relay.core.budgets import Payer
from relay.core.reports import Report
from relay.ledger.connection import Refusal
from relay.ledger.entries import Entry, SessionEnd, SessionReport, SessionStart
from relay.ledger.tables import LedgerUnusable
from relay.ledger.writer import PendingEntry, SpentQuestion, Writer

PATIENCE_SECONDS = 1.0
"""The longest wait of a caller for the disk."""

_MIN_SQLITE = (3, 37, 0)
"""The first version with STRICT tables (https://www.sqlite.org/stricttables.html)."""


class Ledger:
    """Writes sessions and their usage to disk.

    Attributes:
        failing: an entry has waited longer than ``patience_seconds``, and is in memory only.
        unwritten: the number of entries that are not on disk.
        refused: the number of entries that SQLite refused; each is an error in the log.
    """

    def __init__(self, file: Path, log: Logger, *, patience_seconds: float) -> None:
        self.failing = False
        self.unwritten = 0
        self.refused = 0
        self._log = log
        self._patience_seconds = patience_seconds
        self._numbers: dict[str, dict[str, int]] = {}
        self._loop = asyncio.get_running_loop()
        # Half of it, so that the cause is known when the patience ends.
        busy_seconds = patience_seconds / 2
        self._writer = Writer(
            file, self._notify_loop, busy_seconds=busy_seconds, on_replaced=self._notify_failure
        )

    @classmethod
    async def open(
        cls, file: Path, log: Logger, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> "Ledger":
        """Open the ledger, create it if necessary, and close the sessions that crashes left open.

        With a full disk or a locked file the ledger opens and is ``failing``.

        Raises:
            OSError: the file cannot be the ledger; `LedgerUnusable` if SQLite reports the fault.
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
        """The number of committed transactions."""
        return self._writer.commits

    async def session_started(self, start: SessionStart) -> None:
        """Write the start of a session; waits as ``used`` does."""
        self._numbers[start.session_id] = {}
        await self._write(start)

    async def used(self, session_id: str, report: Report, reported_at: datetime) -> bool:
        """Write a report of usage of an open session; return whether the report is new.

        Returns when the report is on disk, or after ``patience_seconds``, or at once while the
        ledger is failing. Canceling is safe: the report is written anyway.
        """
        numbers = self._numbers[session_id]
        is_new = report.report_id not in numbers
        # A known report takes the same way, so that it waits until its first copy is on disk.
        number = numbers.setdefault(report.report_id, len(numbers) + 1)
        await self._write(SessionReport(session_id, report, reported_at, number))
        return is_new

    async def session_ended(self, end: SessionEnd) -> None:
        """Write the end of a session; waits as ``used`` does.

        Does nothing for a session whose start is not in the ledger.
        """
        numbers = self._numbers.pop(end.session_id, None)
        if numbers is not None:
            await self._write(replace(end, reports_made=len(numbers)))

    def spent(self, since: datetime) -> asyncio.Future[Mapping[Payer, int]]:
        """Ask for the spending of each client, persona and end user since a time.

        The result is in micro-dollars and includes all usage up to this call, committed or not.
        While the disk fails there is no result; it comes when every entry is written.
        """
        question = SpentQuestion(since, Future())
        self._writer.queue.put(question)
        return asyncio.wrap_future(question.answer, loop=self._loop)

    async def close(self, seconds: float = 5.0) -> None:
        """Write the entries that are left, and close; takes at most ``seconds``."""
        self._writer.queue.put(None)
        stopped = asyncio.wrap_future(self._writer.stopped)
        await asyncio.wait((stopped,), timeout=seconds)
        self._writer.abandoned.set()
        if self.unwritten:
            self._log.error("ledger.lost", unwritten=self.unwritten, cause=self._writer.cause)

    async def _write(self, entry: Entry) -> None:
        written: asyncio.Future[None] = self._loop.create_future()
        self.unwritten += 1
        self._writer.queue.put(PendingEntry(entry, written))
        if self.failing:
            return
        # Not a timeout around an await: it would cancel the future that the writer resolves.
        await asyncio.wait((written,), timeout=self._patience_seconds)
        if not written.done():
            self._fail()

    def _fail(self) -> None:
        if not self.failing:
            self.failing = True
            self._log.error("ledger.failed", unwritten=self.unwritten, cause=self._writer.cause)

    def _notify_failure(self) -> None:
        """Fail on the event loop; called by the thread of the writer."""
        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            self._loop.call_soon_threadsafe(self._fail)

    def _notify_loop(self, written: Sequence[PendingEntry], refused: Sequence[Refusal]) -> None:
        """Resolve the entries on the event loop; called by the thread of the writer."""
        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            self._loop.call_soon_threadsafe(self._resolve, written, refused)

    def _resolve(self, written: Sequence[PendingEntry], refused: Sequence[Refusal]) -> None:
        self.unwritten -= len(written)
        self.refused += len(refused)
        for session_id, cause in refused:
            self._log.error("ledger.refused", session_id=session_id, cause=cause)
        for pending in written:
            pending.written.set_result(None)
        if self.failing:
            self.failing = False
            self._log.warning("ledger.recovered", written=len(written))
