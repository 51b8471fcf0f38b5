"""The ledger, on real files: what is awaited is on disk, and no fault of the disk loses a row."""

import asyncio
import fcntl
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ledgers import NOON, Lines, end, locked, opened, report, select, session

from relay.core.metering import TOKEN_KINDS, Tokens
from relay.ledger import usage
from relay.ledger.books import VERSION, Instance, is_alive
from relay.ledger.writer import Ledger, LedgerUnusable

IMPATIENT = 0.1
"""How long the tests wait for a disk that fails."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data/usage.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk that one can fill, or make read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_what_is_awaited_is_on_disk(file: Path) -> None:
    tokens = Tokens(*range(1, len(TOKEN_KINDS) + 1))
    async with opened(file) as ledger:
        await ledger.session_started(session("s", user_hash="abc"))
        await ledger.used(report("s", "r", tokens=tokens, transcription_seconds=1.5))

        for table in ("reports", "sessions"):
            assert columns(file, table, *TOKEN_KINDS) == [tuple(range(1, 11))]
        told = ("report_id", "number", "kind", "status", "reported_at")
        assert columns(file, "reports", *told, "transcription_microseconds") == [
            ("r", 1, "response", "completed", "2026-11-01T12:00:00.000000Z", 1_500_000)
        ]
        assert columns(file, "sessions", "ended_at", "user_hash") == [(None, "abc")]

        await ledger.session_ended(end("s", outcome="session_idle", close_code=4408))

        ending = ("ended_at", "outcome", "close_code", "seconds")
        assert columns(file, "sessions", *ending, "audio_seconds_in", "audio_seconds_out") == [
            ("2026-11-01T12:00:00.000000Z", "session_idle", 4408, 60.0, 20.0, 30.0)
        ]
    assert usage.check(file).problems == ()


def columns(file: Path, table: str, *names: str) -> list[tuple[Any, ...]]:
    return select(file, f"SELECT {', '.join(names)} FROM {table}")  # noqa: S608  # the test's words


async def test_moments_are_kept_in_utc_and_sort_as_text(file: Path) -> None:
    at = datetime(2026, 11, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    async with opened(file) as ledger:
        await ledger.session_started(session("s", started_at=at))

    assert select(file, "SELECT started_at FROM sessions") == [("2026-10-31T23:30:00.000000Z",)]


async def test_a_report_counts_once(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        assert await ledger.used(report("s", "a"))
        assert not await ledger.used(report("s", "a", tokens=Tokens(input_text=999)))
        assert await ledger.used(report("s", "b"))
        await ledger.session_ended(end("s"))
        assert ledger.refused == 0

    assert select(file, "SELECT reports, input_text FROM sessions") == [(2, 20)]
    assert usage.check(file).problems == ()


async def test_ids_of_reports_are_the_sessions_own(file: Path) -> None:
    async with opened(file) as ledger:
        for name in ("s", "t"):
            await ledger.session_started(session(name))
            assert await ledger.used(report(name, "r"))

    assert select(file, "SELECT count(*) FROM reports") == [(2,)]


async def test_whatever_waits_shares_a_commit(file: Path) -> None:
    async with opened(file) as ledger:
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(ledger.session_started(session(str(number))))
        before = ledger.commits
        async with asyncio.TaskGroup() as tasks:
            for number in range(1000):
                tasks.create_task(ledger.used(report(str(number), "r")))

        assert ledger.commits - before < 50

    assert select(file, "SELECT count(*), sum(reports) FROM sessions") == [(1000, 1000)]


async def test_a_session_that_starts_reports_and_ends_in_one_commit_is_whole(file: Path) -> None:
    """Rows wait in the order in which they came, however many kinds of them there are."""
    async with opened(file) as ledger, asyncio.TaskGroup() as tasks:
        for number in range(50):
            name = str(number)
            tasks.create_task(ledger.session_started(session(name)))
            tasks.create_task(ledger.used(report(name, "r")))
            tasks.create_task(ledger.session_ended(end(name)))

    assert usage.check(file).problems == ()
    assert select(file, "SELECT count(*) FROM sessions WHERE reports_made = 1") == [(50,)]


async def test_who_is_cancelled_while_waiting_loses_nothing(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(ledger.used(report("s", "r")))
            asyncio.get_running_loop().call_soon(waiting.cancel)

    assert waiting.cancelled()
    assert select(file, "SELECT report_id FROM reports") == [("r",)]


async def test_while_the_file_is_locked_nobody_waits_longer_than_patience(file: Path) -> None:
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
            # Three seconds, of which only the first is waited for.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(ledger.used(report("s", "first")))
                tasks.create_task(ledger.used(report("s", "second")))
            waited = loop.time() - before
            was_failing = ledger.failing
            await ledger.used(report("s", "third"))
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
    assert usage.check(file).problems == ()


async def test_on_a_full_disk_rows_are_kept_and_written_when_there_is_room(
    small_disk: Path,
) -> None:
    file, filler, lines = small_disk / "usage.db", small_disk / "filler", Lines()
    async with opened(file, lines, patience_seconds=IMPATIENT) as ledger:
        await ledger.session_started(session("s"))
        fill(filler)
        made = 0
        while not ledger.failing:
            await ledger.used(report("s", f"resp_{made}"))
            made += 1
        for late in range(500):
            await ledger.used(report("s", f"late_{late}"))
        assert ledger.unwritten > 500
        filler.unlink()
        await lines.until("ledger.recovered")

    assert dict(lines.lines)["ledger.failed"]["cause"] in {"SQLITE_FULL", "SQLITE_IOERR_WRITE"}
    assert select(file, "SELECT count(*) FROM reports") == [(made + 500,)]
    assert usage.check(file).problems == ()


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as rest:
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            return


def make_read_only(file: Path) -> None:
    file.chmod(0o444)


async def test_a_file_that_is_made_read_only_is_written_to_until_it_is_closed(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        make_read_only(file)
        await ledger.used(report("s", "r"))
        assert not ledger.failing

    assert select(file, "SELECT report_id FROM reports") == [("r",)]


def remount_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


async def test_a_relay_does_not_start_on_a_disk_that_is_read_only(small_disk: Path) -> None:
    """Somebody watches a start: better told now than found out by the first session."""
    file = small_disk / "usage.db"
    async with opened(file):
        pass
    remount_read_only(small_disk)

    with pytest.raises(OSError, match=r"usage\.db"):
        await Ledger.open(file, Lines().log)


async def test_what_was_kept_is_written_on_close(file: Path) -> None:
    lines = Lines()
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    await ledger.session_started(session("s"))
    with locked(file):
        await ledger.used(report("s", "r"))
        closing_ledger = asyncio.ensure_future(ledger.close())  # noqa: TID251  # outlives the lock
    await closing_ledger

    assert ledger.unwritten == 0
    assert select(file, "SELECT report_id FROM reports") == [("r",)]


async def test_closing_is_bounded_and_says_what_was_lost(file: Path) -> None:
    lines = Lines()
    ledger = await Ledger.open(file, lines.log, patience_seconds=IMPATIENT)
    await ledger.session_started(session("s"))
    with locked(file):
        await ledger.used(report("s", "r"))
        async with asyncio.timeout(2):
            await ledger.close(0.2)

    assert lines.lines[-1] == ("ledger.lost", {"unwritten": 1, "cause": "SQLITE_BUSY"})


async def test_a_row_that_sqlite_refuses_holds_nobody_up(file: Path) -> None:
    """It is in the log, and in the check as a gap: nothing is lost in silence."""
    lines = Lines()
    async with opened(file, lines) as ledger:
        await ledger.session_started(session("s"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ledger.used(report("s", "good")))
            tasks.create_task(ledger.used(report("s", "huge", tokens=Tokens(input_text=2**70))))
            tasks.create_task(ledger.used(report("s", "half \ud800")))
            tasks.create_task(ledger.used(report("s", "fine")))
        await ledger.session_ended(end("s"))

        assert ledger.refused == 2
        assert not ledger.failing

    assert lines.events == ["ledger.refused", "ledger.refused"]
    assert select(file, "SELECT report_id FROM reports") == [("fine",), ("good",)]
    assert usage.check(file).problems == (
        "session s: has 2 reports, numbered to 4: some are missing or there twice",
        "session s: was to have 4 reports and has 2",
    )


async def test_what_was_spent_is_told_with_what_is_on_its_way(file: Path) -> None:
    async with opened(file) as ledger, asyncio.TaskGroup() as tasks:
        await ledger.session_started(session("s"))
        await ledger.session_started(session("t", client="phone"))
        yesterday = NOON - timedelta(days=1)
        await ledger.used(report("s", "old", reported_at=yesterday, cost_usd_micros=7))
        await ledger.used(report("s", "unpriced", cost_usd_micros=None))
        tasks.create_task(ledger.used(report("s", "a", cost_usd_micros=100)))
        tasks.create_task(ledger.used(report("t", "b", cost_usd_micros=20)))
        await asyncio.sleep(0)  # both are on their way

        assert await ledger.spent(NOON.replace(hour=0)) == {
            ("client", "kiosk"): 100,
            ("client", "phone"): 20,
            ("persona", "clerk"): 120,
        }


async def test_what_was_spent_is_not_guessed_but_told_when_the_disk_is_back(file: Path) -> None:
    async with opened(file, patience_seconds=IMPATIENT) as ledger:
        await ledger.session_started(session("s"))
        with locked(file):
            await ledger.used(report("s", "r", cost_usd_micros=5))
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


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    text, later = tmp_path / "notes.txt", tmp_path / "later.db"
    text.write_text("These are no books. " * 100)
    with closing(sqlite3.connect(later)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")

    for file in (text, later, tmp_path):
        with pytest.raises(LedgerUnusable, match=file.name):
            await Ledger.open(file, Lines().log)
    with pytest.raises(OSError, match="File exists"):
        await Ledger.open(text / "usage.db", Lines().log)


async def test_two_relays_share_a_file_and_neither_closes_the_others_sessions(file: Path) -> None:
    async with opened(file) as one:
        await one.session_started(session("s"))
        async with opened(file) as two:
            await two.session_started(session("t"))
            await one.used(report("s", "r"))
            await two.used(report("t", "r"))

            assert usage.check(file).left_open == 0

    assert select(file, "SELECT session_id, outcome, reports FROM sessions") == [
        ("s", None, 1),
        ("t", None, 1),
    ]


async def test_what_a_relay_left_open_is_closed_by_the_next(file: Path) -> None:
    """Its end is the last that is known of it; a clock that was set back makes it no shorter."""
    async with opened(file) as ledger:
        later = NOON + timedelta(seconds=90)
        await ledger.session_started(session("long"))
        await ledger.used(report("long", "r", reported_at=later))
        await ledger.session_started(session("silent"))
        await ledger.session_started(session("back"))
        await ledger.used(report("back", "r", reported_at=NOON - timedelta(hours=1)))
        await ledger.session_started(session("ended"))
        await ledger.session_ended(end("ended"))
    assert usage.check(file).left_open == 3

    async with opened(file):
        found = select(file, "SELECT session_id, outcome, ended_at, seconds FROM sessions")

    assert found == [
        ("back", "crashed", "2026-11-01T12:00:00.000000Z", 0.0),
        ("ended", "completed", "2026-11-01T12:00:00.000000Z", 60.0),
        ("long", "crashed", "2026-11-01T12:01:30.000000Z", 90.0),
        ("silent", "crashed", "2026-11-01T12:00:00.000000Z", 0.0),
    ]
    assert usage.check(file).problems == ()


async def test_a_relay_that_is_gone_leaves_no_lock(file: Path) -> None:
    async with opened(file):
        assert len(list(file.parent.glob("*.lock"))) == 1

    assert list(file.parent.iterdir()) == [file]


async def test_durations_do_not_depend_on_the_clock_of_the_wall(file: Path) -> None:
    async with opened(file) as ledger:
        await ledger.session_started(session("s"))
        await ledger.session_ended(end("s", ended_at=NOON - timedelta(hours=1), seconds=12.5))

    assert select(file, "SELECT seconds FROM sessions") == [(12.5,)]
    assert usage.check(file).problems == ()


def test_a_lock_that_is_tidied_away_while_it_is_taken_is_taken_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the relay that holds a file which is no more would be taken for one that is gone."""
    file.parent.mkdir()
    instance = Instance(file)
    real = fcntl.flock

    def tidied_away(handle: int, how: int) -> None:
        monkeypatch.undo()
        real(handle, how)
        for lock in file.parent.glob("*.lock"):
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", tidied_away)
    instance.live()

    assert is_alive(file, instance.name)
    instance.leave()
    assert not is_alive(file, instance.name)
