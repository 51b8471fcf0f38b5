"""Events that carry the transcript of the user's audio."""

from collections.abc import Iterator

from relay.simulator.conversation import Item
from relay.simulator.json_text import Json
from relay.simulator.server_events import event
from relay.simulator.usage import transcription_usage

_PREFIX = "conversation.item.input_audio_transcription"
# These models send the whole text in one delta; the others stream it.
_NOT_STREAMING = frozenset({"whisper-1"})
_WORDS_PER_DELTA = 3


def transcript_events(item: Item, index: int, transcript: str, model: str) -> list[Json]:
    """Return the events of a transcription that succeeded."""
    position = {"item_id": item.id, "content_index": index}
    pieces = [transcript] if model in _NOT_STREAMING else _pieces(transcript)
    usage = transcription_usage(model, len(item.audio[index]), transcript)
    return [
        *(event(f"{_PREFIX}.delta", **position, delta=piece) for piece in pieces if piece),
        event(f"{_PREFIX}.completed", **position, transcript=transcript, usage=usage),
    ]


def transcript_failed(item: Item, index: int) -> list[Json]:
    """Return the event of a transcription that failed."""
    error = {
        "type": "transcription_error",
        "code": "audio_unintelligible",
        "message": "The audio could not be transcribed.",
        "param": None,
    }
    return [event(f"{_PREFIX}.failed", item_id=item.id, content_index=index, error=error)]


def _pieces(text: str) -> Iterator[str]:
    """Split a text after each ``_WORDS_PER_DELTA`` words; the pieces together are the text."""
    parts = text.split(" ")
    for start in range(0, len(parts), _WORDS_PER_DELTA):
        piece = " ".join(parts[start : start + _WORDS_PER_DELTA])
        yield piece if start == 0 else f" {piece}"
