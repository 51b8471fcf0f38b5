"""The check of ``relay usage --check``: the ledger is complete, and its sums agree."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.ledger.crashes import left_open
from relay.ledger.tables import TOTALS, reading


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check.

    Attributes:
        open: sessions without an end.
        left_open: open sessions of relays that no longer run; the next relay start closes them.
    """

    sessions: int
    reports: int
    open: int
    left_open: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Summarize the check in one line."""
        left = f", {self.left_open} of them left by a crash" if self.left_open else ""
        counts = f"{self.sessions} sessions, {self.open} open{left}; {self.reports} reports"
        return f"{counts}; {len(self.problems) or 'no'} problems"


def check_ledger(file: Path) -> CheckResult:
    """Check the ledger in one snapshot.

    Every session is open or closed. The totals of a session are the sums of its reports. The
    numbers of its reports have no gap and no repetition. Every report has a session.

    Raises:
        OSError: the ledger does not exist, or cannot be read.
    """
    with reading(file) as connection:
        connection.execute("BEGIN")
        problems = tuple(_problems(connection))
        execute = connection.execute
        return CheckResult(
            sessions=execute("SELECT count(*) FROM sessions").fetchone()[0],
            reports=execute("SELECT count(*) FROM reports").fetchone()[0],
            open=execute("SELECT count(*) FROM sessions WHERE ended_at IS NULL").fetchone()[0],
            left_open=sum(left_open(connection, file).values()),
            problems=problems,
        )


def _problems(connection: sqlite3.Connection) -> Iterator[str]:
    for (fault,) in connection.execute("PRAGMA integrity_check"):
        if fault != "ok":
            yield f"file: {fault}"
    for statement, problem in _CHECKS.items():
        for row in connection.execute(statement):
            yield problem.format(*row)


_SUMS = ", ".join(
    ["count(*) AS reports", "sum(kind = 'response') AS responses"]
    + [f"sum({name}) AS {name}" for name in TOTALS[2:] if name != "unpriced"]
    + ["sum(cost_usd_micros IS NULL AND NOT unknown) AS unpriced"]
)
_CHECKS: Mapping[str, str] = {
    """
    SELECT session_id FROM sessions
    WHERE (ended_at IS NULL) != (outcome IS NULL) OR (ended_at IS NULL) != (seconds IS NULL)
        OR seconds < 0
    """: "session {}: is neither open nor closed",
    """
    SELECT session_id, report_id FROM reports
    WHERE session_id NOT IN (SELECT session_id FROM sessions)
    """: "session {}: is not there, but its report {} is",
    """
    SELECT session_id, count(*), max(number) FROM reports GROUP BY session_id
    HAVING count(*) != max(number) OR min(number) != 1 OR count(DISTINCT number) != count(*)
    """: "session {}: has {} reports, numbered to {}: some are missing or there twice",
    """
    SELECT session_id, reports_made, reports FROM sessions
    WHERE reports_made IS NOT NULL AND reports_made != reports
    """: "session {}: was to have {} reports and has {}",
} | {
    f"""
    WITH sums AS (SELECT session_id, {_SUMS} FROM reports GROUP BY session_id)
    SELECT s.session_id, s.{name}, coalesce(sums.{name}, 0)
    FROM sessions s LEFT JOIN sums USING (session_id)
    WHERE s.{name} != coalesce(sums.{name}, 0)
    """: f"session {{}}: its {name} is {{}}, the sum of its reports {{}}"  # noqa: S608  # our names
    for name in TOTALS
}
"""Each query with the message for a row that it returns; for a good ledger it returns no row."""
