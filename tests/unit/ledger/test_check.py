"""The check of the ledger finds missing, repeated and changed rows."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.tokens import TOKEN_KINDS
from relay.ledger.check import check_ledger
from relay.ledger.tables import LedgerUnusable

COPIED = f"""session_id, 'copy', number, kind, model, status, reported_at,
    {", ".join(TOKEN_KINDS)}, transcription_microseconds, cost_usd_micros, estimated, unknown"""


def test_the_result_of_a_check_is_one_line(recorded: Path) -> None:
    """The ledger of the fixture is closed, so its open session counts as left by a crash."""
    checked = check_ledger(recorded)

    assert str(checked) == "3 sessions, 1 open, 1 of them left by a crash; 5 reports; no problems"


@pytest.mark.parametrize(
    ("tampering", "problem"),
    [
        (
            "UPDATE reports SET output_audio = 21 WHERE report_id = 'a'",
            "session one: its output_audio is 40, the sum of its reports 41",
        ),
        (
            "UPDATE sessions SET cost_usd_micros = 0 WHERE session_id = 'one'",
            "session one: its cost_usd_micros is 0, the sum of its reports 2135",
        ),
        (
            "DELETE FROM reports WHERE report_id = 'a'",
            "session one: has 2 reports, numbered to 3: some are missing or there twice",
        ),
        (
            "DELETE FROM reports WHERE report_id = 'item'",
            "session one: was to have 3 reports and has 2",
        ),
        (
            "DELETE FROM sessions WHERE session_id = 'two'",
            "session two: is not there, but its report c is",
        ),
        (
            "UPDATE sessions SET outcome = NULL WHERE session_id = 'two'",
            "session two: is neither open nor closed",
        ),
        (
            "UPDATE sessions SET seconds = -1 WHERE session_id = 'two'",
            "session two: is neither open nor closed",
        ),
        (
            f"INSERT INTO reports SELECT {COPIED} FROM reports WHERE report_id = 'a'",  # noqa: S608
            "session one: has 4 reports, numbered to 3: some are missing or there twice",
        ),
    ],
)
def test_the_check_finds_rows_that_were_changed(
    recorded: Path, tampering: str, problem: str
) -> None:
    with closing(sqlite3.connect(recorded, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        if tampering.startswith("DELETE FROM reports WHERE report_id = 'item'"):
            connection.execute("UPDATE sessions SET reports = 2 WHERE session_id = 'one'")
        connection.execute(tampering)

    assert problem in check_ledger(recorded).problems


def test_the_check_includes_the_integrity_check_of_sqlite(recorded: Path) -> None:
    """An index that is missing in the schema leaves pages in the file that nothing uses."""
    with closing(sqlite3.connect(recorded, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'reports_by_time'")

    (problem,) = check_ledger(recorded).problems
    assert problem.startswith("file: ")


def test_the_check_finds_a_damaged_file(recorded: Path) -> None:
    content = bytearray(recorded.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    for number in range(1, len(content) // page):
        content[number * page : number * page + 8] = bytes(8)
    recorded.write_bytes(content)

    try:
        problems = check_ledger(recorded).problems
    except LedgerUnusable as unusable:
        problems = (str(unusable),)

    assert problems
