"""The ledger on real files: an awaited entry is on disk, and a fault of the disk loses none."""

import asyncio
import errno
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ledgers import NOON, Lines, end, locked, opened, report, select, session

from relay.core.tokens import TOKEN_KINDS, Tokens
from relay.ledger.check import check_ledger
from relay.ledger.ledger import Ledger
from relay.ledger.tables import VERSION, LedgerUnusable

IMPATIENT = 0.1


"""The patience in seconds of a ledger on a failing disk."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that a test can fill, or make read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_an_awaited_entry_is_on_disk(file: Path) -> None:
    tokens = Tokens(*range(1, len(TOKEN_KINDS) + 1))
    async with opened(file) as ledger:
        await ledger.session_started(session("s", user_hash="abc"))
        await ledger.used(*report("s", "r", tokens=tokens, transcription_seconds=1.5))

        for table in ("reports", "sessions"):
            assert columns(file, table, *TOKEN_KINDS) == [tuple(range(1, 11))]
        written = ("report_id", "number", "kind", "status", "reported_at")
        assert columns(file, "reports", *written, "transcription_microseconds") == [
            ("r", 1, "response", "completed", "2026-11-01T12:00:00.000000Z", 1_500_000)
        ]
        assert columns(file, "sessions", "ended_at", "user_hash") == [(None, "abc")]

        await ledger.session_ended(end("s", outcome="session_idle", close_code=4408))

        ending = ("ended_at", "outcome", "close_code", "seconds")
        assert columns(file, "sessions", *ending, "audio_seconds_in", "audio_seconds_out") == [
            ("2026-11-01T12:00:00.000000Z", "session_idle", 4408, 60.0, 20.0, 30.0)
        ]
    assert check_ledger(file).problems == ()


def columns(file: Path, table: str, *names: str) -> list[tuple[Any, ...]]:
    return select(file, f"SELECT {', '.join(names)} FROM {table}")  # noqa: S608  # names of this test


async def test_a_report_counts_once(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        assert await ledger.used(*report("s", "a"))
        assert not await ledger.used(*report("s", "a", tokens=Tokens(input_text=999)))
        assert await ledger.used(*report("s", "b"))
        await ledger.session_ended(end("s"))
        assert ledger.refused == 0

    assert select(file, "SELECT reports, input_text FROM sessions") == [(2, 20)]
    assert check_ledger(file).problems == ()


async def test_two_sessions_may_use_the_same_report_id(file: Path) -> None:
    async with opened(file) as ledger:
        for name in ("s", "t"):
            await ledger.session_started(session(name))
            assert await ledger.used(*report(name, "r"))

    assert select(file, "SELECT count(*) FROM reports") == [(2,)]


async def test_waiting_entries_share_a_commit(file: Path) -> None:
    async with opened(file) as ledger:
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(ledger.session_started(session(str(number))))
        before = ledger.commits
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(ledger.used(*report(str(number), "r")))

        assert ledger.commits - before < 50

    assert select(file, "SELECT count(*), sum(reports) FROM sessions") == [(1000, 1000)]


async def test_a_session_that_starts_reports_and_ends_in_one_commit_is_complete(file: Path) -> None:
    """Starts, reports and ends of many sessions wait together."""
    async with opened(file) as ledger, asyncio.TaskGroup() as tasks:
        for number in range(50):
            name = str(number)
            tasks.create_task(ledger.session_started(session(name)))
            tasks.create_task(ledger.used(*report(name, "r")))
            tasks.create_task(ledger.session_ended(end(name)))

    assert check_ledger(file).problems == ()
    assert select(file, "SELECT count(*) FROM sessions WHERE reports_made = 1") == [(50,)]


async def test_an_entry_is_written_when_its_caller_is_canceled(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(ledger.used(*report("s", "r")))
            asyncio.get_running_loop().call_soon(waiting.cancel)

    assert waiting.cancelled()
    assert select(file, "SELECT report_id FROM reports") == [("r",)]


async def test_with_a_locked_file_a_caller_waits_no_longer_than_its_patience(file: Path) -> None:
    lines = Lines()
    ticks: list[float] = []
    loop = asyncio.get_running_loop()

    def tick() -> None:
        ticks.append(loop.time())
        loop.call_later(0.01, tick)

    async with opened(file, lines, patience_seconds=1.0) as ledger:
        await ledger.session_started(session("s"))
        with locked(file):
            tick()
            before = loop.time()
            # The lock lasts three seconds; the callers wait only for the first of them.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ledger.used(*report("s", "first")))
                tasks.create_task(ledger.used(*report("s", "second")))
            waited = loop.time() - before
            was_failing = ledger.failing
            await ledger.used(*report("s", "third"))
            assert loop.time() - before - waited < 0.5
            assert ledger.unwritten == 3
            released = asyncio.Event()
            loop.call_at(before + 3, released.set)
            await released.wait()
        recovered = await lines.until("ledger.recovered")

        assert was_failing
        assert not ledger.failing
        assert ledger.unwritten == 0

    assert 0.9 < waited < 2
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 0.45
    assert lines.events == ["ledger.failed", "ledger.recovered"]
    assert dict(lines.lines)["ledger.failed"] == {"unwritten": 2, "cause": "SQLITE_BUSY"}
    assert recovered == {"written": 3}
    numbered = "SELECT report_id FROM reports ORDER BY number"
    assert select(file, numbered) == [("first",), ("second",), ("third",)]
    assert check_ledger(file).problems == ()


async def test_with_a_full_disk_entries_are_kept_and_written_when_there_is_space(
    small_disk: Path,
) -> None:
    file, filler, lines = small_disk / "usage.db", small_disk / "filler", Lines()
    async with opened(file, lines, patience_seconds=IMPATIENT) as ledger:
        await ledger.session_started(session("s"))
        fill(filler)
        made = 0
        while not ledger.failing:
            await ledger.used(*report("s", f"resp_{made}"))
            made += 1
        for late in range(500):
            await ledger.used(*report("s", f"late_{late}"))
        assert ledger.unwritten > 500
        filler.unlink()
        await lines.until("ledger.recovered")

    assert dict(lines.lines)["ledger.failed"]["cause"] in {"SQLITE_FULL", "SQLITE_IOERR_WRITE"}
    assert select(file, "SELECT count(*) FROM reports") == [(made + 500,)]
    assert check_ledger(file).problems == ()


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as rest:
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            return


def make_read_only(file: Path) -> None:
    file.chmod(0o444)


async def test_a_file_that_becomes_read_only_is_written_until_it_is_closed(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        make_read_only(file)
        await ledger.used(*report("s", "r"))
        assert not ledger.failing

    assert select(file, "SELECT report_id FROM reports") == [("r",)]


def remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def test_a_relay_does_not_start_on_a_read_only_disk(small_disk: Path) -> None:
    """An operator watches the start; an error in the first session would come too late."""
    file = small_disk / "usage.db"
    async with opened(file):
        pass
    remount_read_only(small_disk)

    with pytest.raises(OSError, match=r"usage\.db"):
        await Ledger.open(file, Lines().log)


async def test_entries_in_memory_are_written_on_close(file: Path) -> None:
    lines = Lines()
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    await ledger.session_started(session("s"))
    with locked(file):
        await ledger.used(*report("s", "r"))
        closing_ledger = asyncio.ensure_future(ledger.close())  # noqa: TID251  # outlives the lock
    await closing_ledger

    assert ledger.unwritten == 0
    assert select(file, "SELECT report_id FROM reports") == [("r",)]


async def test_closing_is_bounded_and_logs_the_number_of_lost_entries(file: Path) -> None:
    lines = Lines()
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    await ledger.session_started(session("s"))
    with locked(file):
        await ledger.used(*report("s", "r"))
        async with asyncio.timeout(2):
            await ledger.close(0.2)

    assert lines.lines[-1] == ("ledger.lost", {"unwritten": 1, "cause": "SQLITE_BUSY"})


async def test_an_entry_that_sqlite_refuses_does_not_delay_others(file: Path) -> None:
    """The log has it, and the check finds the gap: no loss is silent."""
    lines = Lines()
    async with opened(file, lines) as ledger:
        await ledger.session_started(session("s"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ledger.used(*report("s", "good")))
            tasks.create_task(ledger.used(*report("s", "huge", tokens=Tokens(input_text=2**70))))
            tasks.create_task(ledger.used(*report("s", "half \ud800")))
            tasks.create_task(ledger.used(*report("s", "fine")))
        await ledger.session_ended(end("s"))

        assert ledger.refused == 2
        assert not ledger.failing

    assert lines.events == ["ledger.refused", "ledger.refused"]
    assert select(file, "SELECT report_id FROM reports") == [("fine",), ("good",)]
    assert check_ledger(file).problems == (
        "session s: has 2 reports, numbered to 4: some are missing or there twice",
        "session s: was to have 4 reports and has 2",
    )


async def test_the_spending_includes_entries_that_are_not_committed_yet(file: Path) -> None:
    async with opened(file) as ledger, asyncio.TaskGroup() as tasks:
        await ledger.session_started(session("s"))
        await ledger.session_started(session("t", client="phone"))
        yesterday = NOON - timedelta(days=1)
        await ledger.used(*report("s", "old", reported_at=yesterday, cost_usd_micros=7))
        await ledger.used(*report("s", "unpriced", cost_usd_micros=None))
        tasks.create_task(ledger.used(*report("s", "a", cost_usd_micros=100)))
        tasks.create_task(ledger.used(*report("t", "b", cost_usd_micros=20)))
        await asyncio.sleep(0)  # both are in the queue

        assert await ledger.spent(NOON.replace(hour=0)) == {
            ("client", "kiosk"): 100,
            ("client", "phone"): 20,
            ("persona", "clerk"): 120,
        }


async def test_the_spending_is_answered_when_the_disk_works_again(file: Path) -> None:
    async with opened(file, patience_seconds=IMPATIENT) as ledger:
        await ledger.session_started(session("s"))
        with locked(file):
            await ledger.used(*report("s", "r", cost_usd_micros=5))
            spent = ledger.spent(NOON)
            assert ledger.failing
            assert not spent.done()
        assert await spent == {("client", "kiosk"): 5, ("persona", "clerk"): 5}


async def test_a_ledger_can_be_opened_while_it_is_locked(file: Path) -> None:
    lines = Lines()
    async with opened(file):
        pass
    with locked(file):
        ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
        assert ledger.failing
        await ledger.session_started(session("s"))
    await lines.until("ledger.recovered")
    await ledger.close()

    assert select(file, "SELECT session_id FROM sessions") == [("s",)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_ledger_can_be_opened_while_the_disk_has_no_space_for_its_lock(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The operating system reports this fault as an OSError, and not SQLite."""
    lines = Lines()
    real = os.open

    def without_space(path: Any, *arguments: Any) -> int:
        if str(path).endswith(".lock"):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", without_space)
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    assert ledger.failing
    await ledger.session_started(session("s"))
    monkeypatch.undo()
    await lines.until("ledger.recovered")
    await ledger.close()

    assert dict(lines.lines)["ledger.failed"] == {"unwritten": 0, "cause": "OSError"}
    assert select(file, "SELECT session_id FROM sessions") == [("s",)]


async def test_after_a_failing_start_a_fault_that_is_not_temporary_is_retried_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay runs already, so no fault ends its ledger."""
    lines, is_denied, was_denied = Lines(), threading.Event(), threading.Event()
    real = os.open

    def failing(path: Any, *arguments: Any) -> int:
        if not str(path).endswith(".lock"):
            return real(path, *arguments)
        if is_denied.is_set():
            was_denied.set()
            raise PermissionError(errno.EACCES, "denied")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "open", failing)
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    await asyncio.sleep(0)  # the writer learns that the start no longer waits
    is_denied.set()
    assert await asyncio.to_thread(was_denied.wait, 10)
    monkeypatch.undo()
    await lines.until("ledger.recovered")
    await ledger.session_started(session("s"))
    await ledger.close()

    assert select(file, "SELECT session_id FROM sessions") == [("s",)]


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    text, later = tmp_path / "notes.txt", tmp_path / "later.db"
    text.write_text("This is no ledger. " * 100)
    with closing(sqlite3.connect(later)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")

    for file in (text, later, tmp_path):
        with pytest.raises(LedgerUnusable, match=file.name):
            await Ledger.open(file, Lines().log)
    with pytest.raises(OSError, match="File exists"):
        await Ledger.open(text / "usage.db", Lines().log)


async def test_durations_do_not_depend_on_the_wall_clock(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        await ledger.session_ended(end("s", ended_at=NOON - timedelta(hours=1), seconds=12.5))

    assert select(file, "SELECT seconds FROM sessions") == [(12.5,)]
    assert check_ledger(file).problems == ()
