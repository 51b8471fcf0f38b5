"""Budgets: limits on the cost of a session, and on the cost of a payer in a day.

A payer is a client, a persona or an end user. All sessions of a payer draw on one sum. Each charge
is compared with the limits in the same call, so concurrent sessions cannot exceed a limit
unnoticed, and a charge of one session can end another. Days are UTC and an argument. Amounts are
whole micro-dollars.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from relay.core.errors import BudgetExhausted

Payer = tuple[str, str]
"""The kind of a payer and its name: ``("client", "kiosk")``."""


def payer_of_user(client: str, user_hash: str) -> Payer:
    """Return the payer for an end user of a client; two clients may use the same user name."""
    return "user", f"{client}/{user_hash}"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of one session and of its payers.

    Attributes:
        payers: all payers to charge, also those without a limit: they may get one later.
        micros_per_session: None is no limit.
        micros_per_day: the limits of the payers that have one.
    """

    payers: tuple[Payer, ...]
    micros_per_session: int | None = None
    micros_per_day: Mapping[Payer, int] = field(default_factory=dict)


class Budgets:
    """Adds up the spending of each payer in a day, and finds the sessions to end."""

    def __init__(self, day: date, spent: Mapping[Payer, int]) -> None:
        """Start with the spending on ``day`` until now, in micro-dollars."""
        self._day = day
        self._spent = Counter(spent)
        self._open: dict[str, Allowance] = {}
        self._spent_by_session: Counter[str] = Counter()
        self._held: dict[str, int] = {}

    def merge(self, spent: Mapping[Payer, int], day: date) -> None:
        """Take over the spending on a day from the ledger, where it is higher.

        It may include charges that were made here, so the two are not added.
        """
        if day == self._day:
            self._spent |= Counter(spent)

    def admit(self, session_id: str, allowance: Allowance, day: date) -> None:
        """Let a session draw on the budgets of its payers until it is released.

        Raises:
            BudgetExhausted: the budget of a payer is used up today.
        """
        self._begin(day)
        for payer in self._exhausted_payers(allowance, self._held_by_payer()):
            raise BudgetExhausted(detail=f"{payer[0]} {payer[1]}: usd_per_day")
        self._open[session_id] = allowance

    def hold(self, session_id: str, micros: int) -> None:
        """Count the estimated cost of a session for new sessions, until it is charged or released.

        A running session does not end for an estimate.
        """
        if micros:
            self._held[session_id] = micros

    def charge(self, session_id: str, micros: int, day: date) -> frozenset[str]:
        """Charge a session and its payers; return the open sessions with a budget that is used up.

        Each of them is to end after the response in progress, if it has one.
        """
        self._begin(day)
        allowance = self._open[session_id]
        self._spent_by_session[session_id] += micros
        if session_id in self._held:
            self._held[session_id] = max(0, self._held[session_id] - micros)
        for payer in allowance.payers:
            self._spent[payer] += micros
        # Other sessions are affected only if the budget of a payer is used up.
        affected = self._open if self._exhausted_payers(allowance) else (session_id,)
        return frozenset(filter(self._has_exhausted_budget, affected))

    def release(self, session_id: str) -> None:
        """Forget a session that has ended; its payers keep its spending."""
        self._open.pop(session_id, None)
        self._spent_by_session.pop(session_id, None)
        self._held.pop(session_id, None)

    def spent(self, payer: Payer, day: date) -> int:
        """Return the spending of a payer on a day, in micro-dollars."""
        self._begin(day)
        return self._spent[payer]

    def _begin(self, day: date) -> None:
        """Begin a new day; a clock that is set back does not begin the day before again."""
        if day > self._day:
            self._day = day
            self._spent.clear()

    def _has_exhausted_budget(self, session_id: str) -> bool:
        allowance = self._open[session_id]
        limit = allowance.micros_per_session
        if limit is not None and self._spent_by_session[session_id] >= limit:
            return True
        return bool(self._exhausted_payers(allowance))

    def _held_by_payer(self) -> Mapping[Payer, int]:
        held: Counter[Payer] = Counter()
        for session_id, micros in self._held.items():
            held.update(dict.fromkeys(self._open[session_id].payers, micros))
        return held

    def _exhausted_payers(
        self, allowance: Allowance, held: Mapping[Payer, int] | None = None
    ) -> list[Payer]:
        limits, held = allowance.micros_per_day, held or {}
        return [p for p, limit in limits.items() if self._spent[p] + held.get(p, 0) >= limit]
