"""Recovery of the sessions that a crashed relay left open."""

import sqlite3
from pathlib import Path

from relay.ledger.instances import is_running, remove_stale_locks
from relay.ledger.tables import transaction

CRASHED = "crashed"
"""The outcome of a session whose relay stopped before the session ended."""


def left_open(connection: sqlite3.Connection, file: Path) -> dict[str, int]:
    """Return the number of open sessions of each instance that no longer runs."""
    found = connection.execute(
        "SELECT instance, count(*) FROM sessions WHERE ended_at IS NULL GROUP BY instance"
    )
    return {name: count for name, count in found.fetchall() if not is_running(file, name)}


def close_crashed(connection: sqlite3.Connection, file: Path) -> None:
    """Close the sessions that crashes left open; each ends at its last known time."""
    with transaction(connection):
        for instance in left_open(connection, file):
            connection.execute(_CLOSE_CRASHED, {"instance": instance, "outcome": CRASHED})
    # An instance without a lock file counts as gone too, so a crash before this line loses nothing.
    remove_stale_locks(file)


_CLOSE_CRASHED = """
WITH last AS (
    SELECT s.session_id, max(s.started_at, coalesce(max(r.reported_at), s.started_at)) AS seen_at
    FROM sessions s LEFT JOIN reports r USING (session_id)
    WHERE s.ended_at IS NULL AND s.instance = :instance
    GROUP BY s.session_id
)
UPDATE sessions SET
    outcome = :outcome,
    ended_at = last.seen_at,
    seconds = round((julianday(last.seen_at) - julianday(started_at)) * 86400, 3)
FROM last WHERE last.session_id = sessions.session_id
"""
