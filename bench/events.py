"""The events of the bench: audio with a stamp in it, so that each end can tell what became of it.

The first bytes of the audio say when it was sent, by which session, as which message; the rest is
noise that both ends know. A relay that looks into audio finds nothing but audio, and one that
loses, swaps, repeats or changes a byte is found out.
"""

import binascii
import json
import random
import struct
from typing import Any

CLOCK_RATE = 24_000
BYTES_PER_MS = CLOCK_RATE * 2 // 1000
"""pcm16, mono."""

APPEND_MS, DELTA_MS = 20, 100
APPENDS_PER_DELTA = DELTA_MS // APPEND_MS
APPENDS_PER_RESPONSE = 250
"""A response begins and ends every five seconds, with a report of its usage."""

NOISES = 16
"""What follows the stamp differs from one message to the next."""

MODEL = "gpt-realtime-2.1"
PATH = f"/v1/realtime?model={MODEL}"

Stamp = tuple[int, int, int]
"""When a message was sent, in ns of CLOCK_MONOTONIC, by which session, and as which of its own."""

_STAMP = struct.Struct(">QII2x")  # 18 bytes are 24 characters of base64, without padding
_STAMP_CHARS = 24


class WrongAudio(Exception):
    """A message does not carry the audio that was sent."""


class AudioEvent:
    """A kind of event that carries audio."""

    def __init__(self, kind: str, key: str, duration_ms: int) -> None:
        """Name the event, the key of its audio, and how much of it there is."""
        self._kind, self._key = kind, key
        noise = random.Random(kind)  # noqa: S311  # both ends make the same
        noise_bytes = duration_ms * BYTES_PER_MS - _STAMP.size
        self._ends = [
            binascii.b2a_base64(noise.randbytes(noise_bytes), newline=False) + b'"}'
            for _ in range(NOISES)
        ]
        self._chars = _STAMP_CHARS + len(self._ends[0])

    def encode(self, head: bytes, stamp: Stamp) -> bytes:
        """Return a message: what stands before the audio, then the audio."""
        _, session, sequence = stamp
        encoded = binascii.b2a_base64(_STAMP.pack(*stamp), newline=False)
        return b"".join((head, encoded, self._ends[(session + sequence) % NOISES]))

    def stamp(self, message: bytes, head: bytes) -> Stamp:
        """Return which message this is, when every byte of its audio is right.

        Raises:
            WrongAudio: it is something else.
        """
        if not message.startswith(head):
            head, message = b"", self._audio(message)
        audio_at = len(head)
        try:
            stamped = binascii.a2b_base64(message[audio_at : audio_at + _STAMP_CHARS])
            sent_ns, session, sequence = _STAMP.unpack(stamped)
        except (binascii.Error, struct.error):
            raise WrongAudio("a stamp that is none") from None
        end = self._ends[(session + sequence) % NOISES]
        if len(message) != audio_at + self._chars or not message.endswith(end):
            raise WrongAudio(f"other audio than message {sequence} of session {session} had")
        return sent_ns, session, sequence

    def _audio(self, message: bytes) -> bytes:
        """Return the audio of a message that a relay wrote anew, with the end that it had."""
        event = json.loads(message)
        if event["type"] != self._kind:
            raise WrongAudio(f"{event['type']} instead of {self._kind}")
        return bytes(event[self._key], "ascii") + b'"}'


APPEND = AudioEvent("input_audio_buffer.append", "audio", APPEND_MS)
DELTA = AudioEvent("response.output_audio.delta", "delta", DELTA_MS)

APPEND_HEAD = b'{"type": "input_audio_buffer.append", "audio": "'
"""As the ``openai`` package writes it: ``json.dumps`` with its usual separators."""


def delta_head(session: int, response: int) -> bytes:
    """Return what stands before the audio of the deltas of a response, as the API writes it."""
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
    """Tell whether a delta answers this append: every fifth, at another time in each session."""
    return (session + sequence) % APPENDS_PER_DELTA == 0


def ends_response(session: int, sequence: int) -> bool:
    """Tell whether a response ends with the delta that answers this append, and another begins."""
    spread = session * 7 * APPENDS_PER_DELTA + session
    return (spread + sequence) % APPENDS_PER_RESPONSE == 0


def session_event(kind: str, **fields: Any) -> bytes:
    """Return ``session.created`` or ``session.updated`` with some fields of the session set."""
    session = {
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
    return _compact({"type": kind, "event_id": _id("event", 0, 0), "session": session | fields})


def speech_stopped(session: int, response: int) -> bytes:
    """Return the event with which the user's turn is over; the next audio answers it."""
    ids = {"event_id": _id("event", session, response), "item_id": _id("item", session, response)}
    return _compact({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 5000, **ids})


def response_created(session: int, response: int) -> bytes:
    """Return the event with which a response begins."""
    return _response_event("response.created", session, response, status="in_progress", output=[])


def response_done(session: int, response: int) -> bytes:
    """Return the event with which a response ends, and what it used."""
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
    told = {
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
    return _compact({"type": kind, "event_id": event_id, "response": told | fields})


def _id(kind: str, session: int, number: int) -> str:
    """Return an id as long as the API's, whichever its numbers are."""
    return f"{kind}_{session:010d}x{number:010d}"


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()
