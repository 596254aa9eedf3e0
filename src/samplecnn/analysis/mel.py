"""The mel scale (O'Shaughnessy's formula), on which equal steps sound about equally far apart, and its spectrogram."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

ROWS = 96  # of a spectrogram, equally wide in mel
FRAME = 0.025  # seconds


def mel(hertz: npt.ArrayLike) -> np.ndarray:
    """Hz in mel: 1000 Hz are 1000 mel. What lies below 0, as an axis with a margin may ask for, counts as 0."""
    return 2595 * np.log10(1 + np.maximum(hertz, 0) / 700)


def hertz(mels: npt.ArrayLike) -> np.ndarray:
    """The way back from `mel`."""
    return 700 * (10 ** (np.asarray(mels) / 2595) - 1)


def mel_spectrogram(wave: np.ndarray, rate: int, rows: int = ROWS) -> np.ndarray:
    """Power in dB on a mel axis: float64 [rows, frames], Hann windows of 25 ms."""
    size = max(int(FRAME * rate), 16)
    hop = max(len(wave) // 600, size // 8, 1)
    padded = np.pad(wave.astype(np.float64), size // 2 + 1)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), 4 * size, axis=1)) ** 2
    edges = hertz(np.linspace(0, mel(rate / 2), rows + 1)) / (rate / 2) * (power.shape[1] - 1)
    places = [slice(int(low), max(int(np.ceil(high)), int(low) + 1)) for low, high in pairwise(edges)]
    return 10 * np.log10(np.stack([power[:, place].mean(axis=1) for place in places]) + 1e-9)
