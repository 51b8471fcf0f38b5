"""Quotations of the persona: how the relay finds them in the texts of an upstream.

The log gets a text with the quotations masked (``unquoted``). The client gets no text with a
quotation (``PersonaWords``).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from relay.core.events import Json

SECRET_FIELDS = ("instructions", "tools", "prompt")
MIN_QUOTED_CHARS, MAX_QUOTED_CHARS = 12, 16
"""For the log: a shorter text is a name of the API; a piece of the maximum is a quotation."""

CLIENT_QUOTED_CHARS = 24
"""For the client: pieces of a prompt that are shorter than this are in any sentence."""

MAX_TEXT_CHARS = 4_096
"""The relay does not search a longer text: no field of a session or a response has one."""

MAX_DETAIL_CHARS = 1_000


def unquoted(detail: str, session: Mapping[str, Json], hints: Sequence[str] = ()) -> str:
    """Return a text of an upstream for the log, cut, with the texts of the session masked.

    ``hints`` are the texts for the model that transcribes.
    """
    detail = detail[:MAX_DETAIL_CHARS]
    masked = list(detail)
    for words in _texts([*(session.get(field) for field in SECRET_FIELDS), *hints]):
        length = min(len(words), MAX_QUOTED_CHARS)
        for start in range(len(detail) - length + 1):
            if detail[start : start + length] in words:
                masked[start : start + length] = "*" * length
    return "".join(masked)


class PersonaWords:
    """The texts of a persona that no text for the client may quote.

    The pieces to look for are made once, so a search takes time in the length of the text only.
    """

    __slots__ = ("_pieces",)

    def __init__(self, *texts: object) -> None:
        """Take the lines of these texts that are long enough to be recognised."""
        lines = (line.strip() for text in texts for line in str(text or "").splitlines())
        self._pieces = frozenset(piece for line in lines for piece in _pieces(line))

    def are_in(self, text: str) -> bool:
        """Return whether a text has a long piece of them; a very long text counts as such."""
        if not self._pieces or len(text) < CLIENT_QUOTED_CHARS:
            return False
        return len(text) > MAX_TEXT_CHARS or not self._pieces.isdisjoint(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    starts = range(len(text) - CLIENT_QUOTED_CHARS + 1)
    return (text[start : start + CLIENT_QUOTED_CHARS] for start in starts)


NO_WORDS: Final = PersonaWords()


def _texts(value: Json) -> Iterator[str]:
    """Yield every text in a value that is long enough to be a quotation."""
    match value:
        case str() if len(value) >= MIN_QUOTED_CHARS:
            yield value
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case Mapping():
            yield from _texts(list(value.values()))
