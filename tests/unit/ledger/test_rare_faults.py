"""Rare states of the ledger: an old SQLite, withdrawn questions, two calls of close."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from ledgers import NOON, Lines, locked, opened, report, session

from relay.ledger.check import check_ledger
from relay.ledger.ledger import Ledger
from relay.ledger.tables import LedgerUnusable


async def test_the_spending_of_an_end_user_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path / "usage.db") as ledger:
        await ledger.session_started(session("one", user_hash="abc"))
        await ledger.used(*report("one", "a", cost_usd_micros=5))
        await ledger.session_started(session("two"))
        await ledger.used(*report("two", "b", cost_usd_micros=7))
        spent = await ledger.spent(NOON)

        assert sorted(spent.values()) == [5, 12, 12]
        assert spent["client", "kiosk"] == spent["persona", "clerk"] == 12


async def test_an_old_sqlite_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))

    with pytest.raises(LedgerUnusable, match="SQLite is 3"):
        await Ledger.open(tmp_path / "usage.db", Lines().log)


async def test_a_question_that_is_withdrawn_delays_no_other(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    async with opened(file, patience_seconds=0.1) as ledger:
        await ledger.session_started(session("one"))
        with locked(file):
            await ledger.used(*report("one", "a", cost_usd_micros=5))  # it waits for the disk
            ledger.spent(NOON).cancel()
            answer = ledger.spent(NOON)
        async with asyncio.timeout(10):
            assert (await answer)["client", "kiosk"] == 5


async def test_a_ledger_that_is_closed_twice_writes_everything(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    async with opened(file, patience_seconds=0.1) as ledger, asyncio.TaskGroup() as tasks:
        await ledger.session_started(session("one"))
        with locked(file):
            await ledger.used(*report("one", "a"))
            closing = {tasks.create_task(ledger.close(10)) for _ in range(2)}
            done, _ = await asyncio.wait(closing, timeout=0.3)
            assert not done

    assert check_ledger(file).reports == 1
