"""Accounts of the sessions: the ledger records their usage, the budgets limit it.

A session asks here before it starts, and reports its usage here before the client receives it.
"""

import asyncio
from datetime import UTC, datetime, time
from decimal import Decimal

from structlog.typing import FilteringBoundLogger as Logger

from relay.config.models import Config
from relay.config.persona import Persona
from relay.core.budgets import Allowance, Budgets, Payer, payer_of_user
from relay.core.errors import RelayFull
from relay.core.pricing import micros
from relay.core.reports import Report
from relay.ledger.entries import SessionEnd, SessionStart
from relay.ledger.ledger import PATIENCE_SECONDS, Ledger


class Accounts:
    """The accounts of one relay.

    Attributes:
        ledger: the usage on disk.
    """

    def __init__(self, ledger: Ledger, budgets: Budgets) -> None:
        self.ledger = ledger
        self._budgets = budgets

    @classmethod
    async def open(cls, config: Config, log: Logger) -> "Accounts":
        """Open the ledger, and start the budgets with the spending of today.

        Raises:
            OSError: the file cannot be the ledger.
        """
        ledger = await Ledger.open(config.usage.path, log)
        today = datetime.now(UTC).date()
        budgets = Budgets(today, {})
        spent = ledger.spent(datetime.combine(today, time(), UTC))
        # A failing ledger answers when it works again.
        spent.add_done_callback(lambda answer: budgets.merge(answer.result(), today))
        await asyncio.wait((spent,), timeout=PATIENCE_SECONDS)
        return cls(ledger, budgets)

    def is_refusing(self, config: Config) -> bool:
        """Return whether no session may start because its usage cannot be recorded."""
        return self.ledger.failing and config.usage.on_failure == "refuse"

    def admit(
        self, session_id: str, client: str, user: str | None, persona: Persona, config: Config
    ) -> None:
        """Let a session draw on its budgets until it is released.

        Raises:
            BudgetExhausted: a budget of the session is used up.
            RelayFull: the ledger cannot record the usage of the session.
        """
        if self.is_refusing(config):
            raise RelayFull(
                "The relay cannot record usage now. Try again later.",
                detail="the ledger is failing",
            )
        allowance = _allowance(client, user, persona, config)
        self._budgets.admit(session_id, allowance, datetime.now(UTC).date())

    def release(self, session_id: str) -> None:
        """Forget a session that has ended or did not start."""
        self._budgets.release(session_id)

    async def started(self, start: SessionStart) -> bool:
        """Record the start of a session; return whether one of its budgets is used up by now.

        Other sessions may have spent the rest of the budget while this session was opened.
        """
        await self.ledger.session_started(start)
        session_id = start.session_id
        return session_id in self._budgets.charge(session_id, 0, datetime.now(UTC).date())

    async def used(self, session_id: str, report: Report) -> frozenset[str]:
        """Record and charge a report of usage; return the sessions with a budget that is used up.

        Returns when the report is on disk, or when the patience of the ledger ends.
        """
        now = datetime.now(UTC)
        exhausted = self._budgets.charge(session_id, micros(report.charge_usd), now.date())
        await self.ledger.used(session_id, report, now)
        return exhausted

    def hold(self, session_id: str, cost_usd: Decimal) -> None:
        """Count the estimated cost of usage without a report when new sessions are admitted."""
        self._budgets.hold(session_id, micros(cost_usd))

    async def ended(self, end: SessionEnd) -> None:
        """Record the end of a session."""
        await self.ledger.session_ended(end)


def _allowance(name: str, user: str | None, persona: Persona, config: Config) -> Allowance:
    """Return the budgets of a session of this client, with this persona, for this end user."""
    client = config.clients.get(name)
    payers: dict[Payer, Decimal | None] = {
        ("client", name): client.limits.usd_per_day if client else None,
        ("persona", persona.name): persona.limits.usd_per_day,
    }
    if user:
        payers[payer_of_user(name, user)] = config.limits.user.usd_per_day
    of_session = [client.limits.usd_per_session if client else None, persona.limits.usd_per_session]
    limits = [micros(limit) for limit in of_session if limit is not None]
    return Allowance(
        payers=tuple(payers),
        micros_per_session=min(limits, default=None),
        micros_per_day={payer: micros(usd) for payer, usd in payers.items() if usd is not None},
    )
