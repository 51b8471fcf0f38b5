"""How many sessions there may be: decided at once, so that no race passes a limit by one."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from relay.core.errors import RelayError


@dataclass(frozen=True, slots=True)
class Place:
    """Room for one more of something.

    Attributes:
        of: what is counted: ``("client", "kiosk")``.
        limit: how many there may be; None for any number.
        full: makes what is raised when there are as many.
    """

    of: Hashable
    limit: int | None
    full: Callable[[], RelayError]


class Admission:
    """Counts what is open, by everything that limits it."""

    def __init__(self) -> None:
        self._open: Counter[Hashable] = Counter()

    def admit(self, places: Sequence[Place]) -> None:
        """Take all of these places, or none.

        Raises:
            RelayError: what the first place without room says.
        """
        for place in places:
            if place.limit is not None and self._open[place.of] >= place.limit:
                raise place.full()
        self._open.update(place.of for place in places)

    def release(self, places: Sequence[Place]) -> None:
        """Give back what ``admit`` took."""
        for place in places:
            self._open[place.of] -= 1
            if not self._open[place.of]:
                del self._open[place.of]

    def open(self, of: Hashable) -> int:
        """Return how many places of this kind are taken."""
        return self._open[of]
