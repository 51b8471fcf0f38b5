"""The state in another process: a worker asks the supervisor."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import date

from relay.core.budgets import Payer
from relay.core.quotas import Entry
from relay.state.local import ignore
from relay.state.messages import (
    Admit,
    Answer,
    Charge,
    Count,
    CountSessions,
    Exhausted,
    Hold,
    Merge,
    Notice,
    Question,
    Refused,
    Release,
    Started,
)


class RemoteState:
    """Asks the process that keeps the state for all workers."""

    def __init__(
        self, ask: Callable[[Question], Awaitable[Answer]], notify: Callable[[Notice], None]
    ) -> None:
        """Use ``ask`` for a message with an answer, and ``notify`` for one without.

        The messages arrive in their order.
        """
        self.on_exhausted: Callable[[Collection[str]], None] = ignore
        self._ask = ask
        self._notify = notify

    async def admit(self, entry: Entry) -> None:
        """Let a session start; it keeps its places until ``release``.

        Raises:
            RelayError: a limit or a budget is reached, or the credential was used.
        """
        answer = await self._ask(Admit(entry))
        if isinstance(answer, Refused):
            raise answer.error()

    def started(self, session_id: str) -> None:
        """Note that a session runs: its credential is used up."""
        self._notify(Started(session_id))

    def release(self, session_id: str) -> None:
        """Give back everything of a session that has ended or did not start."""
        self._notify(Release(session_id))

    async def charge(self, session_id: str, micros: int) -> None:
        """Charge a session and its payers, in micro-dollars."""
        await self._ask(Charge(session_id, micros))

    def hold(self, session_id: str, micros: int) -> None:
        """Count the estimated cost of a session for new sessions, until it is charged."""
        self._notify(Hold(session_id, micros))

    def merge(self, spent: Mapping[Payer, int], day: date) -> None:
        """Take over the spending on a day from the ledger, where it is higher."""
        self._notify(Merge(spent, day))

    async def sessions(self) -> int:
        """Return the number of sessions of the relay that are open or being opened."""
        answer = await self._ask(CountSessions())
        return answer.sessions if isinstance(answer, Count) else 0

    def receive(self, exhausted: Exhausted) -> None:
        """End the sessions with a budget that another session of their payer used up."""
        self.on_exhausted(exhausted.session_ids)
