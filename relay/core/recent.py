"""The values of ids, of a limited number: a session of hours forgets the oldest."""

from hashlib import sha256
from itertools import islice
from typing import Generic, TypeVar

from relay.core.events import MAX_ID_CHARS, Json

Value = TypeVar("Value")

MAX_IDS = 10_000
"""A conversation of an hour has some hundred items, and the client names the last of them."""

_FORGOTTEN = MAX_IDS // 10
"""All at once, since the search for the oldest entry takes time."""


class Recent(dict[str, Value], Generic[Value]):
    """A dictionary by ids that forgets its oldest entries beyond ``MAX_IDS``."""

    __slots__ = ()

    def note(self, some_id: str, value: Value) -> None:
        """Set the value of an id."""
        self[some_id] = value
        if len(self) > MAX_IDS:
            for oldest in list(islice(self, _FORGOTTEN)):
                del self[oldest]


def is_id(value: Json) -> bool:
    """Return whether a value can be an id that a client names."""
    return isinstance(value, str) and len(value) <= MAX_ID_CHARS


def digest(some_id: str) -> str:
    """Return an id of any length as a short key."""
    return some_id if len(some_id) <= MAX_ID_CHARS else sha256(some_id.encode()).hexdigest()
