"""The mel scale (O'Shaughnessy: Speech Communication, 1987) and spectrograms on it."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

BANDS = 96  # of a spectrogram, equally wide in mel
FRAME = 0.025  # seconds


def mel(hertz: npt.ArrayLike) -> np.ndarray:
    """Hz to mel: 1000 Hz are 1000 mel. Values below 0, which an axis with a margin may ask for, count as 0."""
    return 2595 * np.log10(1 + np.maximum(hertz, 0) / 700)


def hertz(mels: npt.ArrayLike) -> np.ndarray:
    """Mel to Hz: the inverse of `mel`."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)


def filterbank(bands: int, size: int, rate: int) -> np.ndarray:
    """Triangular filters, equally wide in mel from 0 to rate / 2, by half overlapping: float32 [bands, size // 2 + 1].

    The weights of a filter add up to 1: applied to a power spectrum it gives the mean power in its band. A filter that
    is narrower than the distance of two bins takes the nearest bin.

    Args:
        bands: number of filters.
        size: samples of a frame, whose spectrum has size // 2 + 1 bins.
        rate: Hz.

    Example:
        >>> filterbank(4, 64, 8000).shape
        (4, 33)
    """
    edges = hertz(np.linspace(0, mel(rate / 2), bands + 2))
    bins = np.arange(size // 2 + 1) * rate / size
    low, middle, high = (edges[start : start + bands, None] for start in range(3))
    weights = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
    for row in np.flatnonzero(weights.sum(axis=1) == 0):
        weights[row, np.abs(bins - middle[row]).argmin()] = 1
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def mel_spectrogram(wave: np.ndarray, rate: int, bands: int = BANDS) -> np.ndarray:
    """Power in dB on a mel axis, from Hann windows of 25 ms: float64 [bands, frames].

    Args:
        wave: float [samples].
        rate: Hz.
        bands: number of bands, equally wide in mel from 0 to rate / 2.
    """
    size = max(int(FRAME * rate), 16)
    hop = max(len(wave) // 600, size // 8, 1)
    padded = np.pad(wave.astype(np.float64), size // 2 + 1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), 4 * size, axis=1)) ** 2
    edges = hertz(np.linspace(0, mel(rate / 2), bands + 1)) / (rate / 2) * (power.shape[1] - 1)
    bins = [slice(int(low), max(int(np.ceil(high)), int(low) + 1)) for low, high in pairwise(edges)]
    return 10 * np.log10(np.stack([power[:, part].mean(axis=1) for part in bins]) + 1e-9)
