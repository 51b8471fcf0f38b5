"""Ids of the events that the relay creates itself."""

from itertools import count


class EventIds:
    """Makes event ids that start with one prefix and are used once."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def new(self, kind: str = "") -> str:
        """Return the next id; ``kind`` stands between the prefix and the number."""
        return f"{self._prefix}{kind}{next(self._numbers)}"
