"""Token counts by the API's rules: history is billed again, its unchanged beginning is cached.

Audio is counted exactly: 10 tokens for a second of the user, 20 for a second of the assistant.
Text is estimated: a token for each four bytes of UTF-8, rounded up, and three for each item.
There is no tokenizer here, so the costs of the local upstream are simulated.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from relay.simulator.audio import BYTES_PER_SECOND
from relay.simulator.conversation import Item
from relay.simulator.json_text import Json

USER_TOKENS_PER_SECOND = 10
ASSISTANT_TOKENS_PER_SECOND = 20
BYTES_PER_TEXT_TOKEN = 4
TOKENS_PER_ITEM = 3
# The API's vision models count this for an image of ordinary size; its content is not read here.
TOKENS_PER_IMAGE = 512

_KINDS = ("text", "audio", "image")
_DURATION_BILLED = frozenset(
    {"gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper", "whisper-1"}
)


def text_tokens(text: str) -> int:
    """Estimate the tokens of a text."""
    return -(-len(text.encode(errors="surrogatepass")) // BYTES_PER_TEXT_TOKEN)


def audio_tokens(pcm_bytes: int, *, per_second: int) -> int:
    """Count the tokens of audio; a token that has begun counts."""
    return -(-pcm_bytes * per_second // BYTES_PER_SECOND)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the model's input, of one kind.

    Attributes:
        kind: ``text``, ``audio`` or ``image``.
        tokens: The number of its tokens.
        fingerprint: A hash of its content.
    """

    kind: str
    tokens: int
    fingerprint: int


def segments(instructions: str, tools: list[Json], items: Iterable[Item]) -> list[Segment]:
    """Return the model's input before it answers, in order."""
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
    for index, pcm in item.audio.items():
        tokens = audio_tokens(len(pcm), per_second=rate)
        # Audio is never changed, only truncated: its length shows the difference.
        read.append(Segment("audio", tokens, hash((item.id, index, len(pcm)))))
    content = item.json.get("content", ())
    images = [part["image_url"] for part in content if part["type"] == "input_image"]
    read += [Segment("image", TOKENS_PER_IMAGE, hash(image)) for image in images]
    return [*read, _text_segment(_input_text(item), TOKENS_PER_ITEM)]


def _input_text(item: Item) -> str:
    """Return the text that the model reads; without the transcript of the user's audio."""
    parts = [str(item.json.get(name, "")) for name in ("name", "arguments", "output")]
    for part in item.json.get("content", ()):
        spoken = part.get("transcript") if part["type"] == "output_audio" else None
        parts.append(part.get("text") or spoken or "")
    return "".join(parts)


@dataclass(slots=True)
class PromptCache:
    """The beginnings of all earlier inputs: an unchanged beginning counts as cached.

    The API caches in steps of 64 tokens; here each token counts, so that a short test can see it.
    """

    _beginnings: set[int] = field(default_factory=set)

    def read(self, segments_read: list[Segment]) -> Json:
        """Return the ``input_token_details`` of a usage, and remember the segments."""
        tokens, cached = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0)
        beginning = 0
        for segment in segments_read:
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
    return response_usage(PromptCache().read([]), text=0, audio=0)


def transcription_usage(model: str, pcm_bytes: int, transcript: str) -> Json:
    """Return the usage of a transcription: by duration or by tokens, depending on the model."""
    if model in _DURATION_BILLED:
        return {"type": "duration", "seconds": round(pcm_bytes / BYTES_PER_SECOND, 3)}
    audio = audio_tokens(pcm_bytes, per_second=USER_TOKENS_PER_SECOND)
    text = text_tokens(transcript)
    return {
        "type": "tokens",
        "total_tokens": audio + text,
        "input_tokens": audio,
        "output_tokens": text,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
    }
