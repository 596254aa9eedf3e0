"""From the frames of a recording, of any rate and number of channels, to mono at the rate wanted."""

import math
from typing import Any

import numpy as np
import soxr

from samplecnn.errors import AudioError

QUALITY = "HQ"
LOUDEST = 64.0  # times full scale; beyond, float samples are not scaled to [-1, 1] and would only be clipped
CANCELLED = 20.0  # dB between the channels' level and that of their mean above which the mix has lost most of the sound


class Mixer:
    """The mean of the channels, and how much of the sound is lost in it.

    Phase-inverted stereo, of which one channel is the other's negative, has a mean of silence.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.power = self.mono_power = 0.0

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """float32 [frames, channels] -> [frames]."""
        if self.channels == 1:
            return frames[:, 0]
        if self.channels == 2:  # the bits of the mean, in a third of the time
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
        return self.power > 0 and self.mono_power < self.power * 10 ** (-CANCELLED / 10)


class Resampler:
    """soxr over one piece or many, to the same bits; at once where there is only one, which takes half the time."""

    def __init__(self, rate: int, sample_rate: int) -> None:
        self.rate, self.sample_rate = rate, sample_rate
        self.stream: Any = None

    def __call__(self, mono: np.ndarray, last: bool) -> np.ndarray:
        if self.rate == self.sample_rate:
            return mono
        if self.stream is None and last:
            return soxr.resample(mono, self.rate, self.sample_rate, quality=QUALITY)
        self.stream = self.stream or soxr.ResampleStream(self.rate, self.sample_rate, 1, "float32", QUALITY)
        return self.stream.resample_chunk(mono, last=last)


def resized(wave: np.ndarray, length: int) -> np.ndarray:
    """The resampler may give a sample more or less than there is time for."""
    return wave[: max(length, 0)] if len(wave) >= length else np.pad(wave, (0, length - len(wave)))


def check_level(mono: np.ndarray, start: float, rate: int) -> None:
    """Refuses samples that are not sound; the piece begins `start` seconds into the recording."""
    if len(mono) == 0:
        return
    peak = float(max(mono.max(), -mono.min()))  # NaN propagates through max and min, so this finds it too
    if not math.isfinite(peak):
        place = start + int(np.argmin(np.isfinite(mono))) / rate
        raise AudioError(f"has NaN or infinite samples after {place:.0f} s; repair it or write it again")
    if peak > LOUDEST:
        raise AudioError(f"samples reach {peak:.3g} times full scale; scale it to the range -1 to 1")
