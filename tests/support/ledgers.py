"""Entries for ledgers, and a log that tests can read and wait for."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import FilteringBoundLogger as Logger

from relay.core.pricing import usd
from relay.core.reports import Report
from relay.core.tokens import Tokens
from relay.ledger.entries import SessionEnd, SessionStart
from relay.ledger.ledger import Ledger
from relay.ledger.query import query_usage
from relay.ledger.render import as_json

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 2, tzinfo=UTC)


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self._written = asyncio.Event()
        self.log: Logger = structlog.wrap_logger(
            None, processors=[self._keep], wrapper_class=structlog.make_filtering_bound_logger(0)
        )

    def _keep(self, _logger: object, _method: str, fields: Any) -> Any:
        self.lines.append((fields.pop("event"), dict(fields)))
        self._written.set()
        raise structlog.DropEvent

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]

    async def until(self, event: str) -> dict[str, Any]:
        """Wait for a line; return its fields."""
        async with asyncio.timeout(10):
            while event not in self.events:
                self._written.clear()
                await self._written.wait()
        return dict(self.lines)[event]


@asynccontextmanager
async def opened(
    file: Path, lines: Lines | None = None, *, patience_seconds: float = 60
) -> AsyncIterator[Ledger]:
    """Open a ledger that waits for a slow disk, and close it when every entry is written."""
    log = (lines or Lines()).log
    ledger = await Ledger.open(file, log, patience_seconds=patience_seconds)
    try:
        yield ledger
    finally:
        await ledger.close(60)
    assert ledger.unwritten == 0


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Lock the ledger, so that no other connection can write, as a backup does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def immutable(file: Path) -> Iterator[None]:
    """Make the ledger immutable, also for open connections; only some file systems can do that."""
    files = [str(file), f"{file}-wal"]
    chattr = shutil.which("chattr") or "false"
    if subprocess.run([chattr, "+i", *files], check=False, capture_output=True).returncode:
        pytest.skip("only root can make a file immutable, and not on every file system")
    try:
        yield
    finally:
        subprocess.run([chattr, "-i", *files], check=True)


def select(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(statement).fetchall()


def as_objects(file: Path, *by: str, **period: datetime) -> list[dict[str, Any]]:
    """Return usage as the objects of the JSON format."""
    objects: list[dict[str, Any]] = json.loads(as_json(query_usage(file, by=by, **period)))
    return objects


def session(session_id: str, **changes: Any) -> SessionStart:
    """Return the start of a session."""
    row: dict[str, Any] = {
        "started_at": NOON,
        "client": "kiosk",
        "persona": "clerk",
        "model": "gpt-realtime-2.1",
        "upstream": "openai",
        "upstream_session_id": "sess_upstream",
    }
    return SessionStart(session_id, **(row | changes))


def report(
    session_id: str,
    report_id: str,
    *,
    reported_at: datetime = NOON,
    cost_usd_micros: int | None = 1320,
    **changes: Any,
) -> tuple[str, Report, datetime]:
    """Return the arguments of `Ledger.used`."""
    fields: dict[str, Any] = {
        "kind": "response",
        "model": "gpt-realtime-2.1",
        "status": "completed",
        "tokens": Tokens(input_text=10, output_audio=20),
        "cost_usd": None if cost_usd_micros is None else usd(cost_usd_micros),
    }
    return session_id, Report(report_id, **(fields | changes)), reported_at


def end(session_id: str, **changes: Any) -> SessionEnd:
    """Return the end of a session."""
    row: dict[str, Any] = {
        "ended_at": NOON,
        "outcome": "completed",
        "close_code": 1000,
        "seconds": 60.0,
        "audio_seconds_in": 20.0,
        "audio_seconds_out": 30.0,
    }
    return SessionEnd(session_id, **(row | changes))
