"""Quotations of the persona: how the relay finds them in the texts of an upstream.

The log gets a text with the quotations masked (``unquoted``). The client gets no text with a
quotation (``PersonaWords``).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from relay.core.events import Json

SECRET_FIELDS = ("instructions", "tools", "prompt")
MIN_QUOTED_CHARS, MAX_QUOTED_CHARS = 12, 16
"""For the log: a shorter text is a name of the API; a piece of the maximum is a quotation."""

CLIENT_QUOTED_CHARS = 24
"""For the client: pieces of a prompt that are shorter than this are in any sentence."""

BLOCK_CHARS = CLIENT_QUOTED_CHARS // 2

MAX_TEXT_CHARS = 4_096
"""The relay does not search a longer text: no field of a session or a response has one."""

MAX_SEARCHED_CHARS = 65_536
"""The relay does not search more text of one object: each kibibyte takes 0.1 ms."""

MAX_DETAIL_CHARS = 1_000

_LETTER = re.compile(r"\\+[ux]([0-9a-fA-F]{4}|[0-9a-fA-F]{2})|\\+.|([^\W_])", re.DOTALL)
"""A letter or a digit, or an escape: servers quote a value as JSON, or as Python writes it."""

_NO_LETTERS = re.compile(r"[\W_]+")

_LONG_NAME = re.compile(r"[A-Za-z0-9_.:/@+-]{1,512}")
"""Names of models, of voices, ids, addresses; a sentence has a space or a letter beyond ASCII."""


def unquoted(detail: str, session: Mapping[str, Json], hints: Sequence[str] = ()) -> str:
    """Return a text of an upstream for the log, cut, with the texts of the session masked.

    ``hints`` are the texts for the model that transcribes. A quotation may differ in case, in
    escapes, and in all characters that are no letters and digits.
    """
    detail = detail[:MAX_DETAIL_CHARS]
    masked = list(detail)
    bare, places = _letters(detail)
    for words in _texts([*(session.get(field) for field in SECRET_FIELDS), *hints]):
        _mask_letters(masked, bare, places, words)
        length = min(len(words), MAX_QUOTED_CHARS)
        for start in range(len(detail) - length + 1):
            if detail[start : start + length] in words:
                masked[start : start + length] = "*" * length
    return "".join(masked)


def _letters(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the letters and digits of a text in lower case, and the place of each in it."""
    letters, places = [], []
    for found in _LETTER.finditer(text):
        code, letter = found.groups()
        lower = (chr(int(code, 16)) if code else letter or "").lower()
        if lower.isalnum():
            letters.append(lower[0])
            places.append(found.span())
    return "".join(letters), places


def _mask_letters(
    masked: list[str], bare: str, places: Sequence[tuple[int, int]], words: str
) -> None:
    """Mask each piece of a text whose letters are in the words, with all between them."""
    known = _letters(words)[0] if "\\" in words else _NO_LETTERS.sub("", words).lower()
    length = min(len(known), MAX_QUOTED_CHARS)
    if length < MIN_QUOTED_CHARS:
        return
    pieces = {known[start : start + length] for start in range(len(known) - length + 1)}
    for start in range(len(bare) - length + 1):
        if bare[start : start + length] in pieces:
            begin, end = places[start][0], places[start + length - 1][1]
            masked[begin:end] = "*" * (end - begin)


class PersonaWords:
    """The texts of a persona that no text for the client may quote.

    A quotation has a block of the persona in it, if the persona is cut into blocks of half its
    length. So one look for each character of a text finds the places to compare, and a block for
    each dozen characters of the persona is all that is kept.
    """

    __slots__ = ("_blocks", "_has_long_words", "_lines")

    def __init__(self, *texts: object) -> None:
        """Take the lines of these texts that are long enough to be recognised."""
        lines = [line.strip() for text in texts for line in str(text or "").splitlines()]
        long = [line for line in lines if len(line) >= CLIENT_QUOTED_CHARS]
        self._lines = "\n".join(long)
        words = (word for line in long for word in line.split(" "))
        self._has_long_words = any(len(word) >= CLIENT_QUOTED_CHARS for word in words)
        self._blocks = frozenset(
            line[start : start + BLOCK_CHARS]
            for line in long
            for start in range(0, len(line) - BLOCK_CHARS + 1, BLOCK_CHARS)
        )

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def are_in(self, text: str) -> bool:
        """Return whether a text has a long piece of them; a very long text counts as such."""
        if not self._blocks or len(text) < CLIENT_QUOTED_CHARS:
            return False
        if len(text) > MAX_TEXT_CHARS:
            return True
        if not self._has_long_words and " " not in text:  # nearly every id and name
            return False
        return any(
            self._are_around(text, start)
            for start in range(len(text) - BLOCK_CHARS + 1)
            if text[start : start + BLOCK_CHARS] in self._blocks
        )

    def _are_around(self, text: str, block: int) -> bool:
        """Return whether one of the pieces with the block at this place is a quotation."""
        first, last = max(0, block - BLOCK_CHARS), min(block, len(text) - CLIENT_QUOTED_CHARS)
        pieces = (text[at : at + CLIENT_QUOTED_CHARS] for at in range(first, last + 1))
        return any(piece in self._lines for piece in pieces)


NAMED: Final = frozenset(
    {"conversation_id", "id", "include", "model", "name", "object", "type", "voice"}
)
"""Fields of the API whose value is a name or an id, and may be long."""


class Quotations:
    """Looks for the words of a persona in the texts of one object."""

    __slots__ = ("_left", "_words")

    def __init__(self, words: PersonaWords) -> None:
        self._words = words
        self._left = MAX_SEARCHED_CHARS

    def are_in(self, text: str, field: str) -> bool:
        """Return whether a text may quote; ``field`` is the name of its field or of its list.

        Any long text may: if only those of the persona did, a client whose text the upstream
        repeats would learn whether it has guessed one, an address or a code for example. So only
        names in fields for names are compared with the persona, and no name when too much was
        searched.
        """
        if len(text) < CLIENT_QUOTED_CHARS:
            return False
        if field not in NAMED or not _LONG_NAME.fullmatch(text):
            return True
        if not self._words:
            return False
        self._left -= len(text)
        return self._left < 0 or self._words.are_in(text)


@lru_cache(maxsize=64)
def persona_words(*texts: str | None) -> PersonaWords:
    """Return the words of these texts; the sessions of a persona share them."""
    return PersonaWords(*texts)


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
