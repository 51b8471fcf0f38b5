"""The events of the benchmarks: their audio contains a stamp, so that each end can check it.

The first bytes of the audio are the stamp: the time of sending, the session, the number of the
message. The other bytes are noise that both ends know. The payload is valid audio, and each end
detects lost, reordered, repeated and changed bytes.
"""

import binascii
import json
import os
import random
import struct
from typing import Any

CLOCK_RATE = 24_000
BYTES_PER_MS = CLOCK_RATE * 2 // 1000
"""pcm16, mono."""

APPEND_MS, DELTA_MS = 20, 100
APPENDS_PER_DELTA = DELTA_MS // APPEND_MS
APPENDS_PER_RESPONSE = 250
"""A response takes five seconds, and ends with its usage."""

NOISES = 16
"""The number of different noises: successive messages have different ones."""

MODEL = "gpt-realtime-2.1"
PATH = f"/v1/realtime?model={MODEL}"

SILENT = "BENCH_WITHOUT_RESPONSES"
"""With this environment variable no response ends, and no other begins."""

_HAS_RESPONSES = SILENT not in os.environ

Stamp = tuple[int, int, int]
"""The time of sending in ns of CLOCK_MONOTONIC, the session, the number of the message in it."""

_STAMP = struct.Struct(">QII2x")  # 18 bytes are 24 characters of base64, without padding
_STAMP_CHARS = 24


class WrongAudio(Exception):
    """A message does not contain the audio that was sent."""


class AudioEvent:
    """A type of event with audio."""

    def __init__(self, kind: str, key: str, duration_ms: int) -> None:
        """Make the type from its name, the key of its audio, and the duration of the audio."""
        self._kind, self._key = kind, key
        noise = random.Random(kind)  # noqa: S311  # both ends make the same noise
        noise_bytes = duration_ms * BYTES_PER_MS - _STAMP.size
        self._ends = [
            binascii.b2a_base64(noise.randbytes(noise_bytes), newline=False) + b'"}'
            for _ in range(NOISES)
        ]
        self._chars = _STAMP_CHARS + len(self._ends[0])

    def encode(self, head: bytes, stamp: Stamp) -> bytes:
        """Return a message: the head before the audio, then the audio."""
        _, session, sequence = stamp
        encoded = binascii.b2a_base64(_STAMP.pack(*stamp), newline=False)
        return b"".join((head, encoded, self._ends[(session + sequence) % NOISES]))

    def stamp(self, message: bytes, head: bytes) -> Stamp:
        """Return the stamp of a message, after a check of each byte of its audio.

        Raises:
            WrongAudio: It is another event, or other audio.
        """
        if not message.startswith(head):
            head, message = b"", self._audio(message)
        audio_at = len(head)
        try:
            stamped = binascii.a2b_base64(message[audio_at : audio_at + _STAMP_CHARS])
            sent_ns, session, sequence = _STAMP.unpack(stamped)
        except (binascii.Error, struct.error):
            raise WrongAudio("no valid stamp") from None
        end = self._ends[(session + sequence) % NOISES]
        if len(message) != audio_at + self._chars or not message.endswith(end):
            raise WrongAudio(f"other audio than message {sequence} of session {session} had")
        return sent_ns, session, sequence

    def _audio(self, message: bytes) -> bytes:
        """Return the audio of a message that a relay encoded again, with the original end."""
        event = json.loads(message)
        if event["type"] != self._kind:
            raise WrongAudio(f"{event['type']} instead of {self._kind}")
        return bytes(event[self._key], "ascii") + b'"}'


APPEND = AudioEvent("input_audio_buffer.append", "audio", APPEND_MS)
DELTA = AudioEvent("response.output_audio.delta", "delta", DELTA_MS)

APPEND_HEAD = b'{"type": "input_audio_buffer.append", "audio": "'
"""As the ``openai`` package writes it: ``json.dumps`` with its default separators."""


def delta_head(session: int, response: int) -> bytes:
    """Return the bytes before the audio in the deltas of a response, as the API writes them."""
    ids = {
        "type": "response.output_audio.delta",
        "event_id": _id("event", session, response),
        "response_id": _id("resp", session, response),
        "item_id": _id("item", session, response),
        "output_index": 0,
        "content_index": 0,
        "delta": "",
    }
    return _compact(ids)[: -len('"}')]


def is_answered(session: int, sequence: int) -> bool:
    """Return whether a delta answers this append: each fifth one, different for each session."""
    return (session + sequence) % APPENDS_PER_DELTA == 0


def ends_response(session: int, sequence: int) -> bool:
    """Return whether a response ends, and the next begins, after the delta for this append."""
    spread = session * 7 * APPENDS_PER_DELTA + session
    return _HAS_RESPONSES and (spread + sequence) % APPENDS_PER_RESPONSE == 0


def session_object() -> dict[str, Any]:
    """Return a session as the API confirms it."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": "sess_" + "B" * 21,
        "model": MODEL,
        "output_modalities": ["audio"],
        "instructions": "You are a helpful, witty, and friendly AI by OpenAI. " * 12,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": 1_900_000_000,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": CLOCK_RATE},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {"type": "server_vad", "threshold": 0.5},
            },
            "output": {
                "format": {"type": "audio/pcm", "rate": CLOCK_RATE},
                "voice": "marin",
                "speed": 1.0,
            },
        },
        "include": None,
    }


def session_event(kind: str, **fields: Any) -> bytes:
    """Return ``session.created`` or ``session.updated``; ``fields`` override the session's."""
    session = session_object() | fields
    return _compact({"type": kind, "event_id": _id("event", 0, 0), "session": session})


def speech_stopped(session: int, response: int) -> bytes:
    """Return the event at the end of the user's turn; the next audio answers it."""
    ids = {"event_id": _id("event", session, response), "item_id": _id("item", session, response)}
    return _compact({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 5000, **ids})


def response_created(session: int, response: int) -> bytes:
    """Return the event at the beginning of a response."""
    return _response_event("response.created", session, response, status="in_progress", output=[])


def response_done(session: int, response: int) -> bytes:
    """Return the event at the end of a response, with its usage."""
    item = {
        "id": _id("item", session, response),
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_audio", "transcript": "All right, and what else? " * 4}],
    }
    usage = {
        "total_tokens": 480,
        "input_tokens": 380,
        "output_tokens": 100,
        "input_token_details": {
            "text_tokens": 130,
            "audio_tokens": 250,
            "image_tokens": 0,
            "cached_tokens": 192,
            "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 64, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 25, "audio_tokens": 75},
    }
    done = {"status": "completed", "output": [item], "usage": usage}
    return _response_event("response.done", session, response, **done)


def _response_event(kind: str, session: int, response: int, **fields: Any) -> bytes:
    defaults = {
        "object": "realtime.response",
        "id": _id("resp", session, response),
        "status_details": None,
        "conversation_id": _id("conv", session, 0),
        "output_modalities": ["audio"],
        "max_output_tokens": "inf",
        "metadata": None,
        "usage": None,
    }
    event_id = _id("event", session, response)
    return _compact({"type": kind, "event_id": event_id, "response": defaults | fields})


def _id(kind: str, session: int, number: int) -> str:
    """Return an id with the length of the API's ids."""
    return f"{kind}_{session:010d}x{number:010d}"


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()
