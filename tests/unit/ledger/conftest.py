"""A path for a ledger, and a ledger with usage."""

from datetime import timedelta
from pathlib import Path

import pytest
from ledgers import MIDNIGHT, end, opened, report, session

from relay.core.tokens import Tokens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data/usage.db"


@pytest.fixture
async def recorded(tmp_path: Path) -> Path:
    """A ledger with two clients and two personas; one session lasts over midnight."""
    file = tmp_path / "usage.db"
    async with opened(file) as ledger:
        await ledger.session_started(session("one"))
        await ledger.used(*report("one", "a"))
        await ledger.used(*report("one", "b", estimated=True, cost_usd_micros=500))
        await ledger.used(
            *report(
                "one",
                "item",
                kind="transcription",
                model="gpt-transcribe",
                tokens=Tokens(),
                transcription_seconds=4.2,
                cost_usd_micros=315,
            )
        )
        await ledger.session_ended(end("one"))
        late = MIDNIGHT - timedelta(minutes=5)
        await ledger.session_started(
            session("two", client="phone", persona="guide", started_at=late)
        )
        await ledger.used(*report("two", "c", reported_at=late, cost_usd_micros=None))
        await ledger.used(
            *report(
                "two",
                "d",
                reported_at=MIDNIGHT,
                unknown=True,
                tokens=Tokens(),
                cost_usd_micros=None,
            )
        )
        await ledger.session_ended(end("two", ended_at=MIDNIGHT, seconds=305.5))
        await ledger.session_started(session("three", started_at=MIDNIGHT))
    return file
