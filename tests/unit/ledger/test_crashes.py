"""A process that is killed has written whatever it was promised: seen by killing it, many times."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ledgers import opened, select
from paths import ROOT

from relay.ledger import usage

ROUNDS, AT_ONCE = 8, 2
MAX_REPORTS = 100


def crash(file: Path, name: str, promised: int) -> list[str]:
    """Kill a writer once it was promised so many rows; return all that it was promised."""
    writer = [sys.executable, str(ROOT / "tests/support/ledger_writer.py"), str(file), name]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(writer, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(promised)]
        process.kill()
        lines += process.stdout.readlines()
    assert process.returncode == -9
    return [line.strip() for line in lines if line.endswith("\n")]


def crashes(file: Path, chance: random.Random) -> Iterator[str]:
    """Kill writers that share a file, some at once; yield all that they were promised."""
    for number in range(ROUNDS):
        points = [chance.randint(1, MAX_REPORTS) for _ in range(AT_ONCE)]
        with ThreadPoolExecutor() as threads:
            killed = [
                threads.submit(crash, file, f"run{number}_{at}", point)
                for at, point in enumerate(points)
            ]
        # Before any relay has started again, too.
        assert usage.check(file).problems == ()
        for one in killed:
            yield from one.result()


def test_what_was_promised_before_a_kill_is_there_once_and_the_books_are_good(
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
    checked = usage.check(file)
    assert (checked.problems, checked.open, checked.left_open) == ((), 0, 0)
    assert list(tmp_path.glob("*.lock")) == []


async def open_and_close(file: Path) -> None:
    async with opened(file):
        pass


@pytest.mark.parametrize("format_", usage.FORMATS)
def test_usage_can_be_read_from_what_a_kill_has_left(tmp_path: Path, format_: str) -> None:
    """With the log of SQLite beside the file, and nobody to tidy up."""
    file = tmp_path / "usage.db"
    promised = crash(file, "run", 100)

    (row,) = usage.query(file)

    assert row.responses >= len(promised)
    assert "clerk" in usage.FORMATS[format_]([row], ("persona",))
    check = usage.check(file)
    assert check.problems == ()
    assert check.left_open == check.open  # how many the kill caught is chance
