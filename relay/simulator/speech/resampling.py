"""Resampling of the API's 24 kHz audio to the 16 kHz of the speech models."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]

_BYTES_PER_SAMPLE = 2
_FULL_SCALE = np.float32(32_768)
_CUTOFF_HZ = 7_600
_BETWEEN_HZ = 48_000
_REACH = 24
"""The number of input samples that the filter uses on each side: a millisecond."""
_WINDOW = 2 * _REACH + 2


def _kernel() -> Samples:
    """Return the weights of a window of input samples in each of two output samples.

    24 kHz x 2 / 3 is 16 kHz: insert a zero after each sample, apply the low-pass, keep each third
    sample. Three input samples give two output samples. One of them needs only the even taps of
    the filter, the other one only the odd taps: all other taps are multiplied by zeros.
    """
    n = np.arange(-2 * _REACH, 2 * _REACH + 1)
    band = 2 * _CUTOFF_HZ / _BETWEEN_HZ
    taps = 2 * band * np.sinc(band * n) * np.hamming(len(n))
    kernel = np.zeros((2, _WINDOW), np.float32)
    kernel[0, :-1] = taps[::2]
    kernel[1, 2:] = taps[1::2]
    return kernel


_KERNEL = _kernel()


class Resampler:
    """Resamples one stream; the lengths of its pieces do not change the result."""

    def __init__(self) -> None:
        self._pending = bytes(_REACH * _BYTES_PER_SAMPLE)

    def feed(self, pcm16: bytes) -> Samples:
        """Return the samples, between -1 and 1, that later input cannot change any more."""
        pending = self._pending + pcm16
        samples = np.frombuffer(pending, "<i2", len(pending) // _BYTES_PER_SAMPLE)
        blocks = max(0, (len(samples) - _WINDOW) // 3 + 1)
        self._pending = pending[blocks * 3 * _BYTES_PER_SAMPLE :]
        if not blocks:
            return np.zeros(0, np.float32)
        scaled = samples.astype(np.float32) / _FULL_SCALE
        windows = np.lib.stride_tricks.sliding_window_view(scaled, _WINDOW)[::3]
        # Not `@`: BLAS uses threads of its own, and keeps them busy.
        resampled: Samples = np.einsum("ij,kj->ik", windows, _KERNEL).reshape(-1)
        return resampled
