"""Prepares text for hibari: spells out the signs that it misreads, and cuts long sentences."""

import re
from collections.abc import Callable, Iterable, Iterator

_Replacement = str | Callable[[re.Match[str]], str]

_AMOUNT = r"\d+(?:[.,]\d+)*"

_SPELLINGS: tuple[tuple[re.Pattern[str], _Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"https?://(?:www\.)?", ""),
        (r"\b24/7\b", "twenty-four seven"),
        (r"~(?=\d)", "about "),
        (r"(?<=\d)\s?[-\u2013]\s?(?=\d{1,2}:\d\d)", " to "),
        # 12,50 € -> €12,50 -> €12.50, and 12,50 EUR -> EUR12,50 -> EUR12.50: it reads these forms
        (rf"({_AMOUNT})\s?([€£$]|EUR\b|USD\b|GBP\b)(?!\s?\d)", r"\2\1"),
        (r"(?<=[€£$RDP])(\d+),(\d\d)(?!\d)", r"\1.\2"),
        # A number that is too long for a quantity
        (r"(?<![\d.,$€£])\d{7,}\b", lambda number: " ".join(number[0])),
        # Abbreviations: hibari takes their full stop for the end of a sentence
        (r"\b[Nn]os?\.\s?(?=\d)", "number "),
        (r"\bvs\.", "versus"),
        (r"\be\.g\.", "for example"),
        (r"\bi\.e\.", "that is"),
        (r"\bapprox\.", "approximately"),
        (r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?=\s\d)", r"\1"),
    )
)


def spell_out(text: str) -> str:
    """Return the text with other words for amounts, ranges and abbreviations that hibari misreads.

    hibari reads numbers, times, dates, units, titles and €12.50 correctly. It leaves out signs
    without a sound, such as emoji.
    """
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text


def _piece(limit: int) -> re.Pattern[str]:
    """Match up to ``limit`` characters: to the end or a pause, else to a space, else just those."""
    some = f".{{1,{limit}}}"
    return re.compile(rf"{some}(?:(?<=[,;:—])\s+|$)|{some}\s+|{some}", re.DOTALL)


_FIRST = _piece(80)
"""A short first piece makes the first audio early."""
_NEXT = _piece(200)


def in_pieces(sentences: Iterable[str]) -> Iterator[str]:
    """Yield the sentences; long ones are cut.

    A piece without letters and digits is left out: for a single "..." the voice gasps.
    """
    pattern = _FIRST
    for sentence in sentences:
        rest = sentence
        while piece := pattern.match(rest):
            rest, pattern = rest[piece.end() :], _NEXT
            if any(map(str.isalnum, piece[0])):
                yield piece[0].strip()
