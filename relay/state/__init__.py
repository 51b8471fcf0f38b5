"""The state that is exact: places, starts in a minute, budgets, single-use credentials.

`State` is the interface. `local` keeps the state in this process.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Protocol

from relay.core.budgets import Payer
from relay.core.quotas import Entry


class State(Protocol):
    """Counts the sessions of one process, or of several.

    Attributes:
        on_exhausted: receives the ids of the sessions of this process with a budget that is used
            up, each time that one of their payers is charged.
    """

    on_exhausted: Callable[[Collection[str]], None]

    async def admit(self, entry: Entry) -> None:
        """Let a session start; it keeps its places until ``release``.

        A caller that is cancelled here calls ``release`` too.

        Raises:
            RelayError: a limit or a budget is reached, or the credential was used.
        """

    def started(self, session_id: str) -> None:
        """Note that a session runs: its credential is used up."""

    def release(self, session_id: str) -> None:
        """Give back everything of a session that has ended or did not start."""

    async def charge(self, session_id: str, micros: int) -> None:
        """Charge a session and its payers, in micro-dollars.

        ``on_exhausted`` has been called when this returns.
        """

    def hold(self, session_id: str, micros: int) -> None:
        """Count the estimated cost of a session for new sessions, until it is charged."""

    def merge(self, spent: Mapping[Payer, int], day: date) -> None:
        """Take over the spending on a day from the ledger, where it is higher."""

    async def sessions(self) -> int:
        """Return the number of sessions of the relay that are open or being opened."""
