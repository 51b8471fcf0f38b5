"""Queries of the ledger: usage by group, and the amount that each payer has spent.

A report counts on the day of the report and under the model that was billed. A session, its seconds
and its audio count at the start of the session. So the parts of a period add up to the whole,
however the period is divided.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from relay.core.budgets import Payer, payer_of_user
from relay.core.tokens import TOKEN_KINDS
from relay.ledger.tables import MICROSECONDS, reading, utc_text

GROUPINGS: Mapping[str, tuple[str, str]] = {
    "persona": ("s.persona", "s.persona"),
    "client": ("s.client", "s.client"),
    "model": ("s.model", "r.model"),
    "day": ("substr(s.started_at, 1, 10)", "substr(r.reported_at, 1, 10)"),
    "session": ("s.session_id", "s.session_id"),
}
"""The groupings of usage: the expression for a session, and the expression for a report."""

_EARLIEST, _LATEST = "0", "9999"


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """The usage of one group.

    Attributes:
        group: the value of each grouping.
        seconds: the duration of the sessions that have ended.
        cost_usd_micros: None if reports were unpriced and no report had a price.
        unpriced: reports with known usage and no price; they are not in the cost.
        estimated: reports with estimated usage.
        unknown: reports without usage; they are not in the tokens.
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


def parse_grouping(text: str) -> tuple[str, ...]:
    """Read a list of groupings such as ``persona,day``.

    Raises:
        ValueError: a grouping is unknown or occurs twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(GROUPINGS) or len(set(names)) < len(names):
        raise ValueError(f"{text}: must be some of {','.join(GROUPINGS)}, each once")
    return names


def parse_moment(text: str) -> datetime:
    """Read a day (its first moment) or a time in ISO 8601; a time without an offset is UTC.

    Raises:
        ValueError: the text is neither.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text}: must be a day or a moment: 2026-07-01T12:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def query_usage(
    file: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Sequence[str] = ("persona",),
) -> list[GroupUsage]:
    """Return the usage from ``since`` on and before ``until``, by group.

    Raises:
        OSError: the ledger does not exist, or cannot be read.
    """
    period = {
        "since": _EARLIEST if since is None else utc_text(since),
        "until": _LATEST if until is None else utc_text(until),
    }
    with reading(file) as connection:
        connection.row_factory = sqlite3.Row
        return [_group_usage(row, by) for row in connection.execute(_select(by), period)]


def spent(connection: sqlite3.Connection, since: datetime) -> dict[Payer, int]:
    """Return the spending of each client, persona and end user since a time, in micro-dollars."""
    sums: Counter[Payer] = Counter()
    for client, persona, user, amount in connection.execute(_SPENT, (utc_text(since),)):
        sums["client", client] += amount
        sums["persona", persona] += amount
        if user:
            sums[payer_of_user(client, user)] += amount
    return dict(sums)


_SPENT = """
SELECT s.client, s.persona, s.user_hash, sum(r.cost_usd_micros)
FROM reports r JOIN sessions s USING (session_id)
WHERE r.reported_at >= ? AND r.cost_usd_micros IS NOT NULL
GROUP BY s.client, s.persona, s.user_hash
"""

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


def _select(by: Sequence[str]) -> str:
    """Return the query: the sessions and the reports of a period, added up by group."""
    of_session = "".join(f"{GROUPINGS[name][0]} AS by_{name}, " for name in by)
    of_report = "".join(f"{GROUPINGS[name][1]}, " for name in by)
    group = ", ".join(str(number + 1) for number in range(len(by)))
    kinds = ", ".join(f"r.{kind}" for kind in TOKEN_KINDS)
    sums = ", ".join(f"sum({name}) AS {name}" for name in (*_OF_SESSIONS, *_OF_REPORTS))
    groups = "".join(f"by_{name}, " for name in by)
    # The text contains only names from this file.
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


def _group_usage(row: sqlite3.Row, by: Sequence[str]) -> GroupUsage:
    is_without_price = row["unpriced"] and not row["priced"]
    return GroupUsage(
        group={name: row[f"by_{name}"] for name in by},
        sessions=row["sessions"],
        responses=row["responses"],
        seconds=round(row["seconds"], 3),
        audio_seconds_in=round(row["audio_seconds_in"], 3),
        audio_seconds_out=round(row["audio_seconds_out"], 3),
        tokens={kind: row[kind] for kind in TOKEN_KINDS},
        transcription_seconds=row["transcription_microseconds"] / MICROSECONDS,
        cost_usd_micros=None if is_without_price else row["cost_usd_micros"],
        unpriced=row["unpriced"],
        estimated=row["estimated"],
        unknown=row["unknown"],
    )
