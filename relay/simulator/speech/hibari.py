"""Speech synthesis with the package hibari-tts, which has a small English voice."""

from collections.abc import Iterator
from types import MappingProxyType

import hibari
import numpy as np

from relay.simulator.speech.normalization import in_pieces, spell_out
from relay.simulator.speech.resampling import Samples

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
"""The package has one voice. Other voices of the API are this voice, played slower or faster."""

_AUDIBLE = 0.005
_LEAD_SAMPLES = 960
_SILENCE = bytes(9_600)


class HibariSynthesizer:
    """The voice "heart": the package contains its weights."""

    def __init__(self) -> None:
        self._hibari = hibari.Hibari()

    def synthesize(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Yield the speech sentence by sentence; the same text always gives the same audio.

        A text without any sound gives a short silence.
        """
        pieces = in_pieces(self._hibari.split_sentences(spell_out(text)))
        synthesized = (self._synthesize(piece, _PITCH.get(voice, 1.0), speed) for piece in pieces)
        audible = (pcm16 for pcm16 in synthesized if pcm16)
        yield next(audible, _SILENCE)
        yield from audible

    def _synthesize(self, piece: str, pitch: float, speed: float) -> bytes:
        phonemes = self._hibari.g2p(piece)
        samples: Samples = self._hibari.from_phonemes(phonemes, speed / pitch, seed=0)
        if not samples.size:
            return b""
        samples = samples[_onset(samples) :]
        instants = np.arange(0, samples.size, pitch)
        played: Samples = np.interp(instants, np.arange(samples.size), samples)
        return (played.clip(-1, 1) * 32_767).astype("<i2").tobytes()


def _onset(samples: Samples) -> int:
    """Return the index at which the sound begins: hibari begins with 0.3 s of silence."""
    return max(0, int(np.argmax(np.abs(samples) > _AUDIBLE)) - _LEAD_SAMPLES)
