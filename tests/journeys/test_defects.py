"""A defect in one session ends no other session, although all of them run in one group of tasks."""

import asyncio
from pathlib import Path

import pytest
from relays import receive, relaying, send

from relay.core.budgets import Budgets
from relay.core.commands import Side
from relay.ledger.accounts import Accounts
from relay.ledger.check import check_ledger
from relay.telemetry import observer

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize(
    ("owner", "milestone", "close_code"),
    [
        (Accounts, "started", 1011),  # the ledger does not know the session at its end
        (Accounts, "ended", 1000),
        (Budgets, "release", 1000),
        (observer.SessionObserver, "started", 1000),
        (observer, "line", 1000),  # of the log
    ],
)
async def test_a_defect_in_one_session_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, milestone: str, close_code: int
) -> None:
    failed = asyncio.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise LookupError("a defect")

    async with relaying(tmp_path) as (relay, upstream):
        async with relay.connect() as other:
            await receive(other)
            (running,) = relay.sessions.running.values()
            with monkeypatch.context() as patched:
                patched.setattr(owner, milestone, fail)
                async with asyncio.timeout(10), relay.connect() as client:
                    await receive(client)
                    if close_code != 1000:
                        await client.wait_closed()
                assert await upstream.calls[1].closed == close_code
                await failed.wait()
                await running.bridge.peers[Side.CLIENT].send(b'{"type":"still here"}')
            assert (await receive(other))["type"] == "still here"
            await send(other, type="input_audio_buffer.append", audio="AAAA")
        line = await relay.ended()

    assert (line["session_id"], line["outcome"]) == (running.session_id, "completed")
    (failure,) = relay.lines("session.failed")
    assert "LookupError: a defect" in failure["exception"]
    assert check_ledger(tmp_path / "data" / "usage.db").problems == ()
