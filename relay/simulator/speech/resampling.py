"""Turns the API's 24 kHz audio into the 16 kHz that the speech models were trained on."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float32]

_BYTES_PER_SAMPLE = 2
_FULL_SCALE = np.float32(32_768)
_CUTOFF_HZ = 7_600
_BETWEEN_HZ = 48_000
_REACH = 24
"""How many input samples the filter takes in on either side: a millisecond."""
_WINDOW = 2 * _REACH + 2


def _kernel() -> Samples:
    """Return what each of two output samples takes from a window of input samples.

    24 kHz x 2 / 3 is 16 kHz: put a zero after every sample, low-pass, keep every third. Of three
    input samples that makes two, which need the even and the odd taps of the filter alone: the
    others meet zeros.
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
    """Resamples one stream, fed in pieces of any length, as if it were fed at once."""

    def __init__(self) -> None:
        self._pending = bytes(_REACH * _BYTES_PER_SAMPLE)

    def feed(self, pcm16: bytes) -> Samples:
        """Return the samples, between -1 and 1, that are certain by now: all but the last few."""
        pending = self._pending + pcm16
        samples = np.frombuffer(pending, "<i2", len(pending) // _BYTES_PER_SAMPLE)
        blocks = max(0, (len(samples) - _WINDOW) // 3 + 1)
        self._pending = pending[blocks * 3 * _BYTES_PER_SAMPLE :]
        if not blocks:
            return np.zeros(0, np.float32)
        scaled = samples.astype(np.float32) / _FULL_SCALE
        windows = np.lib.stride_tricks.sliding_window_view(scaled, _WINDOW)[::3]
        # Not `@`: BLAS would use, and keep busy, threads of its own.
        resampled: Samples = np.einsum("ij,kj->ik", windows, _KERNEL).reshape(-1)
        return resampled
