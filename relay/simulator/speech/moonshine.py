"""Speech recognition with Moonshine tiny (https://github.com/moonshine-ai/moonshine)."""

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from relay.simulator.speech.onnx import OnnxModel, Tensor, file_in
from relay.simulator.speech.resampling import Resampler, Samples
from relay.simulator.speech.silero import WINDOW_SECONDS, SileroVad

_PACKAGE = "moonshine_voice"
_SAMPLE_RATE = 16_000
_START, _STOP = 1, 2
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_TWO_BYTES = 128
_CACHE = {
    f"present.{layer}.{of}.{part}": f"past_key_values.{layer}.{of}.{part}"
    for layer in range(6)
    for of in ("decoder", "encoder")
    for part in ("key", "value")
}
"""The outputs of the decoder that are inputs of its next step."""
_DECODER_CACHE = {present: past for present, past in _CACHE.items() if ".decoder." in present}
_EMPTY = np.zeros((1, 8, 0, 36), np.float32)
_TOKENS_PER_SECOND = 8
"""A fast speaker needs 7. Without a limit the model may repeat a word without end."""
_MIN_SPEECH_SECONDS = 0.3
"""For shorter speech, and for noise, the model returns "You"."""
_SPEECH_PROBABILITY = 0.5
_MAX_SECONDS, _MIN_SECONDS = 30, 25
"""Longer audio is cut at its quietest moment between the two: attention costs the square."""
_FRAME_SAMPLES = _SAMPLE_RATE // 10


class MoonshineRecognizer:
    """An encoder of audio, and a decoder that adds one token after the other."""

    def __init__(self, silero: OnnxModel) -> None:
        self._silero = silero
        self._encoder = OnnxModel(file_in(_PACKAGE, "assets/tiny-en/encoder_model.ort"))
        self._decoder = OnnxModel(file_in(_PACKAGE, "assets/tiny-en/decoder_model_merged.ort"))
        self._vocabulary = _read_vocabulary(file_in(_PACKAGE, "assets/tiny-en/tokenizer.bin"))

    def transcribe(self, pcm16: bytes) -> str:
        """Return the words; an empty string for less than ``_MIN_SPEECH_SECONDS`` of speech."""
        samples = Resampler().feed(pcm16)
        if not self._has_speech(samples):
            return ""
        return " ".join(self._transcribe_piece(piece) for piece in _pieces(samples))

    def _has_speech(self, samples: Samples) -> bool:
        probabilities = SileroVad(self._silero).probabilities(samples)
        windows = accumulate(p >= _SPEECH_PROBABILITY for p in probabilities)
        seconds = (count * WINDOW_SECONDS for count in windows)
        return any(speech >= _MIN_SPEECH_SECONDS for speech in seconds)

    def _transcribe_piece(self, samples: Samples) -> str:
        audio = samples[np.newaxis]
        mask = np.ones(audio.shape, np.int64)
        hidden = self._encoder.run({"input_values": audio, "attention_mask": mask})
        encoded = {
            "encoder_hidden_states": hidden["last_hidden_state"],
            "encoder_attention_mask": mask,
        }
        limit = math.ceil(len(samples) / _SAMPLE_RATE * _TOKENS_PER_SECOND)
        text = b"".join(self._vocabulary[token] for token in self._tokens(encoded, limit))
        return text.decode(errors="replace").replace(_SPACE, " ").strip()

    def _tokens(self, encoded: Mapping[str, Tensor], limit: int) -> Iterator[int]:
        """Yield the most probable next token, until it is the stop token."""
        token, cache = _START, dict.fromkeys(_CACHE.values(), _EMPTY)
        for step in range(limit):
            outputs = self._decoder.run(
                {
                    "input_ids": np.array([[token]], np.int64),
                    "use_cache_branch": np.array([step > 0]),
                    **encoded,
                    **cache,
                }
            )
            token = int(outputs["logits"][0, -1].argmax())
            if token == _STOP:
                return
            yield token
            # The first step computes the encoder's part of the cache; it does not change later.
            grown = _CACHE if step == 0 else _DECODER_CACHE
            cache |= {past: outputs[present] for present, past in grown.items()}


def _read_vocabulary(path: Path) -> list[bytes]:
    """Read the tokens: the length comes first, in one byte or, from 128 upwards, in two."""
    data, tokens, at = path.read_bytes(), [], 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= _TWO_BYTES:
            length, at = length - _TWO_BYTES + _TWO_BYTES * data[at], at + 1
        tokens.append(data[at : at + length])
        at += length
    return tokens


def _pieces(samples: Samples) -> Iterator[Samples]:
    """Yield the samples in pieces of at most ``_MAX_SECONDS``, cut at a quiet moment."""
    longest, shortest = _MAX_SECONDS * _SAMPLE_RATE, _MIN_SECONDS * _SAMPLE_RATE
    while len(samples) > longest:
        frames = samples[shortest:longest].reshape(-1, _FRAME_SAMPLES)
        cut = shortest + int(np.square(frames).sum(axis=1).argmin()) * _FRAME_SAMPLES
        yield samples[:cut]
        samples = samples[cut:]
    yield samples
