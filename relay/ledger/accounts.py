"""Keeps the accounts of the sessions: what they may cost, what they used, what is on disk.

It puts together the ledger, which remembers, and the budgets, which forbid; a session asks here
before it starts and tells here what it used, before the client is told.
"""

import asyncio
from datetime import UTC, datetime, time
from decimal import Decimal

from structlog.typing import FilteringBoundLogger as Logger

from relay.config.models import Config
from relay.config.persona import Persona
from relay.core.budgets import Allowance, Budgets, Payer
from relay.core.errors import RelayFull
from relay.core.pricing import micros
from relay.core.reports import Report
from relay.ledger.books import payer_of_user
from relay.ledger.writer import PATIENCE_SECONDS, Ledger, SessionEnd, SessionRow, UsageRow


class Accounts:
    """The accounts of one relay.

    Attributes:
        ledger: what is on disk.
    """

    def __init__(self, ledger: Ledger, budgets: Budgets) -> None:
        self.ledger = ledger
        self._budgets = budgets

    @classmethod
    async def open(cls, config: Config, log: Logger) -> "Accounts":
        """Open the ledger, and let the budgets know what was spent today.

        Raises:
            OSError: the file cannot be the ledger.
        """
        ledger = await Ledger.open(config.usage.path, log)
        today = datetime.now(UTC).date()
        budgets = Budgets(today, {})
        spent = ledger.spent(datetime.combine(today, time(), UTC))
        # A ledger that fails tells it when it is back.
        spent.add_done_callback(lambda answer: budgets.learn(answer.result(), today))
        await asyncio.wait((spent,), timeout=PATIENCE_SECONDS)
        return cls(ledger, budgets)

    def admit(
        self, session_id: str, client: str, user: str | None, persona: Persona, config: Config
    ) -> None:
        """Let a session draw on its budgets, until it is released.

        Raises:
            BudgetExhausted: a budget that it would draw on has nothing left.
            RelayFull: what it uses could not be written down.
        """
        if self.ledger.failing and config.usage.on_failure == "refuse":
            raise RelayFull(
                "The relay cannot write down what is used. Try again later.",
                detail="the ledger is failing",
            )
        allowance = _allowance(client, user, persona, config)
        self._budgets.admit(session_id, allowance, datetime.now(UTC).date())

    def release(self, session_id: str) -> None:
        """Forget a session that has ended or did not start."""
        self._budgets.release(session_id)

    async def started(self, row: SessionRow) -> bool:
        """Write down a session that starts; return whether it is past a line of its budget.

        Others may have spent what was left while it was being opened.
        """
        await self.ledger.session_started(row)
        session_id = row.session_id
        return session_id in self._budgets.charge(session_id, 0, datetime.now(UTC).date())

    async def used(self, session_id: str, report: Report) -> frozenset[str]:
        """Write down what was used, and charge it; return the sessions past a line.

        Returns when it is on disk, or when the ledger is out of patience.
        """
        now = datetime.now(UTC)
        cost = None if report.cost_usd is None else micros(report.cost_usd)
        row = UsageRow(
            session_id=session_id,
            report_id=report.report_id,
            kind=report.kind,
            model=report.model,
            status=report.status,
            reported_at=now,
            tokens=report.tokens,
            transcription_seconds=report.transcription_seconds,
            cost_usd_micros=cost,
            estimated=report.estimated,
            unknown=report.unknown,
        )
        past = self._budgets.charge(session_id, cost or 0, now.date())
        await self.ledger.used(row)
        return past

    async def ended(self, row: SessionEnd) -> None:
        """Write down how a session ended."""
        await self.ledger.session_ended(row)


def _allowance(name: str, user: str | None, persona: Persona, config: Config) -> Allowance:
    """Return what a session of this client, with this persona, for this end user may cost."""
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
