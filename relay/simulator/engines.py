"""Interfaces of the speech engines, so that an application can bring its own.

All audio here is 24 kHz mono PCM, signed 16-bit little-endian.
``fallback`` has engines without dependencies; the extra ``speech`` has real ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol


class Vad(Protocol):
    """A voice activity detector. Each session has its own: it remembers earlier audio."""

    def feed(self, pcm16: bytes) -> float:
        """Return the probability, from 0 to 1, that the audio so far ends in speech.

        The audio may have any length. The event loop calls this: it must be quick.
        """
        ...


class Recognizer(Protocol):
    """Speech to text. All sessions share it; several threads call it at once."""

    def transcribe(self, pcm16: bytes) -> str:
        """Return the words, or an empty string. Blocks."""
        ...


class Synthesizer(Protocol):
    """Text to speech. All sessions share it; several threads call it at once."""

    def synthesize(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Yield the speech in pieces, the first one soon. Blocks."""
        ...


@dataclass(frozen=True, slots=True)
class SpeechEngines:
    """The engines of a server.

    Attributes:
        new_vad: Makes the voice activity detector of one session.
        recognizer: Speech to text.
        synthesizer: Text to speech.
    """

    new_vad: Callable[[], Vad]
    recognizer: Recognizer
    synthesizer: Synthesizer
