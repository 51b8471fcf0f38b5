"""The deletion of old sessions, ``relay usage --prune``."""

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from relay.ledger.tables import connect, reading, sqlite_errors_as_unusable, transaction, utc_text

_SESSIONS_PER_TRANSACTION = 1000
"""A transaction of this size does not make a relay wait to write."""

_BUSY_SECONDS = 10


def prune_ledger(file: Path, before: datetime) -> int:
    """Delete the sessions that ended before a time, with their reports; return their number.

    The deleted data is overwritten and its space is used again. The file does not shrink.

    Raises:
        OSError: the ledger does not exist, or cannot be used.
    """
    with reading(file):
        pass  # the file exists and has this version; `connect` would create it
    with (
        sqlite_errors_as_unusable(file),
        closing(connect(file, busy_seconds=_BUSY_SECONDS)) as connection,
    ):
        connection.execute("PRAGMA secure_delete = ON")
        pruned = sum(iter(lambda: _prune_some(connection, before), 0))
        # Recent rows are in the write-ahead log beside the file, too.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return pruned


def _prune_some(connection: sqlite3.Connection, before: datetime) -> int:
    with transaction(connection):
        return connection.execute(_PRUNE, (utc_text(before), _SESSIONS_PER_TRANSACTION)).rowcount


_PRUNE = """
DELETE FROM sessions WHERE session_id IN (
    SELECT session_id FROM sessions WHERE ended_at < ? LIMIT ?
)
"""
