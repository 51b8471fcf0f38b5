"""The file of a running ledger is deleted, moved, replaced or truncated."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ledgers import Lines, end, opened, report, select, session

from relay.ledger.check import check_ledger
from relay.ledger.file_identity import FileIdentity, LedgerReplaced
from relay.ledger.ledger import Ledger


def parts(file: Path) -> list[Path]:
    """Return the files of the database."""
    return [file.with_name(f"{file.name}{suffix}") for suffix in ("", "-wal", "-shm")]


def delete(file: Path) -> None:
    for part in parts(file):
        part.unlink()


def delete_one(file: Path) -> None:
    file.unlink()


def move(file: Path) -> None:
    file.rename(file.with_name("moved.db"))


def move_all(file: Path) -> None:
    for part in parts(file):
        part.rename(part.with_name(part.name.replace("usage", "moved")))


def move_folder(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))


def replace_with_empty(file: Path) -> None:
    new = file.with_name("new")
    new.touch()
    new.replace(file)


def truncate(file: Path) -> None:
    os.truncate(file, 0)


def size_bytes(file: Path) -> int:
    return file.stat().st_size


def truncate_partly(file: Path) -> None:
    os.truncate(file, 4096 + 100)


CHANGES = (delete, delete_one, move, move_all, move_folder, replace_with_empty, truncate)


async def checkpoint(file: Path) -> None:
    """Write everything to the main file, which then has a size."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


async def start_two(ledger: Ledger, file: Path) -> None:
    """Write a session with two reports, and one without, and leave both open."""
    await ledger.session_started(session("one"))
    await ledger.session_started(session("two"))
    await ledger.used(*report("one", "a"))
    await checkpoint(file)
    await ledger.used(*report("one", "b"))


@pytest.mark.parametrize("change", [*CHANGES, truncate_partly])
async def test_the_books_go_on_in_a_new_file_and_add_up(
    file: Path, change: Callable[[Path], None]
) -> None:
    lines = Lines()
    async with opened(file, lines) as ledger:
        await start_two(ledger, file)
        change(file)

        await ledger.used(*report("one", "c"))
        assert not await ledger.used(*report("one", "a"))
        assert await ledger.used(*report("two", "d"))
        assert check_ledger(file).problems == ()
        await ledger.session_ended(end("one"))
        await ledger.session_started(session("three"))
        await ledger.used(*report("three", "e"))

        assert ledger.refused == 0
        assert not ledger.failing
        result = check_ledger(file)
        assert (result.problems, result.left_open) == ((), 0)

    assert lines.events == ["ledger.failed", "ledger.recovered"]
    assert dict(lines.lines)["ledger.failed"]["cause"] == "LedgerReplaced"
    written = "SELECT session_id, report_id, number FROM reports ORDER BY session_id"
    assert select(file, written) == [("one", "c", 1), ("three", "e", 1), ("two", "d", 1)]
    assert select(file, "SELECT session_id, reports_made FROM sessions ORDER BY session_id") == [
        ("one", 1),
        ("three", None),
        ("two", None),
    ]


@pytest.mark.parametrize("change", [move, move_all, move_folder])
async def test_acknowledged_reports_stay_in_the_moved_file(
    file: Path, change: Callable[[Path], None]
) -> None:
    async with opened(file) as ledger:
        await start_two(ledger, file)
        await ledger.used(*report("one", "late"))  # in the log of writes only
        change(file)
        await ledger.used(*report("one", "c"))

    (moved,) = [*file.parent.glob("moved.db"), *file.parent.parent.glob("moved/usage.db")]
    assert [row for (row,) in select(moved, "SELECT report_id FROM reports ORDER BY 1")] == [
        *("a", "b", "late")
    ]
    assert check_ledger(moved).problems == ()


@pytest.mark.parametrize("removed", [0, 3])
async def test_a_report_that_follows_an_earlier_backup_gets_the_next_number(
    file: Path, removed: int
) -> None:
    """Also with the log of writes of the other file beside it."""
    async with opened(file) as ledger:
        await ledger.session_started(session("one"))
        await ledger.used(*report("one", "a"))
        await checkpoint(file)
        shutil.copy(file, file.with_name("backup.db"))
        await ledger.used(*report("one", "b"))
        for part in parts(file)[:removed]:
            part.unlink()
        file.with_name("backup.db").replace(file)
        await ledger.used(*report("one", "c"))
        await ledger.session_ended(end("one"))

    assert select(file, "SELECT report_id, number FROM reports") == [("a", 1), ("c", 2)]
    assert check_ledger(file).problems == ()


async def test_a_deleted_log_of_writes_loses_no_report(file: Path) -> None:
    async with opened(file) as ledger:
        await start_two(ledger, file)
        await ledger.used(*report("two", "c"))
        parts(file)[1].unlink()
        await ledger.used(*report("two", "d"))

    assert len(select(file, "SELECT * FROM reports")) == 4
    assert check_ledger(file).problems == ()


async def test_a_ledger_that_was_compacted_is_the_same_file(file: Path) -> None:
    lines = Lines()
    async with opened(file, lines) as ledger:
        await ledger.session_started(session("one"))
        for number in range(200):
            await ledger.used(*report("one", f"{number}", status="x" * 1000))
        await checkpoint(file)
        before = size_bytes(file)
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("UPDATE reports SET status = ''")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert size_bytes(file) < before
        await ledger.used(*report("one", "after"))

    assert lines.events == []
    assert len(select(file, "SELECT * FROM reports")) == 201


@pytest.mark.parametrize("page_bytes", [1024, 65_536])
def test_a_file_is_whole_if_it_has_the_size_in_its_header(tmp_path: Path, page_bytes: int) -> None:
    file = tmp_path / "usage.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute("CREATE TABLE t (x)")
    whole_bytes = size_bytes(file)
    parts(file)[1].touch()
    with file.open("ab") as grown:
        grown.write(bytes(10))
    identity = FileIdentity(file)

    os.truncate(file, whole_bytes)
    identity.check()
    os.truncate(file, whole_bytes - 1)
    with pytest.raises(LedgerReplaced, match="truncated"):
        identity.check()
    assert [path.name for path in tmp_path.glob("*.truncated-*")] == ["usage.db.truncated-1"]


def test_truncated_files_are_kept_side_by_side(file: Path) -> None:
    file.parent.mkdir()
    file.with_name("usage.db.truncated-1").touch()
    file.write_bytes(b"x")
    parts(file)[1].touch()
    identity = FileIdentity(file)
    os.truncate(file, 0)

    with pytest.raises(LedgerReplaced):
        identity.check()
    assert file.with_name("usage.db.truncated-2").exists()
