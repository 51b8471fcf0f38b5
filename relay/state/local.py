"""The state in this process."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime
from time import monotonic

from relay.core.budgets import Payer
from relay.core.quotas import Entry, Quotas


def ignore(_session_ids: Collection[str]) -> None:
    """End no session: the state has no sessions yet."""


class LocalState:
    """Decides with the clocks of this process."""

    def __init__(self) -> None:
        self.on_exhausted: Callable[[Collection[str]], None] = ignore
        self._quotas = Quotas(_utc_now().date())

    async def admit(self, entry: Entry) -> None:
        """Let a session start; it keeps its places until ``release``.

        Raises:
            RelayError: a limit or a budget is reached, or the credential was used.
        """
        self._quotas.admit(entry, monotonic(), _utc_now())

    def started(self, session_id: str) -> None:
        """Note that a session runs: its credential is used up."""
        self._quotas.started(session_id)

    def release(self, session_id: str) -> None:
        """Give back everything of a session that has ended or did not start."""
        self._quotas.release(session_id)

    async def charge(self, session_id: str, micros: int) -> None:
        """Charge a session and its payers, in micro-dollars."""
        if exhausted := self._quotas.budgets.charge(session_id, micros, _utc_now().date()):
            self.on_exhausted(exhausted)

    def hold(self, session_id: str, micros: int) -> None:
        """Count the estimated cost of a session for new sessions, until it is charged."""
        self._quotas.budgets.hold(session_id, micros)

    def merge(self, spent: Mapping[Payer, int], day: date) -> None:
        """Take over the spending on a day from the ledger, where it is higher."""
        self._quotas.budgets.merge(spent, day)

    async def sessions(self) -> int:
        """Return the number of sessions of the relay that are open or being opened."""
        return self._quotas.sessions


def _utc_now() -> datetime:
    return datetime.now(UTC)
