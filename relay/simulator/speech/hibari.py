"""Speaks with the package hibari-tts, a small English voice."""

from collections.abc import Iterator
from types import MappingProxyType

import hibari
import numpy as np

from relay.simulator.speech.resampling import Samples
from relay.simulator.speech.wording import in_pieces, spell_out

_PITCH = MappingProxyType(
    {
        "ash": 0.88,
        "ballad": 0.94,
        "cedar": 0.85,
        "coral": 1.04,
        "echo": 0.91,
        "sage": 1.02,
        "shimmer": 1.08,
        "verse": 0.96,
    }
)
"""The package has one voice. The API's others are that voice, played slower or faster."""

_AUDIBLE = 0.005
_LEAD_SAMPLES = 960
_SILENCE = bytes(9_600)


class HibariVoice:
    """The voice called "heart", the one whose weights are in the package."""

    def __init__(self) -> None:
        self._hibari = hibari.Hibari()

    def speak(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Yield the speech sentence by sentence; the same text always sounds the same.

        What cannot be spoken is a short silence.
        """
        pieces = in_pieces(self._hibari.split_sentences(spell_out(text)))
        spoken = (self._say(piece, _PITCH.get(voice, 1.0), speed) for piece in pieces)
        heard = (pcm16 for pcm16 in spoken if pcm16)
        yield next(heard, _SILENCE)
        yield from heard

    def _say(self, piece: str, pitch: float, speed: float) -> bytes:
        phonemes = self._hibari.g2p(piece)
        samples: Samples = self._hibari.from_phonemes(phonemes, speed / pitch, seed=0)
        if not samples.size:
            return b""
        samples = samples[_onset(samples) :]
        instants = np.arange(0, samples.size, pitch)
        played: Samples = np.interp(instants, np.arange(samples.size), samples)
        return (played.clip(-1, 1) * 32_767).astype("<i2").tobytes()


def _onset(samples: Samples) -> int:
    """Return where the sound begins: hibari is silent for 0.3 s first, which would be a wait."""
    return max(0, int(np.argmax(np.abs(samples) > _AUDIBLE)) - _LEAD_SAMPLES)
