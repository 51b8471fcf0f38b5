"""The messages between a worker and the process that keeps the state for all workers."""

from collections.abc import Mapping
from datetime import date

import msgspec

from relay.core.budgets import Payer
from relay.core.errors import ERRORS, RelayError
from relay.core.quotas import Entry


class Message(msgspec.Struct, frozen=True, tag=True):
    """A message; its tag is the name of its class."""


class Admit(Message, frozen=True):
    """Let a session start. The answer is `Done` or `Refused`."""

    entry: Entry


class Started(Message, frozen=True):
    """A session runs. There is no answer."""

    session_id: str


class Release(Message, frozen=True):
    """A session has ended or did not start. There is no answer."""

    session_id: str


class Charge(Message, frozen=True):
    """Charge a session. The answer is `Done`, after the `Exhausted` that follows from it."""

    session_id: str
    micros: int


class Hold(Message, frozen=True):
    """Count an estimated cost for new sessions. There is no answer."""

    session_id: str
    micros: int


class Merge(Message, frozen=True):
    """Take over the spending of a day from the ledger. There is no answer."""

    spent: Mapping[Payer, int]
    day: date


class CountSessions(Message, frozen=True):
    """Count the sessions of the relay. The answer is `Count`."""


class Done(Message, frozen=True):
    """The request was done."""


class Count(Message, frozen=True):
    """The number of sessions that are open or being opened."""

    sessions: int


class Refused(Message, frozen=True):
    """A limit refused the session."""

    code: str
    text: str
    detail: str
    retry_after_seconds: int | None

    @classmethod
    def because(cls, error: RelayError) -> "Refused":
        """Return the message for an error."""
        return cls(error.code, str(error), error.detail, error.retry_after_seconds)

    def error(self) -> RelayError:
        """Return the error that refused the session."""
        return _ERRORS[self.code](
            self.text, detail=self.detail, retry_after_seconds=self.retry_after_seconds
        )


class Exhausted(Message, frozen=True):
    """The budgets of these sessions are used up. A worker receives the ids of its own sessions."""

    session_ids: tuple[str, ...]


Question = Admit | Charge | CountSessions
"""The messages with an answer."""

Notice = Started | Release | Hold | Merge
"""The messages without an answer."""

Answer = Done | Count | Refused

_ERRORS = {error.code: error for error in ERRORS}
