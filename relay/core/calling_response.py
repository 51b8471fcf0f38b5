"""One response that called tools: its calls, and the outputs that each side has sent."""

from dataclasses import dataclass, field
from typing import Final

STOPPED: Final = frozenset({"cancelled", "failed"})
"""The statuses of a response that no answer follows."""


@dataclass(slots=True)
class CallingResponse:
    """A response that called tools.

    Attributes:
        ours: the calls that the server runs, and whether they have their outputs.
        theirs: the calls that the client runs, and whether they have their outputs.
        begun: the calls of ours that were complete, and so are run.
        status: the status at its end; None while it goes on.
        client_asked: the client has asked for the response that follows.
    """

    ours: dict[str, bool] = field(default_factory=dict)
    theirs: dict[str, bool] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    status: str | None = None
    client_asked: bool = False

    @property
    def client_will_ask(self) -> bool:
        """Whether the client has sent its outputs, and is about to ask for the next response."""
        done = bool(self.ours and self.theirs) and all(self.theirs.values())
        return done and not self.client_asked and self.status not in STOPPED

    @property
    def wants_answer(self) -> bool:
        """Whether a response is to follow."""
        return bool(self.ours) and (self.client_asked or self.status not in STOPPED)

    @property
    def is_settled(self) -> bool:
        """Whether it is done and no output is missing that another part waits for."""
        if self.status is None or not all(self.ours.values()):
            return False
        return self.status in STOPPED or all(self.theirs.values())
