"""The lengths of the deltas of the upstream, which carry audio and text of the assistant."""

from typing import Final

import msgspec

from relay.core.audio import audio_bytes
from relay.core.messages import ServerPeek

TEXT_DELTAS: Final = frozenset(
    {
        "response.output_text.delta",
        "response.output_audio_transcript.delta",
        "response.function_call_arguments.delta",
    }
)
"""The deltas with text that the model writes; a transcript of its audio is billed as text too."""

_PADDING: Final = ord("=")


def audio_length_bytes(delta: ServerPeek) -> int:
    """Return the length of the audio in a delta, from its base64."""
    quoted = memoryview(delta.delta)
    chars = len(quoted) - len('""')
    if chars <= 0:
        return 0
    # Two bytes are read, because a slice of the view costs as much as the rest.
    return audio_bytes(chars, (quoted[-2] == _PADDING) + (quoted[-3] == _PADDING))


def text_length(delta: ServerPeek) -> int:
    """Return the number of characters of the text in a delta; 0 without a text."""
    try:
        return len(msgspec.json.decode(delta.delta, type=str))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return 0
