"""The messages of a client or an upstream that uses the beta interface.

``inward`` translates a message of the peer for the session, ``outward`` a message of the session
for the peer. A message that does not change is returned as the same bytes. This includes all audio
of a client, since an append is the same in both interfaces. A piece of audio from an upstream gets
another name, and its base64 is not decoded.

This module refuses nothing. A client's message that can be read in more than one way passes to the
session as the same bytes, and the session refuses it. The session decides on the translation.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from relay.core.errors import InvalidEvent
from relay.core.events import decode_client, decode_server, encode
from relay.core.messages import Binary
from relay.dialects.beta.events import ServerUp, client_down, client_up, server_down

FROM_CLIENT: Final = frozenset(
    {
        "session.update",
        "transcription_session.update",
        "response.create",
        "conversation.item.create",
    }
)
"""Client events that the two interfaces have in different shapes."""

SAME_FROM_UPSTREAM: Final = frozenset(
    {
        "conversation.created",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.truncated",
        "input_audio_buffer.cleared",
        "input_audio_buffer.committed",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "rate_limits.updated",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
    }
)
"""Server events that have the same shape in both."""

GA_AUDIO: Final = "response.output_audio.delta"
BETA_AUDIO: Final = "response.audio.delta"
_HEAD_BYTES = 64
"""Servers write the type first. Audio with the type further back is decoded like other events."""


class _Kind(msgspec.Struct):
    type: str


class _Audio(msgspec.Struct):
    """A piece of audio. Its base64 is not decoded."""

    type: str
    event_id: str
    response_id: str
    item_id: str
    output_index: int
    content_index: int
    delta: msgspec.Raw


_kind = msgspec.json.Decoder(_Kind)
_audio = msgspec.json.Decoder(_Audio)


class BetaClient:
    """A client that uses the beta interface.

    The answer to an update has the name that matches the request, for any kind of session:
    ``transcription_session.updated`` for ``transcription_session.update``.
    """

    def __init__(self, *, announces: bool = False) -> None:
        """``announces``: it receives the relay's own events, which pass as they are."""
        self._announces = announces
        self._update: str | None = None

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return the client's message in GA."""
        if _read_kind(raw) not in FROM_CLIENT:
            return (raw,)
        try:
            event = decode_client(raw)
        except InvalidEvent:
            return (raw,)
        if event["type"].endswith("session.update"):
            self._update = event["type"]
        return (encode(client_up(event)),)

    def outward(self, raw: bytes) -> bytes | None:
        """Return the message for the client; None if the types have no such event."""
        if isinstance(raw, Binary):
            return raw
        if (audio := _renamed_audio(raw, GA_AUDIO, BETA_AUDIO)) is not None:
            return audio
        event = decode_server(raw)
        if event is None:
            return None
        if self._announces and event["type"].startswith("relay."):
            return raw
        translated = server_down(event, self._update)
        return None if translated is None else encode(translated)


class BetaUpstream:
    """An upstream that uses the beta interface."""

    def __init__(self, extra_session_fields: Collection[str] = ()) -> None:
        """``extra_session_fields`` are sent as they are."""
        self._extra_session_fields = extra_session_fields
        self._server = ServerUp()

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return the upstream's message in GA: one event, or two."""
        if isinstance(raw, Binary):
            return (raw,)
        if (audio := _renamed_audio(raw, BETA_AUDIO, GA_AUDIO)) is not None:
            return (audio,)
        if _read_kind(raw) in SAME_FROM_UPSTREAM:
            return (raw,)
        event = decode_server(raw)
        return (raw,) if event is None else tuple(map(encode, self._server.translate(event)))

    def outward(self, raw: bytes) -> bytes | None:
        """Return the message for the upstream; None if the types have no such event."""
        if _read_kind(raw) not in FROM_CLIENT:
            return raw
        event = decode_server(raw)
        translated = event and client_down(event, self._extra_session_fields)
        return encode(translated) if translated else None


def _read_kind(raw: bytes) -> str | None:
    try:
        return _kind.decode(raw).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _renamed_audio(raw: bytes, name: str, new_name: str) -> bytes | None:
    """Return a piece of audio under another name; None for any other message."""
    if name.encode() not in raw[:_HEAD_BYTES]:
        return None
    try:
        audio = _audio.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if audio.type != name or bytes(memoryview(audio.delta)[:1]) != b'"':
        return None
    audio.type = new_name
    return encode(audio)
