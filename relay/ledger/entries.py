"""Entries of the ledger: the start of a session, its reports of usage, its end."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from relay.core.pricing import micros
from relay.core.reports import Report
from relay.core.tokens import TOKEN_KINDS
from relay.ledger.tables import MEASURES, MICROSECONDS, transaction, utc_text


@dataclass(frozen=True, slots=True)
class SessionStart:
    """The start of a session.

    Attributes:
        model: the model that answers.
        upstream: the name of the upstream in the configuration.
        user_hash: the hash of the end user, if a trusted client named one.
    """

    session_id: str
    started_at: datetime
    client: str
    persona: str
    model: str
    upstream: str
    upstream_session_id: str
    user_hash: str | None = None


@dataclass(frozen=True, slots=True)
class SessionReport:
    """A report of usage, with its session.

    Attributes:
        number: the position of the report in its session, from 1.
    """

    session_id: str
    report: Report
    reported_at: datetime
    number: int


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The end of a session.

    Attributes:
        seconds: the duration, by a monotonic clock.
        audio_seconds_in: audio of the user.
        audio_seconds_out: audio of the assistant.
        reports_made: the number of its reports; the ledger sets it.
    """

    session_id: str
    ended_at: datetime
    outcome: str
    close_code: int
    seconds: float
    audio_seconds_in: float
    audio_seconds_out: float
    reports_made: int | None = None


Entry = SessionStart | SessionReport | SessionEnd

_START_COLUMNS = tuple(field.name for field in fields(SessionStart))
_END_COLUMNS = tuple(field.name for field in fields(SessionEnd))
_CONVERTED = ("tokens", "transcription_seconds", "cost_usd", "estimated_usd")
"""Fields of a report that are stored in another form or unit, or not at all."""

_PLAIN_COLUMNS = tuple(name for name in Report.__struct_fields__ if name not in _CONVERTED)
_REPORT_COLUMNS = (
    *("session_id", "reported_at", "number"),
    *(*_PLAIN_COLUMNS, *MEASURES, "cost_usd_micros"),
)


def write(connection: sqlite3.Connection, entries: Sequence[Entry], instance: str) -> None:
    """Write entries in one transaction; an entry that is already there stays as it is."""
    with transaction(connection):
        for kind, statement in _STATEMENTS.items():
            rows = [_row(entry, instance) for entry in entries if type(entry) is kind]
            connection.executemany(statement, rows)


def _row(entry: Entry, instance: str) -> dict[str, Any]:
    """Return the values of an entry by column."""
    match entry:
        case SessionStart():
            return {"instance": instance, **_values(entry, _START_COLUMNS)}
        case SessionReport():
            return {
                "session_id": entry.session_id,
                "reported_at": utc_text(entry.reported_at),
                "number": entry.number,
                **_report_values(entry.report),
            }
        case SessionEnd():  # pragma: no branch  # all kinds
            return _values(entry, _END_COLUMNS)


def _report_values(report: Report) -> dict[str, Any]:
    cost = report.cost_usd
    return {
        **_values(report, _PLAIN_COLUMNS),
        **_values(report.tokens, TOKEN_KINDS),
        "transcription_microseconds": round(report.transcription_seconds * MICROSECONDS),
        "cost_usd_micros": None if cost is None else micros(cost),
    }


def _values(record: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: _stored(getattr(record, name)) for name in names}


def _stored(value: Any) -> Any:
    return utc_text(value) if isinstance(value, datetime) else value


def _insert(table: str, columns: Iterable[str], key: str) -> str:
    """Return an INSERT that ignores a row with a known key; any other conflict is an error."""
    names = tuple(columns)
    values = ", ".join(f":{name}" for name in names)
    into = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"  # noqa: S608  # our names
    return f"{into} ON CONFLICT ({key}) DO NOTHING"


def _update(table: str, columns: Iterable[str], key: str) -> str:
    values = ", ".join(f"{name} = :{name}" for name in columns if name != key)
    return f"UPDATE {table} SET {values} WHERE {key} = :{key}"  # noqa: S608  # our names


_STATEMENTS: Mapping[type, str] = {
    SessionStart: _insert("sessions", ("instance", *_START_COLUMNS), "session_id"),
    SessionReport: _insert("reports", _REPORT_COLUMNS, "session_id, report_id"),
    SessionEnd: _update("sessions", _END_COLUMNS, "session_id"),
}
"""The statement for each kind of entry, in the order of execution within a transaction."""
