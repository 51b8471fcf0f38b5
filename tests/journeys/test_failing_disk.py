"""A relay whose ledger cannot be written: no report is lost, and no session waits for long."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accounting import (
    DELTA,
    accounting,
    checked_ledger,
    done,
    recovered,
    refusal,
    reports,
    request_events,
    until,
)
from ledgers import immutable, locked
from relays import receive

from relay.ledger.check import check_ledger

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize("on_failure", ["refuse", "continue"])
@pytest.mark.parametrize(
    ("kept_out", "cause"), [(locked, "SQLITE_BUSY"), (immutable, "SQLITE_READONLY")]
)
async def test_a_failing_ledger_loses_no_report_and_delays_no_session_for_long(
    tmp_path: Path, on_failure: str, kept_out: Callable[[Path], Any], cause: str
) -> None:
    loop = asyncio.get_running_loop()
    file = tmp_path / "data" / "usage.db"
    settings = f"usage: {{on_failure: {on_failure}}}"
    async with accounting(tmp_path, settings=settings) as (relay, upstream):
        async with relay.connect() as client:
            await receive(client)
            with kept_out(file):
                began = loop.time()
                await request_events(client, done("resp_1"), DELTA)
                assert (await receive(client))["type"] == "response.done"
                assert 0.9 < loop.time() - began < 5
                assert (await receive(client))["type"] == DELTA["type"]
                failing = await relay.metrics()
                began = loop.time()
                for number in range(2, 52):
                    await request_events(client, done(f"resp_{number}"))
                    await until(client, "response.done")
                assert loop.time() - began < 10  # and not a second each
                if on_failure == "refuse":
                    assert await refusal(relay) == (503, "relay_full")
                    assert len(upstream.calls) == 1
                else:
                    async with relay.connect() as new:
                        await request_events(new, done("resp_new"))
                        await until(new, "response.done")
                assert reports(tmp_path, "report_id") == []
            await recovered(relay)
            works = await relay.metrics()
            written = reports(tmp_path, "report_id")
            async with relay.connect() as new:
                assert (await receive(new))["type"] == "session.created"

    assert (failing["relay_ledger_failing"], failing["relay_ledger_unwritten_rows"]) == (1, 1)
    assert (works["relay_ledger_failing"], works["relay_ledger_unwritten_rows"]) == (0, 0)
    expected = {f"resp_{number}" for number in range(1, 52)}
    expected |= {"resp_new"} if on_failure == "continue" else set()
    assert {report_id for (report_id,) in written} == expected
    assert len(written) == len(expected)
    ((failed,), (back,)) = relay.lines("ledger.failed"), relay.lines("ledger.recovered")
    assert (failed["level"], failed["cause"]) == ("error", cause)
    assert back["level"] == "warning"
    checked_ledger(tmp_path)


async def test_the_entries_of_a_failing_ledger_are_written_when_the_relay_stops(
    tmp_path: Path,
) -> None:
    file = tmp_path / "data" / "usage.db"
    async with accounting(tmp_path) as (relay, _):
        with locked(file):
            async with relay.connect() as client:
                await request_events(client, done("resp_1"))
                await until(client, "response.done")
            line = await relay.ended()

    assert line["cost_usd"] == "0.006400"
    assert reports(tmp_path, "report_id") == [("resp_1",)]
    assert check_ledger(checked_ledger(tmp_path)).open == 0
