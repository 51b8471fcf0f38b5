"""Ids: of the events that the relay creates itself, and a limit for those of a peer."""

from hashlib import sha256
from itertools import count

MAX_CHARS = 128
"""A longer id of an upstream is stored as a hash. The ids of the API have about 30 characters."""


def bounded(name: str) -> str:
    """Return an id of a peer; a hash with a prefix if the id is longer than ``MAX_CHARS``."""
    if len(name) <= MAX_CHARS:
        return name
    return f"sha256_{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


class EventIds:
    """Makes event ids that start with one prefix and are used once."""

    __slots__ = ("_numbers", "_prefix")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def new(self, kind: str = "") -> str:
        """Return the next id; ``kind`` stands between the prefix and the number."""
        return f"{self._prefix}{kind}{next(self._numbers)}"
