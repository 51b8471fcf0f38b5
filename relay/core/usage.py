"""Reads the tokens and the seconds that the upstream reports, by kind.

The kinds are disjoint. The API reports cached tokens as a part of the input
(https://platform.openai.com/docs/guides/realtime-costs). So they are subtracted from the input
here, per modality, and no token counts twice.
"""

from collections.abc import Mapping
from typing import Final

from relay.core.events import Json
from relay.core.objects import object_or_empty
from relay.core.tokens import Tokens

MAX_COUNT: Final = 1_000_000_000
"""A larger count is not read: it counts as unknown. The sums of the ledger have 64 bits, and an
upstream that reports the largest numbers would make them overflow."""

MAX_SECONDS: Final = 24 * 3600
"""The same for the length of a transcription."""

_TOTALS: Final = ("input_tokens", "output_tokens", "total_tokens")
_USAGE_FIELDS: Final = frozenset({*_TOTALS, "input_token_details", "output_token_details"})


def tokens_of_response(usage: Json) -> Tokens | None:
    """Return the tokens in ``response.done.response.usage``; None if it reports no usage.

    Every field is optional. A total without the count of any kind is unknown usage. If only the
    total of the cached tokens is reported, they count as text first, up to the count of text.
    """
    if not isinstance(usage, Mapping) or not usage.keys() & _USAGE_FIELDS:
        return None
    inputs = object_or_empty(usage, "input_token_details")
    outputs = object_or_empty(usage, "output_token_details")
    text, audio, image = read = _by_modality(inputs)
    output_text, output_audio, _ = written = _by_modality(outputs)
    if _has_no_kind(usage, "input_tokens", read) or _has_no_kind(usage, "output_tokens", written):
        return None
    cached_text, cached_audio, cached_image = _cached(inputs, text, audio, image)
    tokens = Tokens(
        input_text=text - cached_text,
        input_audio=audio - cached_audio,
        input_image=image - cached_image,
        cached_text=cached_text,
        cached_audio=cached_audio,
        cached_image=cached_image,
        output_text=output_text,
        output_audio=output_audio,
    )
    return None if tokens == Tokens() and _is_used(usage, "total_tokens") else tokens


def is_split_guessed(usage: Json) -> bool:
    """Return whether the cached tokens are reported as a total, so that their kinds are a guess."""
    inputs = object_or_empty(usage, "input_token_details") if isinstance(usage, Mapping) else {}
    if object_or_empty(inputs, "cached_tokens_details"):
        return False
    counts = [count for count in _by_modality(inputs) if count]
    return len(counts) > 1 and 0 < whole_number(inputs, "cached_tokens") < sum(counts)


def _by_modality(details: Mapping[str, Json]) -> tuple[int, int, int]:
    return (
        whole_number(details, "text_tokens"),
        whole_number(details, "audio_tokens"),
        whole_number(details, "image_tokens"),
    )


def _has_no_kind(usage: Mapping[str, Json], total: str, counts: tuple[int, int, int]) -> bool:
    return _is_used(usage, total) and not any(counts)


def _is_used(usage: Mapping[str, Json], total: str) -> bool:
    """Return whether a total is not zero, though the relay may be unable to read it."""
    return usage.get(total) not in (None, 0)


def _cached(inputs: Mapping[str, Json], text: int, audio: int, image: int) -> tuple[int, int, int]:
    """Return the cached tokens of each modality, at most all of its tokens."""
    details = object_or_empty(inputs, "cached_tokens_details")
    if details:
        return (
            min(text, whole_number(details, "text_tokens")),
            min(audio, whole_number(details, "audio_tokens")),
            min(image, whole_number(details, "image_tokens")),
        )
    left = whole_number(inputs, "cached_tokens")
    of_text = min(text, left)
    of_audio = min(audio, left - of_text)
    return of_text, of_audio, min(image, left - of_text - of_audio)


def tokens_of_transcription(usage: Json) -> Tokens | None:
    """Return the tokens of a transcription; None if it is not billed by tokens.

    A total without the count of any kind is unknown usage.
    """
    if not isinstance(usage, Mapping) or usage.get("type") != "tokens":
        return None
    details = object_or_empty(usage, "input_token_details")
    tokens = Tokens(
        transcription_input=whole_number(usage, "input_tokens") or sum(_by_modality(details)),
        transcription_output=whole_number(usage, "output_tokens"),
    )
    is_total_only = tokens == Tokens() and any(_is_used(usage, total) for total in _TOTALS)
    return None if is_total_only else tokens


def text_of_transcription(usage: Json) -> int:
    """Return the tokens of text in the input of a transcription: those of its prompt."""
    details = object_or_empty(usage, "input_token_details") if isinstance(usage, Mapping) else {}
    return whole_number(details, "text_tokens")


def seconds_of_transcription(usage: Json) -> float:
    """Return the seconds of a transcription; 0 if it is not billed by duration."""
    if not isinstance(usage, Mapping) or usage.get("type") != "duration":
        return 0.0
    seconds = usage.get("seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SECONDS:
        return 0.0
    return float(seconds)


def whole_number(parent: Mapping[str, Json], key: str) -> int:
    """Return the integer in a field if it is above 0 and at most `MAX_COUNT`, else 0.

    JSON does not distinguish 5 and 5.0.
    """
    value = parent.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 < value <= MAX_COUNT else 0
