"""Accounts of the sessions: the ledger records their usage, the budgets limit it.

A session asks here before it starts, and reports its usage here before the client receives it.
"""

import asyncio
from datetime import UTC, datetime, time
from decimal import Decimal

from structlog.typing import FilteringBoundLogger as Logger

from relay.config.models import Config
from relay.core.errors import RelayFull
from relay.core.pricing import micros
from relay.core.reports import Report
from relay.ledger.entries import SessionEnd, SessionStart
from relay.ledger.ledger import PATIENCE_SECONDS, Ledger
from relay.state import State


class Accounts:
    """The accounts of one relay.

    Attributes:
        ledger: the usage on disk.
        state: the budgets, and everything else that is counted for all sessions.
    """

    def __init__(self, ledger: Ledger, state: State) -> None:
        self.ledger = ledger
        self.state = state

    @classmethod
    async def open(cls, config: Config, state: State, log: Logger) -> "Accounts":
        """Open the ledger, and start the budgets with the spending of today.

        Raises:
            OSError: the file cannot be the ledger.
        """
        ledger = await Ledger.open(config.usage.path, log)
        today = datetime.now(UTC).date()
        spent = ledger.spent(datetime.combine(today, time(), UTC))
        # A failing ledger answers when it works again.
        spent.add_done_callback(lambda answer: state.merge(answer.result(), today))
        await asyncio.wait((spent,), timeout=PATIENCE_SECONDS)
        return cls(ledger, state)

    def is_refusing(self, config: Config) -> bool:
        """Return whether no session may start because its usage cannot be recorded."""
        return self.ledger.failing and config.usage.on_failure == "refuse"

    def check(self, config: Config) -> None:
        """Check that the usage of a new session can be recorded.

        Raises:
            RelayFull: the ledger is failing.
        """
        if self.is_refusing(config):
            raise RelayFull(
                "The relay cannot record usage now. Try again later.",
                detail="the ledger is failing",
            )

    async def started(self, start: SessionStart) -> None:
        """Record the start of a session, and end it if one of its budgets is used up by now.

        Other sessions may have spent the rest of the budget while this session was opened.
        """
        await self.ledger.session_started(start)
        await self.state.charge(start.session_id, 0)

    async def used(self, session_id: str, report: Report) -> None:
        """Charge and record a report of usage.

        Returns when the report is on disk, or when the patience of the ledger ends.
        """
        await self.state.charge(session_id, micros(report.charge_usd))
        await self.ledger.used(session_id, report, datetime.now(UTC))

    def hold(self, session_id: str, cost_usd: Decimal) -> None:
        """Count the estimated cost of usage without a report when new sessions are admitted."""
        self.state.hold(session_id, micros(cost_usd))

    async def ended(self, end: SessionEnd) -> None:
        """Record the end of a session."""
        await self.ledger.session_ended(end)
