"""Downmixing to mono, resampling, and the check of a recording's level."""

import math
from typing import Any

import numpy as np
import soxr

from samplecnn.errors import AudioError

RESAMPLING_QUALITY = "HQ"
MAX_PEAK = 64.0  # times full scale; float samples above it are not scaled to [-1, 1] and would only be clipped
CANCELLED_DB = 20.0  # drop in level from the channels to their mean above which the mix has lost most of the sound


class Mixer:
    """The mean of the channels, and how much of the power is lost in it.

    The mean of phase-inverted stereo, in which one channel is the negative of the other, is silence.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.power = self.mono_power = 0.0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """float32 [frames, channels] -> [frames]."""
        if self.channels == 1:
            return frames[:, 0]
        if self.channels == 2:  # same bits as `mean`, in a third of the time
            mono = frames[:, 0] + frames[:, 1]
            mono *= np.float32(0.5)
        else:
            mono = frames.mean(axis=1, dtype=np.float32)
        flat = frames.reshape(-1)
        self.power += float(np.einsum("i,i->", flat, flat)) / self.channels
        self.mono_power += float(np.einsum("i,i->", mono, mono))
        return mono

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other out."""
        return self.power > 0 and self.mono_power < self.power * 10 ** (-CANCELLED_DB / 10)


class Resampler:
    """soxr, block by block. A single block is resampled in one call: the same bits in half the time."""

    def __init__(self, rate: int, sample_rate: int) -> None:
        self.rate, self.sample_rate = rate, sample_rate
        self.stream: Any = None

    def __call__(self, mono: np.ndarray, is_last: bool) -> np.ndarray:
        if self.rate == self.sample_rate:
            return mono
        if self.stream is None and is_last:
            return soxr.resample(mono, self.rate, self.sample_rate, quality=RESAMPLING_QUALITY)
        self.stream = self.stream or soxr.ResampleStream(self.rate, self.sample_rate, 1, "float32", RESAMPLING_QUALITY)
        return self.stream.resample_chunk(mono, last=is_last)


def resized(wave: np.ndarray, length: int) -> np.ndarray:
    """Trims or zero-pads to `length`: the resampler may be off by one sample."""
    return wave[: max(length, 0)] if len(wave) >= length else np.pad(wave, (0, length - len(wave)))


def check_level(mono: np.ndarray, start: float, rate: int) -> None:
    """Raises AudioError for samples that are not sound; the block begins `start` seconds into the recording."""
    if len(mono) == 0:
        return
    peak = float(max(mono.max(), -mono.min()))  # NaN propagates through max and min, so this finds it too
    if not math.isfinite(peak):
        seconds = start + int(np.argmin(np.isfinite(mono))) / rate
        raise AudioError(f"has NaN or infinite samples after {seconds:.0f} s; repair it or export it again")
    if peak > MAX_PEAK:
        raise AudioError(f"samples reach {peak:.3g} times full scale; scale it to the range -1 to 1")
