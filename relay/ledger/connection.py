"""The connection through which one relay writes to the ledger."""

import errno
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from relay.core.budgets import Payer
from relay.ledger import entries, query, tables
from relay.ledger.crashes import close_crashed
from relay.ledger.entries import Entry
from relay.ledger.file_identity import FileIdentity, LedgerReplaced
from relay.ledger.instances import Instance
from relay.ledger.open_sessions import OpenSessions
from relay.ledger.tables import LedgerUnusable

_TEMPORARY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_TEMPORARY_ERRNO = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Faults that end by themselves or by the operator, so that a relay may start with them."""

_REFUSALS = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
    ValueError,
)
"""Faults of an entry and not of the disk: no attempt can write it."""

Refusal = tuple[str, str]
"""The session of an entry that SQLite refused, and the reason."""

DiskFault = sqlite3.Error | OSError
"""A fault of the disk or of the file."""


class LedgerConnection:
    """Writes to the ledger for one instance; used by one thread.

    A closed connection opens again with the next call of `open`, because the file may be another
    one by then: the starts of the open sessions are written to it too. The lock of the instance is
    held until `release`.

    Attributes:
        commits: the number of committed transactions.
    """

    def __init__(self, file: Path, *, busy_seconds: float) -> None:
        self.file = file
        self.commits = 0
        self._busy_seconds = busy_seconds
        self._instance = Instance(file)
        self._connection: sqlite3.Connection | None = None
        self._identity: FileIdentity | None = None
        self._open_sessions = OpenSessions()

    def open(self) -> None:
        """Connect, and close the sessions that crashes left open; do nothing if connected.

        Raises:
            sqlite3.Error: as `tables.connect`.
            OSError: as `tables.connect`, or the lock file cannot be created.
        """
        if self._connection is not None:
            return
        connection = tables.connect(self.file, busy_seconds=self._busy_seconds)
        try:
            self._instance.acquire()
            close_crashed(connection, self.file)
            if starts := self._open_sessions.missing_starts(connection):
                entries.write(connection, starts, self._instance.name)
            self._identity = FileIdentity(self.file)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def close(self) -> None:
        """Disconnect; the lock of the instance stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def release(self) -> None:
        """Disconnect, and release the lock of the instance."""
        self.close()
        self._instance.release()

    def write(self, batch: Sequence[Entry]) -> list[Refusal]:
        """Write entries in one transaction; return those that SQLite refused.

        After a refusal each entry has a transaction of its own.

        Raises:
            sqlite3.Error: a fault of the disk; the entries are written again later.
            LedgerReplaced: the file is not the one that was opened; likewise.
        """
        try:
            self._commit(batch)
        except _REFUSALS:
            return [refusal for entry in batch for refusal in self._write_one(entry)]
        return []

    def spent(self, since: datetime) -> Mapping[Payer, int]:
        """Return the spending of each payer since a time, in micro-dollars."""
        return query.spent(self._connected(), since)

    def _write_one(self, entry: Entry) -> list[Refusal]:
        try:
            self._commit([entry])
        except _REFUSALS as fault:
            return [(entry.session_id, str(fault))]
        return []

    def _commit(self, batch: Sequence[Entry]) -> None:
        if batch and self._identity is not None:
            self._check_file(self._identity)
            adapted = tuple(self._open_sessions.adapt(batch))
            entries.write(self._connected(), adapted, self._instance.name)
            self._open_sessions.note(batch)
            self.commits += 1

    def _check_file(self, identity: FileIdentity) -> None:
        try:
            identity.check()
        except LedgerReplaced:
            # Closing writes nothing to a file that was moved, and leaves a log of writes that
            # SQLite would apply to the next file at the path.
            with suppress(sqlite3.Error):
                self._connected().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            raise AssertionError("the connection is used before it is open")
        return self._connection


def cause_of(fault: DiskFault) -> str:
    """Return the name of a fault for the log: ``SQLITE_BUSY``, or the type of an OSError."""
    return getattr(fault, "sqlite_errorname", None) or type(fault).__name__


def is_temporary(fault: DiskFault) -> bool:
    """Return whether a relay may start with this fault, because the fault may end."""
    if isinstance(fault, OSError):
        return fault.errno in _TEMPORARY_ERRNO
    return fault.sqlite_errorcode & 0xFF in _TEMPORARY


def as_os_error(fault: DiskFault, file: Path) -> OSError:
    """Return the fault as the error of a file that cannot be the ledger."""
    return fault if isinstance(fault, OSError) else LedgerUnusable(f"{file}: {fault}")
