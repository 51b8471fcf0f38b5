"""What the simulator hears and speaks with: three protocols, so that real speech can be put in.

All audio here is 24 kHz mono PCM, signed 16-bit little-endian.
``standin`` has versions without dependencies; the extra ``speech`` brings real ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


class Vad(Protocol):
    """Tells speech from silence. Each session has its own, since it remembers what came before."""

    def feed(self, pcm16: bytes) -> float:
        """Return how probable it is, from 0 to 1, that what was fed ends in speech.

        Any length may be fed. Called on the event loop: it must be quick.
        """
        ...


class Recognizer(Protocol):
    """Turns speech into text. Shared by all sessions, called from several threads at once."""

    def transcribe(self, pcm16: bytes) -> str:
        """Return what was said, or an empty string. Blocks."""
        ...


class Voice(Protocol):
    """Turns text into speech. Shared by all sessions, called from several threads at once."""

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Yield the speech in pieces, the first one soon. Blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Senses:
    """Ears and a mouth.

    Attributes:
        new_vad: Makes the voice activity detector of one session.
        recognizer: Turns speech into text.
        voice: Turns text into speech.
    """

    new_vad: Callable[[], Vad]
    recognizer: Recognizer
    voice: Voice
