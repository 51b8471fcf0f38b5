"""Tokens as the API counts them: history billed again, the unchanged beginning cached.

Audio is counted exactly: 10 tokens a second of the user's, 20 of the assistant's.
Text is estimated: a token for each four bytes of UTF-8, rounded up, and three for each item.
Nothing here knows the tokenizer, so costs of the local upstream are simulated.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from relay.simulator.audio import BYTES_PER_SECOND
from relay.simulator.conversation import Item
from relay.simulator.errors import Json

USER_TOKENS_PER_SECOND = 10
ASSISTANT_TOKENS_PER_SECOND = 20
BYTES_PER_TEXT_TOKEN = 4
TOKENS_PER_ITEM = 3
# What the API's vision models take for an image of ordinary size; nothing here looks inside.
TOKENS_PER_IMAGE = 512

_KINDS = ("text", "audio", "image")
_DURATION_BILLED = frozenset(
    {"gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper", "whisper-1"}
)


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return -(-len(text.encode(errors="surrogatepass")) // BYTES_PER_TEXT_TOKEN)


def audio_tokens(pcm_bytes: int, *, per_second: int) -> int:
    """Count the tokens of audio; one that has begun counts."""
    return -(-pcm_bytes * per_second // BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of what the model reads, of one kind.

    Attributes:
        kind: ``text``, ``audio`` or ``image``.
        tokens: How many tokens it has.
        fingerprint: Differs when what is read differs.
    """

    kind: str
    tokens: int
    fingerprint: int


def segments(instructions: str, tools: list[Json], items: Iterable[Item]) -> list[Segment]:
    """Return what the model reads before it answers, in order."""
    settings = [instructions, *(json.dumps(tool) for tool in tools)]
    read = [_text_segment(text) for text in settings if text]
    for item in items:
        read += _item_segments(item)
    return read


def _text_segment(text: str, extra: int = 0) -> Segment:
    return Segment("text", text_tokens(text) + extra, hash(text))


def _item_segments(item: Item) -> list[Segment]:
    read = []
    rate = ASSISTANT_TOKENS_PER_SECOND if item.role == "assistant" else USER_TOKENS_PER_SECOND
    for index, pcm in item.sounds.items():
        tokens = audio_tokens(len(pcm), per_second=rate)
        # Sound is never changed, only cut: its length tells it apart from what it was.
        read.append(Segment("audio", tokens, hash((item.id, index, len(pcm)))))
    content = item.json.get("content", ())
    images = [part["image_url"] for part in content if part["type"] == "input_image"]
    read += [Segment("image", TOKENS_PER_IMAGE, hash(image)) for image in images]
    return [*read, _text_segment(_read_text(item), TOKENS_PER_ITEM)]


def _read_text(item: Item) -> str:
    """Return what the model reads as text; not the words of the user's audio, which it hears."""
    parts = [str(item.json.get(name, "")) for name in ("name", "arguments", "output")]
    for part in item.json.get("content", ()):
        spoken = part.get("transcript") if part["type"] == "output_audio" else None
        parts.append(part.get("text") or spoken or "")
    return "".join(parts)


@dataclass(slots=True)
class Cache:
    """Remembers what was read before, so that its unchanged beginning costs less.

    The API caches in steps of 64 tokens; here every token counts, so that short tests see it.
    """

    _beginnings: set[int] = field(default_factory=set)

    def read(self, read: list[Segment]) -> Json:
        """Return the input half of a usage, and remember what was read."""
        tokens, cached = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0)
        beginning = 0
        for segment in read:
            beginning = hash((beginning, segment))
            is_known = beginning in self._beginnings
            self._beginnings.add(beginning)
            tokens[segment.kind] += segment.tokens
            cached[segment.kind] += segment.tokens if is_known else 0
        details = {f"{kind}_tokens": count for kind, count in cached.items()}
        return {
            **{f"{kind}_tokens": count for kind, count in tokens.items()},
            "cached_tokens": sum(cached.values()),
            "cached_tokens_details": details,
        }


def response_usage(input_details: Json, *, text: int, audio: int) -> Json:
    """Return the usage of a response."""
    input_tokens = sum(input_details[f"{kind}_tokens"] for kind in _KINDS)
    return {
        "total_tokens": input_tokens + text + audio,
        "input_tokens": input_tokens,
        "output_tokens": text + audio,
        "input_token_details": input_details,
        "output_token_details": {"text_tokens": text, "audio_tokens": audio},
    }


def no_usage() -> Json:
    """Return the usage of a response that failed."""
    return response_usage(Cache().read([]), text=0, audio=0)


def transcription_usage(model: str, pcm_bytes: int, transcript: str) -> Json:
    """Return the usage of a transcription: by duration or by tokens, as the model is billed."""
    if model in _DURATION_BILLED:
        return {"type": "duration", "seconds": round(pcm_bytes / BYTES_PER_SECOND, 3)}
    heard = audio_tokens(pcm_bytes, per_second=USER_TOKENS_PER_SECOND)
    written = text_tokens(transcript)
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "output_tokens": written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }
