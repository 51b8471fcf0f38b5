"""A binary message, and the fields that the relay reads first in a message."""

from typing import Literal

import msgspec


class Binary(bytes):
    """A binary message. OpenAI's API has only text messages; in some dialects, this is audio."""

    __slots__ = ()


class Append(msgspec.Struct, forbid_unknown_fields=True):
    """Client audio without any other field."""

    type: Literal["input_audio_buffer.append"]
    audio: bytes
    event_id: str | None = None


class ServerPeek(msgspec.Struct):
    """The fields that the relay reads of every server event.

    ``delta`` is not decoded, since the relay needs only the length of audio.
    """

    type: str
    delta: msgspec.Raw = msgspec.Raw()
