"""A report that `Ledger.used` promised is on disk after a kill; many kills show it."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from ledgers import NOON, end, opened, report, select, session
from paths import ROOT

from relay.ledger.check import check_ledger
from relay.ledger.query import query_usage
from relay.ledger.render import FORMATS

ROUNDS, AT_ONCE = 8, 2
MAX_REPORTS = 100


def crash(file: Path, name: str, promised: int) -> list[str]:
    """Kill a writer after ``promised`` reports; return all reports that it printed."""
    writer = [sys.executable, str(ROOT / "tests/support/ledger_writer.py"), str(file), name]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(promised)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    return [line.strip() for line in lines if line.endswith("\n")]


def crashes(file: Path, chance: random.Random) -> Iterator[str]:
    """Kill writers that share a file, some at once; yield the reports that they printed."""
    for number in range(ROUNDS):
        points = [chance.randint(1, MAX_REPORTS) for _ in range(AT_ONCE)]
        with ThreadPoolExecutor() as threads:
            killed = [
                threads.submit(crash, file, f"run{number}_{at}", point)
                for at, point in enumerate(points)
            ]
        # Also before another relay has started.
        assert check_ledger(file).problems == ()
        for one in killed:
            yield from one.result()


def test_a_report_that_was_promised_before_a_kill_is_there_once(
    tmp_path: Path,
) -> None:
    file, seed = tmp_path / "usage.db", random.randrange(2**32)  # noqa: S311  # of tests
    print("seed", seed)  # noqa: T201  # shown when it fails

    promised = list(crashes(file, random.Random(seed)))  # noqa: S311  # as above
    asyncio.run(open_and_close(file))

    written = [f"{s} {r}" for s, r in select(file, "SELECT session_id, report_id FROM reports")]
    assert len(promised) >= ROUNDS * AT_ONCE
    assert len(set(promised)) == len(promised)
    assert set(promised) <= set(written)
    assert len(set(written)) == len(written)
    checked = check_ledger(file)
    assert (checked.problems, checked.open, checked.left_open) == ((), 0, 0)
    assert list(tmp_path.glob("*.lock")) == []


async def open_and_close(file: Path) -> None:
    async with opened(file):
        pass


@pytest.mark.parametrize("format_", FORMATS)
def test_usage_can_be_read_after_a_kill(tmp_path: Path, format_: str) -> None:
    """The write-ahead log of SQLite is still beside the file, and no relay has recovered it."""
    file = tmp_path / "usage.db"
    promised = crash(file, "run", 100)

    (row,) = query_usage(file)

    assert row.responses >= len(promised)
    assert "clerk" in FORMATS[format_]([row], ("persona",))
    check = check_ledger(file)
    assert check.problems == ()
    assert check.left_open == check.open  # their number is chance


async def test_two_relays_share_a_file_and_keep_each_others_sessions_open(
    file: Path,
) -> None:
    async with opened(file) as one:
        await one.session_started(session("s"))
        async with opened(file) as two:
            await two.session_started(session("t"))
            await one.used(*report("s", "r"))
            await two.used(*report("t", "r"))

            assert check_ledger(file).left_open == 0

    assert select(file, "SELECT session_id, outcome, reports FROM sessions") == [
        ("s", None, 1),
        ("t", None, 1),
    ]


async def test_the_next_start_closes_the_sessions_that_a_relay_left_open(file: Path) -> None:
    """A session ends at its last known time; a clock that is set back does not shorten it."""
    async with opened(file) as ledger:
        later = NOON + timedelta(seconds=90)
        await ledger.session_started(session("long"))
        await ledger.used(*report("long", "r", reported_at=later))
        await ledger.session_started(session("silent"))
        await ledger.session_started(session("back"))
        await ledger.used(*report("back", "r", reported_at=NOON - timedelta(hours=1)))
        await ledger.session_started(session("ended"))
        await ledger.session_ended(end("ended"))
    assert check_ledger(file).left_open == 3

    async with opened(file):
        found = select(file, "SELECT session_id, outcome, ended_at, seconds FROM sessions")

    assert found == [
        ("back", "crashed", "2026-11-01T12:00:00.000000Z", 0.0),
        ("ended", "completed", "2026-11-01T12:00:00.000000Z", 60.0),
        ("long", "crashed", "2026-11-01T12:01:30.000000Z", 90.0),
        ("silent", "crashed", "2026-11-01T12:00:00.000000Z", 0.0),
    ]
    assert check_ledger(file).problems == ()
