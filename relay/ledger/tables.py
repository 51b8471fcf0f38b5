"""Schema and migrations of the SQLite ledger.

The ledger has one row per session and one row per report of usage. A trigger adds each report to
the totals of its session in the same transaction. So the ledger holds every sum twice, and ``relay
usage --check`` compares them. The key of a report is its session and its id, so no report counts
twice. The reports of a session are numbered, so a missing report is detected. The ledger holds no
content of a conversation: no audio, no text, no keys.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from relay.core.tokens import TOKEN_KINDS

MICROSECONDS = 1_000_000

MEASURES = (*TOKEN_KINDS, "transcription_microseconds")
"""The columns with the amounts of a report."""

TOTALS = ("reports", "responses", *MEASURES, "cost_usd_micros", "unpriced", "estimated", "unknown")
"""The sums that the ledger holds twice: in the row of a session, and over its reports."""


class LedgerUnusable(OSError):
    """The file cannot be used as a ledger, now or later."""


def _lines(template: str, names: Iterable[str]) -> str:
    """Return one line per name; ``{0}`` in the template is the name."""
    return "\n".join(template.format(name) for name in names)


# A released version of the tables stays as it is, because databases with it exist. Version 1 has
# the first ten kinds of tokens. A new kind goes to the end of `Tokens` and needs a migration at the
# end of `_MIGRATIONS`: add its column to both tables (`ALTER TABLE ... ADD COLUMN`, NOT NULL
# DEFAULT 0), drop the trigger `totals`, and create it again with the new column.
_KINDS_OF_VERSION_1 = TOKEN_KINDS[:10]

_MIGRATIONS = (
    f"""
CREATE TABLE sessions (
    session_id TEXT PRIMARY KEY,
    instance TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    client TEXT NOT NULL,
    persona TEXT NOT NULL,
    model TEXT NOT NULL,
    upstream TEXT NOT NULL,
    upstream_session_id TEXT NOT NULL,
    user_hash TEXT,
    outcome TEXT,
    close_code INTEGER,
    seconds REAL,
    audio_seconds_in REAL,
    audio_seconds_out REAL,
    reports_made INTEGER,
    reports INTEGER NOT NULL DEFAULT 0,
    responses INTEGER NOT NULL DEFAULT 0,
{_lines("    {0} INTEGER NOT NULL DEFAULT 0,", _KINDS_OF_VERSION_1)}
    transcription_microseconds INTEGER NOT NULL DEFAULT 0,
    cost_usd_micros INTEGER NOT NULL DEFAULT 0,
    unpriced INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    unknown INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    session_id TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    report_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('response', 'transcription')),
    model TEXT NOT NULL,
    status TEXT NOT NULL,
    reported_at TEXT NOT NULL,
{_lines("    {0} INTEGER NOT NULL,", _KINDS_OF_VERSION_1)}
    transcription_microseconds INTEGER NOT NULL,
    cost_usd_micros INTEGER,
    estimated INTEGER NOT NULL CHECK (estimated IN (0, 1)),
    unknown INTEGER NOT NULL CHECK (unknown IN (0, 1)),
    PRIMARY KEY (session_id, report_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX reports_by_time ON reports (reported_at);
CREATE INDEX sessions_by_time ON sessions (started_at);
CREATE INDEX sessions_left_open ON sessions (instance) WHERE ended_at IS NULL;

CREATE TRIGGER totals AFTER INSERT ON reports BEGIN
    UPDATE sessions SET
        reports = reports + 1,
        responses = responses + (new.kind = 'response'),
{_lines("        {0} = {0} + new.{0},", _KINDS_OF_VERSION_1)}
        transcription_microseconds = transcription_microseconds + new.transcription_microseconds,
        cost_usd_micros = cost_usd_micros + coalesce(new.cost_usd_micros, 0),
        unpriced = unpriced + (new.cost_usd_micros IS NULL AND NOT new.unknown),
        estimated = estimated + new.estimated,
        unknown = unknown + new.unknown
    WHERE session_id = new.session_id;
END;
""",  # noqa: S608  # our names
)
"""The script for each version of the tables; it starts from the version before."""

VERSION = len(_MIGRATIONS)

APPLICATION_ID = int.from_bytes(b"RLAY", "big")
"""Marks the file as a ledger (https://www.sqlite.org/pragma.html#pragma_application_id)."""


def utc_text(at: datetime) -> str:
    """Return a time as the ledger stores it: UTC, of fixed length, so that it sorts as text."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all changes of the block, or none of them if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back if the disk was full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect(file: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Open the ledger for writing; create it if it does not exist.

    Raises:
        LedgerUnusable: the ledger has a later version, or the database is another program's.
        sqlite3.Error: the disk is full, the file is locked or no database...
        OSError: the folder cannot be created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=busy_seconds, isolation_level=None)
    try:
        _check_owner(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for reading, also while a relay writes to it or after a crash.

    Raises:
        FileNotFoundError: the file does not exist.
        LedgerUnusable: the file is not a ledger, has another version, or cannot be read.
    """
    if not file.exists():
        raise FileNotFoundError(f"there is no ledger at {file}")
    address = f"{file.absolute().as_uri()}?mode=ro"
    with (
        sqlite_errors_as_unusable(file),
        closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection,
    ):
        _check_owner(connection, file)
        version = _version(connection)
        if version != VERSION:
            raise LedgerUnusable(f"{file}: its version is {version}, and not {VERSION}")
        yield connection


@contextmanager
def sqlite_errors_as_unusable(file: Path) -> Iterator[None]:
    """Raise each error of SQLite as `LedgerUnusable` with the name of the file.

    Raises:
        LedgerUnusable: SQLite raised an error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnusable(f"{file}: {error}") from error


def _check_owner(connection: sqlite3.Connection, file: Path) -> None:
    """Accept an empty database and a ledger, also one from before the application id.

    Raises:
        LedgerUnusable: the database belongs to another program.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    is_old_ledger = application_id == 0 and names >= {"sessions", "reports", "totals"}
    if names and application_id != APPLICATION_ID and not is_old_ledger:
        raise LedgerUnusable(f"{file}: the database belongs to another program")


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Bring the tables to the version of this relay."""
    if _version(connection) == VERSION:
        return
    with transaction(connection):
        # Another relay may have migrated them in the meantime.
        version = _version(connection)
        if version > VERSION:
            raise LedgerUnusable(f"{file}: its version is {version}, later than {VERSION}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; `executescript` would commit the transaction first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
