"""Places for sessions: a session takes all of its places in one step, so no race passes a limit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial

import msgspec

from relay.core.errors import RelayError, RelayFull, SessionLimitReached


class Kind(StrEnum):
    """The kinds of places, and of the limits on their number."""

    RELAY = "relay"
    CLIENT = "client"
    PERSONA = "persona"
    USER = "user"


FULL: Mapping[Kind, Callable[[], RelayError]] = {
    Kind.RELAY: RelayFull,
    Kind.CLIENT: SessionLimitReached,
    Kind.PERSONA: partial(SessionLimitReached, "Too many sessions are open with this persona."),
    Kind.USER: SessionLimitReached,
}
"""The error for each kind of place when none is free."""


class Place(msgspec.Struct, frozen=True):
    """A place under one limit.

    Attributes:
        name: of the client, the persona or the end user; empty for the relay.
        limit: the number of places; None for any number.
    """

    kind: Kind
    name: str
    limit: int | None

    @property
    def of(self) -> tuple[Kind, str]:
        """Return the key that all places under this limit share."""
        return self.kind, self.name


class Places:
    """Counts the places that are taken, by limit."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[Kind, str]] = Counter()

    def take(self, places: Sequence[Place]) -> None:
        """Take all of these places, or none.

        Raises:
            RelayError: the error of the first limit without a free place.
        """
        for place in places:
            if place.limit is not None and self._taken[place.of] >= place.limit:
                error = FULL[place.kind]()
                raise error
        self._taken.update(place.of for place in places)

    def give_back(self, places: Sequence[Place]) -> None:
        """Give back the places that ``take`` took."""
        for place in places:
            self._taken[place.of] -= 1
            if not self._taken[place.of]:
                del self._taken[place.of]

    def taken(self, kind: Kind, name: str = "") -> int:
        """Return the number of places that are taken under one limit."""
        return self._taken[kind, name]
