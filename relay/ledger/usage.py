"""Reads the books: what was used, whether the sums are right; and forgets what is old.

It reads while relays write, and what a crash has left. Reports count on the day and under the
model that they are about; the session itself, its seconds and its audio count where it started.
So the parts of a period add up to the whole, in whatever way it is cut.
"""

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from relay.core.metering import TOKEN_KINDS
from relay.core.pricing import usd
from relay.ledger.books import (
    TOTALS,
    connect,
    connect_to_read,
    left_open,
    moment,
    telling,
    transaction,
)

GROUPINGS: Mapping[str, tuple[str, str]] = {
    "persona": ("s.persona", "s.persona"),
    "client": ("s.client", "s.client"),
    "model": ("s.model", "r.model"),
    "day": ("substr(s.started_at, 1, 10)", "substr(r.reported_at, 1, 10)"),
    "session": ("s.session_id", "s.session_id"),
}
"""What usage can be grouped by: the column of a session, and that of a report."""

_PRUNED_AT_ONCE = 1000
"""Sessions deleted in one transaction: few enough that a relay does not wait to write."""

_BUSY_SECONDS = 10

_EARLIEST, _LATEST = "0", "9999"


@dataclass(frozen=True, slots=True)
class UsageOf:
    """What one group has used.

    Attributes:
        group: its columns and their values.
        seconds: of sessions that have ended.
        cost_usd_micros: None when nothing of what was used has a price.
        unpriced: reports whose usage is known and has no price; not in the cost.
        estimated: reports whose usage was estimated.
        unknown: reports whose usage was never told; not in the tokens.
    """

    group: Mapping[str, str]
    sessions: int
    responses: int
    seconds: float
    audio_seconds_in: float
    audio_seconds_out: float
    tokens: Mapping[str, int]
    transcription_seconds: float
    cost_usd_micros: int | None
    unpriced: int
    estimated: int
    unknown: int

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of ``relay usage --format json``."""
        cost = self.cost_usd_micros
        return {
            **self.group,
            "sessions": self.sessions,
            "responses": self.responses,
            "seconds": self.seconds,
            "audio_seconds_in": self.audio_seconds_in,
            "audio_seconds_out": self.audio_seconds_out,
            "tokens": dict(self.tokens),
            "transcription_seconds": self.transcription_seconds,
            "cost_usd": None if cost is None else str(usd(cost)),
            "unpriced": self.unpriced,
            "estimated": self.estimated,
            "unknown": self.unknown,
        }


def parse_grouping(text: str) -> tuple[str, ...]:
    """Read ``persona,day``.

    Raises:
        ValueError: there is no such grouping, or it is named twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(GROUPINGS) or len(set(names)) < len(names):
        raise ValueError(f"{text}: must be some of {','.join(GROUPINGS)}, each once")
    return names


def parse_moment(text: str) -> datetime:
    """Read a day, which is its beginning, or a moment in ISO 8601; without an offset it is UTC.

    Raises:
        ValueError: it is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text}: must be a day or a moment: 2026-07-01T12:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def query(
    file: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Sequence[str] = ("persona",),
) -> list[UsageOf]:
    """Return what was used from ``since`` on and before ``until``, by group.

    Raises:
        OSError: there is no ledger, or it cannot be read.
    """
    period = {
        "since": _EARLIEST if since is None else moment(since),
        "until": _LATEST if until is None else moment(until),
    }
    with _reading(file) as connection:
        connection.row_factory = sqlite3.Row
        return [_usage(row, by) for row in connection.execute(_select(by), period)]


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the books for reading; whatever SQLite says against it is an OSError."""
    with closing(connect_to_read(file)) as connection, telling(file):
        yield connection


def _select(by: Sequence[str]) -> str:
    """Return the query: the period's sessions, its reports, and both added up by group."""
    of_session = "".join(f"{GROUPINGS[name][0]} AS by_{name}, " for name in by)
    of_report = "".join(f"{GROUPINGS[name][1]}, " for name in by)
    group = ", ".join(str(number + 1) for number in range(len(by)))
    kinds = ", ".join(f"r.{kind}" for kind in TOKEN_KINDS)
    sums = ", ".join(f"sum({name}) AS {name}" for name in (*_OF_SESSIONS, *_OF_REPORTS))
    groups = "".join(f"by_{name}, " for name in by)
    # Only names of ours are put into the text.
    return f"""
        WITH parts ({groups}{", ".join((*_OF_SESSIONS, *_OF_REPORTS))}) AS (
            SELECT {of_session}1, coalesce(s.seconds, 0), coalesce(s.audio_seconds_in, 0),
                coalesce(s.audio_seconds_out, 0), {", ".join("0" for _ in _OF_REPORTS)}
            FROM sessions s WHERE s.started_at >= :since AND s.started_at < :until
            UNION ALL
            SELECT {of_report}0, 0, 0, 0, {kinds}, r.transcription_microseconds,
                coalesce(r.cost_usd_micros, 0), r.kind = 'response', r.cost_usd_micros IS NOT NULL,
                r.cost_usd_micros IS NULL AND NOT r.unknown, r.estimated, r.unknown
            FROM reports r JOIN sessions s USING (session_id)
            WHERE r.reported_at >= :since AND r.reported_at < :until
        )
        SELECT {groups}{sums} FROM parts
        {f"GROUP BY {group} ORDER BY {group}" if by else "HAVING count(*)"}"""  # noqa: S608


_OF_SESSIONS = ("sessions", "seconds", "audio_seconds_in", "audio_seconds_out")
_OF_REPORTS = (
    *TOKEN_KINDS,
    "transcription_microseconds",
    "cost_usd_micros",
    "responses",
    "priced",
    "unpriced",
    "estimated",
    "unknown",
)


def _usage(row: sqlite3.Row, by: Sequence[str]) -> UsageOf:
    nothing_priced = row["unpriced"] and not row["priced"]
    return UsageOf(
        group={name: row[f"by_{name}"] for name in by},
        sessions=row["sessions"],
        responses=row["responses"],
        seconds=round(row["seconds"], 3),
        audio_seconds_in=round(row["audio_seconds_in"], 3),
        audio_seconds_out=round(row["audio_seconds_out"], 3),
        tokens={kind: row[kind] for kind in TOKEN_KINDS},
        transcription_seconds=row["transcription_microseconds"] / 1_000_000,
        cost_usd_micros=None if nothing_priced else row["cost_usd_micros"],
        unpriced=row["unpriced"],
        estimated=row["estimated"],
        unknown=row["unknown"],
    )


def as_json(rows: Sequence[UsageOf]) -> str:
    """Write usage as a list of objects."""
    return json.dumps([row.as_json() for row in rows], indent=2)


def as_csv(rows: Sequence[UsageOf], by: Sequence[str]) -> str:
    """Write usage as CSV: a column for each kind of token, and nothing where there is no price."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(by))
    writer.writerows(_cells(row) for row in rows)
    return text.getvalue().rstrip("\n")


def as_table(rows: Sequence[UsageOf], by: Sequence[str]) -> str:
    """Write usage for people: kinds of tokens that nobody has used are left out."""
    table = [_columns(by), *([_shown(cell) for cell in _cells(row)] for row in rows)]
    used = [
        number
        for number, name in enumerate(table[0])
        if name not in _LEFT_OUT_WHEN_UNUSED or any(row[number] != "0" for row in table[1:])
    ]
    widths = [max(len(row[number]) for row in table) for number in used]
    words = len(by)
    return "\n".join(
        "  ".join(
            row[number].ljust(width) if number < words else row[number].rjust(width)
            for number, width in zip(used, widths, strict=True)
        ).rstrip()
        for row in table
    )


_LEFT_OUT_WHEN_UNUSED = frozenset({*TOKEN_KINDS, "transcription_seconds", "unpriced"})

FORMATS: Mapping[str, Callable[[Sequence[UsageOf], Sequence[str]], str]] = {
    "table": as_table,
    "json": lambda rows, _by: as_json(rows),
    "csv": as_csv,
}
"""How usage can be written."""


def _columns(by: Sequence[str]) -> list[str]:
    before = ("sessions", "responses", "seconds", "audio_seconds_in", "audio_seconds_out")
    after = ("transcription_seconds", "cost_usd", "unpriced", "estimated", "unknown")
    return [*by, *before, *TOKEN_KINDS, *after]


def _cells(row: UsageOf) -> list[Any]:
    cells = row.as_json()
    cells |= cells.pop("tokens")
    return [cells[name] for name in _columns(tuple(row.group))]


def _shown(cell: Any) -> str:
    match cell:
        case None:
            return "-"
        case float():
            return f"{cell:.1f}".removesuffix(".0")
        case _:
            return str(cell)


@dataclass(frozen=True, slots=True)
class Check:
    """What checking the books has found.

    Attributes:
        left_open: sessions of relays that are gone; the next relay to start closes them.
    """

    sessions: int
    reports: int
    open: int
    left_open: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """Say what was checked, in a line."""
        left = f", {self.left_open} of them left by a crash" if self.left_open else ""
        counts = f"{self.sessions} sessions, {self.open} open{left}; {self.reports} reports"
        return f"{counts}; {len(self.problems) or 'no'} problems"


def check(file: Path) -> Check:
    """Prove the books, as they are at one moment.

    Every session is closed or open, its totals are the sums of its reports, its reports are
    numbered without a gap and none is there twice, and no report is without a session.

    Raises:
        OSError: there is no ledger, or it cannot be read.
    """
    with _reading(file) as connection:
        connection.execute("BEGIN")
        problems = tuple(_problems(connection))
        ask = connection.execute
        return Check(
            sessions=ask("SELECT count(*) FROM sessions").fetchone()[0],
            reports=ask("SELECT count(*) FROM reports").fetchone()[0],
            open=ask("SELECT count(*) FROM sessions WHERE ended_at IS NULL").fetchone()[0],
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
"""Queries that find nothing in good books, and what to say of what they find."""


def prune(file: Path, before: datetime) -> int:
    """Delete the sessions that ended before a moment, with their reports; return how many.

    What is deleted is overwritten, and its room is used again; the file does not get smaller.

    Raises:
        OSError: there is no ledger, or it cannot be used.
    """
    with _reading(file):
        pass  # it is there, and of this version
    with telling(file), closing(connect(file, busy_seconds=_BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        pruned = sum(iter(lambda: _prune_some(connection, before), 0))
        # What was written lately is in the log that is kept beside the file, too.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return pruned


def _prune_some(connection: sqlite3.Connection, before: datetime) -> int:
    with transaction(connection):
        return connection.execute(_PRUNE, (moment(before), _PRUNED_AT_ONCE)).rowcount


_PRUNE = """
DELETE FROM sessions WHERE session_id IN (
    SELECT session_id FROM sessions WHERE ended_at < ? LIMIT ?
)
"""
