"""What a session used: tokens by kind, and seconds of audio.

Kinds are disjoint: what is cached is a subset of the input that the API reports, so it is taken
out of the input here, per modality, and nothing is counted twice
(https://platform.openai.com/docs/guides/realtime-costs).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from relay.core.events import MAX_SAFE_INTEGER, Json

BYTES_PER_SECOND = {"audio/pcm": 48_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""Bytes of a second of audio: 24 kHz, 16 bits, mono; G.711 is 8 kHz, 8 bits."""

PCM_RATES = range(8_000, 48_001)
"""Rates of PCM in Hz that some server takes; OpenAI's is always 24 kHz."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens by kind; adding two gives a third."""

    input_text: int = 0
    input_audio: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    output_text: int = 0
    output_audio: int = 0
    transcription_input: int = 0
    transcription_output: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(*(getattr(self, k) + getattr(other, k) for k in TOKEN_KINDS))

    def by_kind(self) -> dict[str, int]:
        """Return the kinds that were used, with their counts."""
        return {kind: count for kind in TOKEN_KINDS if (count := getattr(self, kind))}


TOKEN_KINDS = tuple(field.name for field in fields(Tokens))


def tokens_of_response(usage: Json) -> Tokens | None:
    """Return what ``response.done.response.usage`` reports; None when it reports nothing.

    Every field of it is optional. Tokens of which no kind is told are not known to be any. When
    only the total of the cached tokens is told, they are taken as text first, as far as there is
    text.
    """
    if not isinstance(usage, Mapping) or not usage:
        return None
    taken, given = _object(usage, "input_token_details"), _object(usage, "output_token_details")
    text, audio, image = _by_modality(taken)
    if _has_no_kind(usage, "input_tokens", taken) or _has_no_kind(usage, "output_tokens", given):
        return None
    cached_text, cached_audio, cached_image = _cached(taken, text, audio, image)
    return Tokens(
        input_text=text - cached_text,
        input_audio=audio - cached_audio,
        input_image=image - cached_image,
        cached_text=cached_text,
        cached_audio=cached_audio,
        cached_image=cached_image,
        output_text=whole_number(given, "text_tokens"),
        output_audio=whole_number(given, "audio_tokens"),
    )


def is_split_guessed(usage: Json) -> bool:
    """Tell whether only the total of the cached tokens is told, so that their kinds are a guess."""
    taken = _object(usage, "input_token_details") if isinstance(usage, Mapping) else {}
    counts = [count for count in _by_modality(taken) if count]
    told = bool(_object(taken, "cached_tokens_details"))
    return not told and len(counts) > 1 and 0 < whole_number(taken, "cached_tokens") < sum(counts)


def _by_modality(details: Mapping[str, Json]) -> tuple[int, int, int]:
    text, audio, image = (whole_number(details, f"{m}_tokens") for m in ("text", "audio", "image"))
    return text, audio, image


def _has_no_kind(usage: Mapping[str, Json], total: str, details: Mapping[str, Json]) -> bool:
    return whole_number(usage, total) > 0 and not any(_by_modality(details))


def _cached(taken: Mapping[str, Json], text: int, audio: int, image: int) -> tuple[int, int, int]:
    """Return the cached tokens of each modality, never more than there were."""
    details = _object(taken, "cached_tokens_details")
    if details:
        return (
            min(text, whole_number(details, "text_tokens")),
            min(audio, whole_number(details, "audio_tokens")),
            min(image, whole_number(details, "image_tokens")),
        )
    left = whole_number(taken, "cached_tokens")
    of_text = min(text, left)
    of_audio = min(audio, left - of_text)
    return of_text, of_audio, min(image, left - of_text - of_audio)


def tokens_of_transcription(usage: Json) -> Tokens | None:
    """Return what a transcription billed by tokens used; None when it was not."""
    if not isinstance(usage, Mapping) or usage.get("type") != "tokens":
        return None
    return Tokens(
        transcription_input=whole_number(usage, "input_tokens"),
        transcription_output=whole_number(usage, "output_tokens"),
    )


def seconds_of_transcription(usage: Json) -> float:
    """Return the seconds of a transcription that is billed by duration, else 0."""
    if not isinstance(usage, Mapping) or usage.get("type") != "duration":
        return 0.0
    seconds = usage.get("seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SAFE_INTEGER:
        return 0.0
    return float(seconds)


def audio_bytes(base64_chars: int, padding: int = 0) -> int:
    """Return how many bytes so many characters of base64 stand for."""
    return max(0, base64_chars // 4 * 3 - padding)


def bytes_per_second(session: Mapping[str, Json], way: str) -> int:
    """Return the bytes of a second of audio in the format of ``audio.input`` or ``.output``."""
    told = _object(_object(_object(session, "audio"), way), "format")
    kind, rate = told.get("type"), told.get("rate")
    if kind == "audio/pcm" and isinstance(rate, int) and rate in PCM_RATES:
        return 2 * rate
    known = BYTES_PER_SECOND.get(kind) if isinstance(kind, str) else None
    return known or BYTES_PER_SECOND["audio/pcm"]


def _object(parent: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def whole_number(parent: Mapping[str, Json], key: str) -> int:
    """Return a number above 0 that a double can hold; 0 where there is none."""
    value = parent.get(key)
    return value if isinstance(value, int) and 0 < value <= MAX_SAFE_INTEGER else 0
