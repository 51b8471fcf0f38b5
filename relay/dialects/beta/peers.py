"""The messages of a client, and of an upstream, that speaks the beta interface.

``inward`` makes of a message what the session reads, ``outward`` of one of the session's what the
peer reads. What need not change is returned as the bytes it came in: all audio of a client, since
an append is the same in both. A piece of audio from an upstream gets another name, and its base64
is not decoded.

Nothing is judged here. A message of a client that cannot be read in one way only goes to the
session as it came, and is refused there; what the session decides on is what was translated.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from relay.core.errors import InvalidEvent
from relay.core.events import Binary, Event, decode_client, decode_server, encode
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
"""Server events that they have in one shape."""

GA_AUDIO: Final = "response.output_audio.delta"
BETA_AUDIO: Final = "response.audio.delta"
_HEAD_BYTES = 64
"""Servers write the type first; where it stands further back, audio takes the longer way."""


class _Kind(msgspec.Struct):
    type: str


class _Audio(msgspec.Struct):
    """A piece of audio, whose base64 stays as it is written."""

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
    """A client that speaks the beta interface.

    It is answered under the name with which it asked: ``transcription_session.update`` by
    ``transcription_session.updated``, whatever kind of session there is.
    """

    def __init__(self, *, announces: bool = False) -> None:
        """``announces``: it asked for the relay's own events, which pass as they are."""
        self._announces = announces
        self._asked: str | None = None

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return what the client says, in GA."""
        if _read_kind(raw) not in FROM_CLIENT:
            return (raw,)
        try:
            event = decode_client(raw)
        except InvalidEvent:
            return (raw,)
        if event["type"].endswith("session.update"):
            self._asked = event["type"]
        return (encode(client_up(event)),)

    def outward(self, raw: bytes) -> bytes | None:
        """Return what the client is told; None for what it cannot be told of."""
        if isinstance(raw, Binary):
            return raw
        if (audio := _renamed_audio(raw, GA_AUDIO, BETA_AUDIO)) is not None:
            return audio
        event = decode_server(raw)
        if event is None:
            return None
        if self._announces and event["type"].startswith("relay."):
            return raw
        told = server_down(event, self._asked)
        return None if told is None else encode(told)


class BetaUpstream:
    """An upstream that speaks the beta interface."""

    def __init__(self, extra_session_fields: Collection[str] = ()) -> None:
        """``extra_session_fields`` are sent as they are."""
        self._extra_session_fields = extra_session_fields
        self._heard = ServerUp()

    def inward(self, raw: bytes) -> tuple[bytes, ...]:
        """Return what the upstream says, in GA."""
        if isinstance(raw, Binary):
            return (raw,)
        if (audio := _renamed_audio(raw, BETA_AUDIO, GA_AUDIO)) is not None:
            return (audio,)
        event = None if _read_kind(raw) in SAME_FROM_UPSTREAM else decode_server(raw)
        return (raw,) if event is None else self._say(event)

    def _say(self, event: Event) -> tuple[bytes, ...]:
        """Return an event in GA; when it is too deep there, what nobody can read."""
        try:
            return tuple(map(encode, self._heard.say(event)))
        except RecursionError:
            return (b"",)

    def outward(self, raw: bytes) -> bytes | None:
        """Return what the upstream is told; None for what it cannot be told of."""
        if _read_kind(raw) not in FROM_CLIENT:
            return raw
        event = decode_server(raw)
        said = event and client_down(event, self._extra_session_fields)
        return encode(said) if said else None


def _read_kind(raw: bytes) -> str | None:
    try:
        return _kind.decode(raw).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _renamed_audio(raw: bytes, name: str, new_name: str) -> bytes | None:
    """Return a piece of audio under another name; None when it is anything else."""
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
