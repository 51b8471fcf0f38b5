"""Speech engines without dependencies, for an installation without the extra ``speech``.

They detect speech by its energy, transcribe it as its duration, and synthesize a tone for each
letter.
"""

import math
from array import array
from collections.abc import Iterator
from functools import lru_cache
from operator import mul

from relay.simulator import audio
from relay.simulator.engines import SpeechEngines

# Every fourth sample is enough to measure the loudness, and costs a quarter.
_STRIDE = 4
_SILENCE_DECIBELS = -52.0
_DECIBELS_ABOVE_NOISE = 9.0
_STEEPNESS = 0.5
_SMOOTHING = 0.5
# The noise floor falls at once and rises slowly, so that a long word does not become noise.
_FLOOR_RISE = 0.002
_FULL_SCALE = 32768.0

_LETTER_SECONDS = 0.055
_PAUSE_SECONDS = 0.09
_LOUDNESS = 6000
_VOWELS = {"a": 1.0, "e": 1.12, "i": 1.26, "o": 0.89, "u": 0.79, "y": 1.19}
_PITCHES = dict(
    zip(
        ("cedar", "ash", "echo", "verse", "ballad", "alloy", "sage", "coral", "marin", "shimmer"),
        range(110, 260, 15),
        strict=True,
    )
)
_OTHER_PITCH = 170


class EnergyVad:
    """Detects speech as audio that is clearly louder than the noise floor of the session."""

    def __init__(self) -> None:
        self._floor = 0.0
        self._level = -math.inf

    def feed(self, pcm16: bytes) -> float:
        """Return the probability of speech: a half at ``_DECIBELS_ABOVE_NOISE`` above the noise."""
        if not pcm16:
            return 0.0
        loudness = _decibels(pcm16)
        is_first = self._level == -math.inf
        self._level = loudness if is_first else self._level + _SMOOTHING * (loudness - self._level)
        rise = _FLOOR_RISE * (loudness - self._floor)
        self._floor = min(loudness, self._floor + rise, _SILENCE_DECIBELS + 20)
        threshold = max(self._floor + _DECIBELS_ABOVE_NOISE, _SILENCE_DECIBELS)
        return 1.0 / (1.0 + math.exp(-_STEEPNESS * (self._level - threshold)))


def _decibels(pcm16: bytes) -> float:
    values = audio.samples(pcm16)[::_STRIDE]
    power = sum(map(mul, values, values)) / max(len(values), 1)
    return 10 * math.log10(power / _FULL_SCALE**2 + 1e-10)


class DurationRecognizer:
    """Recognizes no words; its transcript is the duration of the speech."""

    def transcribe(self, pcm16: bytes) -> str:
        """Return the duration of the audio, in parentheses."""
        return f"({len(pcm16) / audio.BYTES_PER_SECOND:.1f} seconds of speech)"


class ToneSynthesizer:
    """Makes a tone for each letter: each vowel has its pitch, consonants are lower."""

    def synthesize(self, text: str, *, voice: str, speed: float) -> Iterator[bytes]:
        """Yield the audio of each word."""
        pitch = _PITCHES.get(voice, _OTHER_PITCH)
        for word in text.split():
            letters = (letter for letter in word.lower() if letter.isalnum())
            sounds = [_tone(_note(letter, pitch), _LETTER_SECONDS / speed) for letter in letters]
            pause = bytes(2 * int(_PAUSE_SECONDS / speed * audio.SAMPLE_RATE))
            yield b"".join([*sounds, pause])


def _note(letter: str, pitch: int) -> int:
    ratio = _VOWELS.get(letter, 0.75 - 0.01 * (ord(letter) % 8))
    return round(pitch * ratio)


@lru_cache(maxsize=1024)
def _tone(frequency: int, seconds: float) -> bytes:
    """Return a tone with two overtones; it starts and ends softly, so that it does not click."""
    length = int(seconds * audio.SAMPLE_RATE)
    step = 2 * math.pi * frequency / audio.SAMPLE_RATE
    return audio.pcm(
        array(
            "h",
            (
                int(
                    _LOUDNESS
                    * math.sin(math.pi * n / length)
                    * (
                        math.sin(step * n)
                        + 0.5 * math.sin(3 * step * n)
                        + 0.25 * math.sin(5 * step * n)
                    )
                )
                for n in range(length)
            ),
        )
    )


ENGINES = SpeechEngines(
    new_vad=EnergyVad, recognizer=DurationRecognizer(), synthesizer=ToneSynthesizer()
)
