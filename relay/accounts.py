"""Keeps the accounts of the sessions: what they may cost, what they used, what is on disk.

It puts together the ledger, which remembers, and the budgets, which forbid; a session asks here
before it starts and tells here what it used, before the client is told.
"""

from datetime import UTC, datetime, time
from decimal import Decimal

from relay.config import Client, Config, Persona
from relay.core.budgets import Allowance, Budgets, Payer
from relay.core.errors import RelayFull
from relay.core.pricing import micros
from relay.core.reports import Report
from relay.ledger import Ledger, LedgerFailing, SessionEnd, SessionRow, UsageRow
from relay.log import Logger


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
        """Open the ledger, and let the budgets start with what it knows of today.

        Raises:
            OSError: the file cannot be the ledger.
        """
        ledger = await Ledger.open(config.usage.path, log)
        today = datetime.now(UTC).date()
        try:
            spent = await ledger.spent(datetime.combine(today, time(), UTC))
        except LedgerFailing:
            spent = {}
        return cls(ledger, Budgets(today, spent))

    def admit(self, session_id: str, client: str, persona: Persona, config: Config) -> None:
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
        allowance = _allowance(client, config.clients.get(client), persona)
        self._budgets.admit(session_id, allowance, datetime.now(UTC).date())

    def release(self, session_id: str) -> None:
        """Forget a session that has ended or did not start."""
        self._budgets.release(session_id)

    async def started(self, row: SessionRow) -> None:
        """Write down a session that starts."""
        await self.ledger.session_started(row)

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


def _allowance(name: str, client: Client | None, persona: Persona) -> Allowance:
    """Return what a session of this client with this persona may cost."""
    payers: dict[Payer, Decimal | None] = {
        ("client", name): client.limits.usd_per_day if client else None,
        ("persona", persona.name): persona.limits.usd_per_day,
    }
    of_session = [client.limits.usd_per_session if client else None, persona.limits.usd_per_session]
    limits = [micros(limit) for limit in of_session if limit is not None]
    return Allowance(
        payers=tuple(payers),
        micros_per_session=min(limits, default=None),
        micros_per_day={payer: micros(usd) for payer, usd in payers.items() if usd is not None},
    )
