"""The tables: released versions, other versions, files that are no ledger."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ledgers import NOON, end, opened, report, select, session

from relay.core.tokens import TOKEN_KINDS, Tokens
from relay.ledger.check import check_ledger
from relay.ledger.prune import prune_ledger
from relay.ledger.query import query_usage
from relay.ledger.tables import APPLICATION_ID, VERSION, LedgerUnusable, connect, reading


def test_a_missing_file_and_another_file_are_not_read_as_a_ledger(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("This is no ledger. " * 100)
    reads: list[Callable[[Path], object]] = [
        query_usage,
        check_ledger,
        lambda file: prune_ledger(file, NOON),
    ]

    for read in reads:
        with pytest.raises(FileNotFoundError, match="there is no ledger at"):
            read(tmp_path / "usage.db")
        with pytest.raises(LedgerUnusable, match=r"notes\.txt: file is not a database"):
            read(notes)
    assert list(tmp_path.iterdir()) == [notes]


def test_a_ledger_of_another_version_is_not_read(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(LedgerUnusable, match="its version is 99"):
        query_usage(recorded)


async def test_times_are_stored_in_utc_and_sort_as_text(file: Path) -> None:
    at = datetime(2026, 11, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    async with opened(file) as ledger:
        await ledger.session_started(session("s", started_at=at))

    assert select(file, "SELECT started_at FROM sessions") == [("2026-10-31T23:30:00.000000Z",)]


RELEASED_1 = """
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
"""
"""Version 1 of the tables as it was released: databases with exactly this schema exist."""


def schema_of(file: Path) -> list[tuple[Any, ...]]:
    return select(file, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")


def make_released(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(RELEASED_1)
        connection.execute("PRAGMA user_version = 1")


def test_version_1_has_exactly_the_schema_that_was_released(tmp_path: Path) -> None:
    """Byte for byte: the columns made from the kinds of tokens are those of the release."""
    made, released = tmp_path / "made.db", tmp_path / "released.db"
    connect(made, busy_seconds=1).close()
    make_released(released)

    assert schema_of(made) == schema_of(released)
    assert select(made, "PRAGMA user_version") == [(VERSION,)] == [(1,)]


async def test_a_ledger_of_the_release_is_written_and_read(file: Path) -> None:
    tokens = Tokens(*range(1, len(TOKEN_KINDS) + 1))
    make_released(file)
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        await ledger.used(*report("s", "r", tokens=tokens))
        await ledger.session_ended(end("s"))

    (usage,) = query_usage(file)
    assert usage.tokens == dict(zip(TOKEN_KINDS, range(1, 11), strict=True))
    assert check_ledger(file).problems == ()


@pytest.mark.parametrize("version", [0, 1])
async def test_a_database_of_another_program_stays_as_it_is(tmp_path: Path, version: int) -> None:
    file = tmp_path / "usage.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE sessions (theirs TEXT)")
        other.execute(f"PRAGMA user_version = {version}")
        other.commit()
    before = file.read_bytes()

    with pytest.raises(LedgerUnusable, match="belongs to another program"):
        async with opened(file):
            pass
    with pytest.raises(LedgerUnusable), reading(file):
        pass

    assert file.read_bytes() == before


async def test_a_ledger_is_marked_and_an_unmarked_one_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    async with opened(file):
        pass
    with closing(sqlite3.connect(file)) as unmarked:
        assert unmarked.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        unmarked.execute("PRAGMA application_id = 0")
        unmarked.commit()

    async with opened(file) as ledger:
        await ledger.session_started(session("one"))
    assert select(file, "SELECT session_id FROM sessions") == [("one",)]
