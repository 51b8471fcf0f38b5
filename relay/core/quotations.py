"""Quotations of the persona: how the relay finds them in the texts of an upstream.

The log gets a text with the quotations masked (``unquoted``). The client gets no text with a
quotation (``quotes``).
"""

from collections.abc import Iterator, Mapping, Sequence

from relay.core.events import Json

SECRET_FIELDS = ("instructions", "tools", "prompt")
MIN_QUOTED_CHARS, MAX_QUOTED_CHARS = 12, 16
"""For the log: a shorter text is a name of the API; a piece of the maximum is a quotation."""

CLIENT_QUOTED_CHARS = 24
"""For the client: pieces of a prompt that are shorter than this are in any sentence."""

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


def long_lines(*texts: object) -> tuple[str, ...]:
    """Return the lines of a persona's texts that are long enough for ``quotes``."""
    lines = (line.strip() for text in texts for line in str(text or "").splitlines())
    return tuple(line for line in lines if len(line) >= CLIENT_QUOTED_CHARS)


def quotes(text: str, persona_words: Sequence[str]) -> bool:
    """Return whether a text contains one of the persona's lines, or a long piece of it."""
    starts = range(len(text) - CLIENT_QUOTED_CHARS + 1)
    pieces = (text[start : start + CLIENT_QUOTED_CHARS] for start in starts)
    return any(words in text for words in persona_words) or any(
        piece in words for piece in pieces for words in persona_words
    )


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
