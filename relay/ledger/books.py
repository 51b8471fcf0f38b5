"""The file of the ledger: its tables, what is written to them, and who may still write.

One row per session and one per report of usage. A trigger adds each report to the totals of its
session, in the same transaction, so the books hold every sum twice and can be checked. A report is
keyed by its session and its id, so it cannot count twice, and numbered within its session, so
none can be missing unseen. Nothing in here is said by anybody: no audio, no text, no keys.

Several relays of one machine may share a file. Each is an `Instance`: it holds a lock that the
kernel takes back when the process is gone, however it went, so what a crash left open is known
without a clock or a heartbeat.
"""

import fcntl
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from relay.core.budgets import Payer
from relay.core.metering import TOKEN_KINDS, Tokens

CRASHED = "crashed"
"""The outcome of a session whose relay was gone before it had ended."""

MICROSECONDS = 1_000_000


class LedgerUnusable(OSError):
    """The file cannot be the ledger, today or later."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that starts.

    Attributes:
        model: the one that answers.
        upstream: its name in the configuration.
        user_hash: the end user, if a trusted client named one.
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
class UsageRow:
    """One report of usage: of a response, or of a transcription.

    Attributes:
        report_id: what the upstream calls it: a report with the same id is the same report.
        model: the one that is billed; a transcription has its own.
        cost_usd_micros: None when it has no price.
        estimated: the numbers are made from the audio that went by.
        unknown: the upstream told no usage, so the numbers are not zero but missing.
    """

    session_id: str
    report_id: str
    kind: Literal["response", "transcription"]
    model: str
    status: str
    reported_at: datetime
    tokens: Tokens = field(default_factory=Tokens)
    transcription_seconds: float = 0.0
    cost_usd_micros: int | None = None
    estimated: bool = False
    unknown: bool = False


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended.

    Attributes:
        seconds: by a clock that nobody sets.
        audio_seconds_in: of the user.
        audio_seconds_out: of the assistant.
    """

    session_id: str
    ended_at: datetime
    outcome: str
    close_code: int
    seconds: float
    audio_seconds_in: float
    audio_seconds_out: float


MEASURES = (*TOKEN_KINDS, "transcription_microseconds")
"""The amounts of a report."""

TOTALS = ("reports", "responses", *MEASURES, "cost_usd_micros", "unpriced", "estimated", "unknown")
"""What the books hold of each session twice: in its row, and as the sum of its reports."""

_MIGRATIONS = (
    """
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
    input_text INTEGER NOT NULL DEFAULT 0,
    input_audio INTEGER NOT NULL DEFAULT 0,
    input_image INTEGER NOT NULL DEFAULT 0,
    cached_text INTEGER NOT NULL DEFAULT 0,
    cached_audio INTEGER NOT NULL DEFAULT 0,
    cached_image INTEGER NOT NULL DEFAULT 0,
    output_text INTEGER NOT NULL DEFAULT 0,
    output_audio INTEGER NOT NULL DEFAULT 0,
    transcription_input INTEGER NOT NULL DEFAULT 0,
    transcription_output INTEGER NOT NULL DEFAULT 0,
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
    input_text INTEGER NOT NULL,
    input_audio INTEGER NOT NULL,
    input_image INTEGER NOT NULL,
    cached_text INTEGER NOT NULL,
    cached_audio INTEGER NOT NULL,
    cached_image INTEGER NOT NULL,
    output_text INTEGER NOT NULL,
    output_audio INTEGER NOT NULL,
    transcription_input INTEGER NOT NULL,
    transcription_output INTEGER NOT NULL,
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
        input_text = input_text + new.input_text,
        input_audio = input_audio + new.input_audio,
        input_image = input_image + new.input_image,
        cached_text = cached_text + new.cached_text,
        cached_audio = cached_audio + new.cached_audio,
        cached_image = cached_image + new.cached_image,
        output_text = output_text + new.output_text,
        output_audio = output_audio + new.output_audio,
        transcription_input = transcription_input + new.transcription_input,
        transcription_output = transcription_output + new.transcription_output,
        transcription_microseconds = transcription_microseconds + new.transcription_microseconds,
        cost_usd_micros = cost_usd_micros + coalesce(new.cost_usd_micros, 0),
        unpriced = unpriced + (new.cost_usd_micros IS NULL AND NOT new.unknown),
        estimated = estimated + new.estimated,
        unknown = unknown + new.unknown
    WHERE session_id = new.session_id;
END;
""",
)
"""What makes each version of the tables of the one before it; what was released stays as it is."""

VERSION = len(_MIGRATIONS)


def _insert(table: str, columns: Iterable[str], key: str) -> str:
    """Return what inserts a row; a row that is there stays as it is, and any other fault is one."""
    names = tuple(columns)
    values = ", ".join(f":{name}" for name in names)
    into = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"  # noqa: S608  # our names
    return f"{into} ON CONFLICT ({key}) DO NOTHING"


_PLAIN = {
    row: tuple(f.name for f in fields(row) if f.name not in {"tokens", "transcription_seconds"})
    for row in (SessionRow, UsageRow, SessionEnd)
}
"""What of each kind of row is stored under its own name."""

_STATEMENTS: dict[type, str] = {
    SessionRow: _insert("sessions", ("instance", *_PLAIN[SessionRow]), "session_id"),
    UsageRow: _insert("reports", ("number", *_PLAIN[UsageRow], *MEASURES), "session_id, report_id"),
    SessionEnd: """
        UPDATE sessions SET
            ended_at = :ended_at, outcome = :outcome, close_code = :close_code, seconds = :seconds,
            audio_seconds_in = :audio_seconds_in, audio_seconds_out = :audio_seconds_out,
            reports_made = :number
        WHERE session_id = :session_id""",
}
"""How each kind of row is written; in this order, whatever the order within a transaction was."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row on its way into the books.

    Attributes:
        number: of a report, which one of its session it is; of a session's end, how many it made.
    """

    row: SessionRow | UsageRow | SessionEnd
    number: int

    def values(self, instance: str) -> dict[str, Any]:
        """Return the row as the columns of its table."""
        row = self.row
        values = {name: _stored(getattr(row, name)) for name in _PLAIN[type(row)]}
        if isinstance(row, UsageRow):
            values |= {kind: getattr(row.tokens, kind) for kind in TOKEN_KINDS}
            values["transcription_microseconds"] = round(row.transcription_seconds * MICROSECONDS)
        return {"instance": instance, "number": self.number, **values}


def _stored(value: Any) -> Any:
    return moment(value) if isinstance(value, datetime) else value


def moment(at: datetime) -> str:
    """Return a moment as the books write it: UTC, of one length, so that text sorts as time."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def write(connection: sqlite3.Connection, entries: Sequence[Entry], instance: str) -> None:
    """Write rows in one transaction; what is there already is not written again."""
    with transaction(connection):
        for kind, statement in _STATEMENTS.items():
            rows = [entry.values(instance) for entry in entries if type(entry.row) is kind]
            connection.executemany(statement, rows)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back already where the disk was full.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect(file: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Open the books for writing; make them if there are none.

    Raises:
        LedgerUnusable: they are of a later version.
        sqlite3.Error: the disk is full, the file is locked or no database...
        OSError: the folder cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=busy_seconds, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(file: Path) -> sqlite3.Connection:
    """Open the books for reading, be they written to at the same time or left by a crash.

    Raises:
        FileNotFoundError: there are none.
        LedgerUnusable: they are no ledger, or one of another version.
    """
    if not file.exists():
        raise FileNotFoundError(f"there is no ledger at {file}")
    address = f"{file.absolute().as_uri()}?mode=ro"
    with telling(file), ExitStack() as undo:
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
        undo.callback(connection.close)
        version = _version(connection)
        if version != VERSION:
            raise LedgerUnusable(f"{file}: its version is {version}, and not {VERSION}")
        undo.pop_all()
    return connection


@contextmanager
def telling(file: Path) -> Iterator[None]:
    """Tell whatever SQLite says against the file with the name of it.

    Raises:
        LedgerUnusable: it said something.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnusable(f"{file}: {error}") from error


def _migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Bring the tables up to the version of this relay."""
    if _version(connection) == VERSION:
        return
    with transaction(connection):
        # Another relay may have done it in the meantime.
        version = _version(connection)
        if version > VERSION:
            raise LedgerUnusable(f"{file}: its version is {version}, later than {VERSION}")
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script: `executescript` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class Instance:
    """One relay that writes to the books, alive for as long as it holds its lock."""

    def __init__(self, file: Path) -> None:
        self.name = uuid4().hex
        self._lock = _lock_of(file, self.name)
        self._held: int | None = None

    def live(self) -> None:
        """Hold the lock; needed before the first session is written.

        Raises:
            OSError: its file cannot be made.
        """
        while self._held is None:
            handle = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, self._lock):
                self._held = handle
            else:  # another relay has tidied it away before it was held
                os.close(handle)

    def leave(self) -> None:
        """Give the lock back."""
        if self._held is not None:
            self._lock.unlink(missing_ok=True)
            os.close(self._held)
            self._held = None


def _lock_of(file: Path, instance: str) -> Path:
    return file.with_name(f"{file.name}-{instance}.lock")


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _held(lock: Path, how: int) -> Iterator[bool]:
    """Hold a lock for a moment; tell whether nobody else does."""
    handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def is_alive(file: Path, instance: str) -> bool:
    """Tell whether an instance is still there."""
    try:
        # Shared, so that two who ask do not take each other for it.
        with _held(_lock_of(file, instance), fcntl.LOCK_SH) as free:
            return not free
    except FileNotFoundError:
        return False


def _tidy(file: Path) -> None:
    """Remove the locks of instances that are gone."""
    for lock in file.parent.iterdir():
        if lock.name.startswith(f"{file.name}-") and lock.suffix == ".lock":
            with suppress(FileNotFoundError), _held(lock, fcntl.LOCK_EX) as free:
                if free:
                    lock.unlink()


def left_open(connection: sqlite3.Connection, file: Path) -> dict[str, int]:
    """Return the instances that are gone, and how many sessions each has left open."""
    found = connection.execute(
        "SELECT instance, count(*) FROM sessions WHERE ended_at IS NULL GROUP BY instance"
    )
    return {name: count for name, count in found.fetchall() if not is_alive(file, name)}


def close_crashed(connection: sqlite3.Connection, file: Path) -> None:
    """Close what crashes have left open, at the last that is known of each session."""
    with transaction(connection):
        for instance in left_open(connection, file):
            connection.execute(_CLOSE_CRASHED, {"instance": instance, "outcome": CRASHED})
    # Only now: without its lock an instance is gone, and with it, it may be.
    _tidy(file)


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


def spent(connection: sqlite3.Connection, since: datetime) -> dict[Payer, int]:
    """Return what each client, persona and end user has spent since then, in micro-dollars."""
    sums: Counter[Payer] = Counter()
    for client, persona, user, amount in connection.execute(_SPENT, (moment(since),)):
        sums["client", client] += amount
        sums["persona", persona] += amount
        if user:
            sums[payer_of_user(client, user)] += amount
    return dict(sums)


def payer_of_user(client: str, user_hash: str) -> Payer:
    """Return the end user of a client as a payer: two clients may name their users alike."""
    return "user", f"{client}/{user_hash}"


_SPENT = """
SELECT s.client, s.persona, s.user_hash, sum(r.cost_usd_micros)
FROM reports r JOIN sessions s USING (session_id)
WHERE r.reported_at >= ? AND r.cost_usd_micros IS NOT NULL
GROUP BY s.client, s.persona, s.user_hash
"""
