"""What the client is told of what the user said, if it asked for that."""

from collections.abc import Iterator

from relay.simulator.conversation import Item
from relay.simulator.errors import Json
from relay.simulator.response import event
from relay.simulator.usage import transcription_usage

_PREFIX = "conversation.item.input_audio_transcription"
# These give the whole text in one piece; the others stream it.
_WHOLE = frozenset({"whisper-1"})
_WORDS_PER_DELTA = 3


def transcript_events(item: Item, index: int, words: str, model: str) -> list[Json]:
    """Return the events of a transcription that went well."""
    place = {"item_id": item.id, "content_index": index}
    pieces = [words] if model in _WHOLE else _pieces(words)
    usage = transcription_usage(model, len(item.sounds[index]), words)
    return [
        *(event(f"{_PREFIX}.delta", **place, delta=piece) for piece in pieces if piece),
        event(f"{_PREFIX}.completed", **place, transcript=words, usage=usage),
    ]


def transcript_failed(item: Item, index: int) -> list[Json]:
    """Return the event of a transcription that went wrong."""
    error = {
        "type": "transcription_error",
        "code": "audio_unintelligible",
        "message": "The audio could not be transcribed.",
        "param": None,
    }
    return [event(f"{_PREFIX}.failed", item_id=item.id, content_index=index, error=error)]


def _pieces(words: str) -> Iterator[str]:
    """Cut a text after every few words; the pieces together are the text again."""
    parts = words.split(" ")
    for start in range(0, len(parts), _WORDS_PER_DELTA):
        piece = " ".join(parts[start : start + _WORDS_PER_DELTA])
        yield piece if start == 0 else f" {piece}"
