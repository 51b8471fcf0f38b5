"""What sessions may cost: decided at once, so that no race lets the sessions of one payer pass.

A payer is whoever has a budget for a day: a client or a persona. All sessions of a payer draw on
the same sum, so each charge is seen by all of them, and a session that did not charge anything
itself can be the one that has to end. The day is UTC and an argument, as is every amount; amounts
are whole micro-dollars.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from relay.core.errors import BudgetExhausted

Payer = tuple[str, str]
"""What kind of payer, and its name: ``("client", "kiosk")``."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one session may cost, and who pays for it.

    Attributes:
        micros_per_session: None is without limit.
        payers: all who are charged, those without a limit included: they may get one later.
        micros_per_day: the limits of those payers that have one.
    """

    payers: tuple[Payer, ...]
    micros_per_session: int | None = None
    micros_per_day: Mapping[Payer, int] = field(default_factory=dict)


class Budgets:
    """Adds up what the payers spend in a day, and tells which sessions are past a line."""

    def __init__(self, day: date, spent: Mapping[Payer, int]) -> None:
        """Start with what was spent on ``day`` until now, in micro-dollars."""
        self._day = day
        self._spent = Counter(spent)
        self._open: dict[str, Allowance] = {}
        self._spent_by_session: Counter[str] = Counter()

    def learn(self, spent: Mapping[Payer, int], day: date) -> None:
        """Take note of what is known to be spent on a day; it may hold what was charged here."""
        if day == self._day:
            self._spent |= Counter(spent)

    def admit(self, session_id: str, allowance: Allowance, day: date) -> None:
        """Let a session draw on its payers' budgets, until it is released.

        Raises:
            BudgetExhausted: a payer has nothing left today.
        """
        self._begin(day)
        for payer in self._exhausted(allowance):
            raise BudgetExhausted(detail=f"{payer[0]} {payer[1]}: usd_per_day")
        self._open[session_id] = allowance

    def charge(self, session_id: str, micros: int, day: date) -> frozenset[str]:
        """Charge a session and its payers; return the open sessions that are now past a line.

        They are to end when the response that is under way in them, if any, was delivered.
        """
        self._begin(day)
        allowance = self._open[session_id]
        self._spent_by_session[session_id] += micros
        for payer in allowance.payers:
            self._spent[payer] += micros
        # Only a payer that has nothing left concerns other sessions than this one.
        concerned = self._open if self._exhausted(allowance) else (session_id,)
        return frozenset(filter(self._is_past_a_line, concerned))

    def release(self, session_id: str) -> None:
        """Forget a session that has ended; what it spent stays spent."""
        self._open.pop(session_id, None)
        self._spent_by_session.pop(session_id, None)

    def spent(self, payer: Payer, day: date) -> int:
        """Return what a payer has spent on a day, in micro-dollars."""
        self._begin(day)
        return self._spent[payer]

    def _begin(self, day: date) -> None:
        """Begin a new day; a clock that is set back does not bring yesterday back."""
        if day > self._day:
            self._day = day
            self._spent.clear()

    def _is_past_a_line(self, session_id: str) -> bool:
        allowance = self._open[session_id]
        limit = allowance.micros_per_session
        if limit is not None and self._spent_by_session[session_id] >= limit:
            return True
        return bool(self._exhausted(allowance))

    def _exhausted(self, allowance: Allowance) -> list[Payer]:
        limits = allowance.micros_per_day
        return [payer for payer, limit in limits.items() if self._spent[payer] >= limit]
