"""Masks what an upstream quotes of a persona when it refuses it: prompts are not for the log."""

from collections.abc import Iterator, Mapping, Sequence

from relay.core.events import Json

SECRET_FIELDS = ("instructions", "tools", "prompt")
MIN_QUOTED_CHARS, MAX_QUOTED_CHARS = 12, 16
"""Shorter texts are names of the API's, and a piece this long of a longer one is a quotation."""

MAX_DETAIL_CHARS = 1_000


def unquoted(detail: str, session: Mapping[str, Json], hints: Sequence[str] = ()) -> str:
    """Return the words of an upstream, cut, without those of the session that it was sent.

    ``hints`` are what it tells the model that transcribes.
    """
    detail = detail[:MAX_DETAIL_CHARS]
    masked = list(detail)
    for words in _texts([*(session.get(field) for field in SECRET_FIELDS), *hints]):
        length = min(len(words), MAX_QUOTED_CHARS)
        for start in range(len(detail) - length + 1):
            if detail[start : start + length] in words:
                masked[start : start + length] = "*" * length
    return "".join(masked)


def _texts(value: Json) -> Iterator[str]:
    """Yield every text in a value that is long enough to be somebody's words."""
    match value:
        case str() if len(value) >= MIN_QUOTED_CHARS:
            yield value
        case list() | tuple():
            for item in value:
                yield from _texts(item)
        case Mapping():
            yield from _texts(list(value.values()))
