"""The server events that pass as they came, because they have nothing to redact."""

import re
from typing import Final

PASSING: Final = frozenset(
    {
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.segment",
        "conversation.item.truncated",
        "input_audio_buffer.dtmf_event_received",
        "input_audio_buffer.timeout_triggered",
        "output_audio_buffer.cleared",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "response.audio.delta",
        "response.audio_transcript.delta",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.text.delta",
    }
)
"""Types of events without a session, a response, an item or an error, in GA and beta."""

_OBJECT_KEY = re.compile(rb'"(?:session|response|item|error)s?"\s*:')


def has_object(raw: bytes) -> bool:
    """Return whether an event has such an object; only another server sends it in these types."""
    return _OBJECT_KEY.search(raw) is not None
