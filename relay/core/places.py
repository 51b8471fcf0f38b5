"""Places for sessions: a session takes all of its places in one step, so no race passes a limit."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from relay.core.errors import RelayError


@dataclass(frozen=True, slots=True)
class Place:
    """A place under one limit.

    Attributes:
        of: what the limit counts: ``("client", "kiosk")``.
        limit: the number of places; None for any number.
        full: makes the error that is raised when no place is free.
    """

    of: Hashable
    limit: int | None
    full: Callable[[], RelayError]


class Places:
    """Counts the places that are taken, by limit."""

    def __init__(self) -> None:
        self._taken: Counter[Hashable] = Counter()

    def take(self, places: Sequence[Place]) -> None:
        """Take all of these places, or none.

        Raises:
            RelayError: the error of the first limit without a free place.
        """
        for place in places:
            if place.limit is not None and self._taken[place.of] >= place.limit:
                raise place.full()
        self._taken.update(place.of for place in places)

    def give_back(self, places: Sequence[Place]) -> None:
        """Give back the places that ``take`` took."""
        for place in places:
            self._taken[place.of] -= 1
            if not self._taken[place.of]:
                del self._taken[place.of]

    def taken(self, of: Hashable) -> int:
        """Return the number of places that are taken under one limit."""
        return self._taken[of]
