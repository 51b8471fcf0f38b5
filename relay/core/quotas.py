"""Quotas: everything that limits the sessions of several clients together.

A session takes its places, its start in the minute, its budgets and its credential in one step: all
of them or none. Time is an argument.
"""

from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from relay.core.budgets import Allowance, Budgets
from relay.core.errors import BudgetExhausted
from relay.core.places import Kind, Place, Places
from relay.core.rates import Starts
from relay.core.single_use import Credential, SingleUse


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A session that asks to start, with its limits.

    Attributes:
        client: the client whose starts in a minute are counted.
        starts_per_minute: None is no limit.
        credential: the credential to use up; None for one that starts any number of sessions.
    """

    session_id: str
    places: tuple[Place, ...]
    client: str
    starts_per_minute: float | None
    allowance: Allowance
    credential: Credential | None


class Quotas:
    """Counts the sessions, the starts, the spending and the used credentials.

    Attributes:
        budgets: the spending of the day.
    """

    def __init__(self, day: date) -> None:
        self.budgets = Budgets(day, {})
        self._places = Places()
        self._starts = Starts()
        self._single_use = SingleUse()
        self._admitted: dict[str, Entry] = {}

    @property
    def sessions(self) -> int:
        """The number of sessions that are open or being opened."""
        return self._places.taken(Kind.RELAY)

    def admit(self, entry: Entry, now: float, at: datetime) -> None:
        """Let a session start; ``now`` is a monotonic clock in seconds, ``at`` the time in UTC.

        Raises:
            RelayError: a limit or a budget is reached, or the credential was used.
        """
        with ExitStack() as undo:
            self._places.take(entry.places)
            undo.callback(self._places.give_back, entry.places)
            self._admit_to_budgets(entry, at)
            undo.callback(self.budgets.release, entry.session_id)
            if entry.credential:
                self._single_use.use(entry.credential, at.timestamp())
                undo.callback(self._single_use.give_back, entry.credential)
            if entry.starts_per_minute:
                self._starts.start(entry.client, entry.starts_per_minute, now)
            undo.pop_all()
        self._admitted[entry.session_id] = entry

    def _admit_to_budgets(self, entry: Entry, at: datetime) -> None:
        try:
            self.budgets.admit(entry.session_id, entry.allowance, at.date())
        except BudgetExhausted as exhausted:
            midnight = datetime.combine(at.date() + timedelta(days=1), time(), UTC)
            exhausted.retry_after_seconds = int((midnight - at).total_seconds()) + 1
            raise

    def started(self, session_id: str) -> None:
        """Note that a session runs: its credential is used up."""
        if session_id in self._admitted:
            admitted = self._admitted[session_id]
            self._admitted[session_id] = msgspec.structs.replace(admitted, credential=None)

    def release(self, session_id: str) -> None:
        """Give back the places of a session that has ended or did not start.

        The credential of a session that did not start may be used again.
        """
        entry = self._admitted.pop(session_id, None)
        if entry is None:
            return
        self._places.give_back(entry.places)
        self.budgets.release(session_id)
        if entry.credential:
            self._single_use.give_back(entry.credential)
