"""Log-mel frames in place of the first convolution and the blocks that bring the waveform to their rate. No PyTorch.

Frame n is a Hann window of `frame` samples about the samples n * hop to (n + 1) * hop. Its power spectrum, in which
white noise has its variance in every bin, is averaged in bands of equal width in mel (`samplecnn.mel`, O'Shaughnessy
1987), and the natural logarithm of power + FLOOR is taken. The waveform comes standardised, so FLOOR lies 50 dB below
the power of noise as loud as the training set.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from samplecnn import parsing
from samplecnn.errors import UsageError
from samplecnn.parsing import Rule, whole
from samplecnn.task import MAX_RATE

if TYPE_CHECKING:  # NumPy is imported late: the command line reads this module before it computes anything
    import numpy as np

FLOOR = 1e-5
BANDS = 64
MAX_FRAME = 1 << 16  # samples
HOP_SECONDS, FRAME_SECONDS = 0.010, 0.040  # that hop and frame are near to

# What a file or a caller may give for each field.
RULES: dict[str, Rule] = {
    "sample_rate": whole(1, MAX_RATE),
    "frame": whole(2, MAX_FRAME),
    "hop": whole(1, MAX_FRAME),
    "bands": whole(1, MAX_FRAME // 2),
}
DESCRIPTION = parsing.fields(RULES, optional=["bands"])


@dataclass(frozen=True)
class LogMel:
    """A log-mel spectrogram: [batch, samples] -> [batch, frames, bands].

    Args:
        sample_rate: Hz, which decides where the bands lie.
        frame: samples of a frame.
        hop: samples from one frame to the next, at most a frame.
        bands: mel bands from 0 Hz to half the sample rate.

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> LogMel.near(22050, size=3, pool=3)
        LogMel(sample_rate=22050, frame=1024, hop=243, bands=64)
    """

    sample_rate: int
    frame: int
    hop: int
    bands: int = BANDS

    def __post_init__(self) -> None:
        for field, rule in RULES.items():
            problem = rule(getattr(self, field), field)
            if problem:
                raise UsageError(f"log-mel frames: {problem}")
        if self.hop > self.frame:
            raise UsageError(f"log-mel frames of {self.frame} samples every {self.hop}: they would leave samples out")
        if not 1 <= self.bands <= self.frame // 2:
            raise UsageError(
                f"log-mel frames of {self.frame} samples have {self.frame // 2} frequencies: "
                f"they give 1 to {self.frame // 2} bands, not {self.bands}"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LogMel":
        """The inverse of `dataclasses.asdict`, of values that `DESCRIPTION` allows; unknown keys are ignored."""
        return cls(**{key: values[key] for key in RULES if key in values})

    @classmethod
    def near(cls, sample_rate: int, size: int, pool: int, bands: int = BANDS) -> "LogMel":
        """Frames of about 40 ms (a power of 2 in samples) every 10 ms or so: at the rate that a first convolution of
        `size` samples and some blocks, each pooling `pool` frames, would bring the waveform to.
        """
        blocks = max(round(math.log(HOP_SECONDS * sample_rate / size, pool)), 0)
        hop = size * pool**blocks
        frame = 2 ** round(math.log2(FRAME_SECONDS * sample_rate))
        return cls(sample_rate, max(frame, hop), hop, bands)

    @property
    def bins(self) -> int:
        """Frequencies of a frame's spectrum."""
        return self.frame // 2 + 1

    @property
    def macs(self) -> int:
        """About as many multiply-accumulates for a frame: a fast Fourier transform, and the bands."""
        return 2 * self.frame * max(round(math.log2(self.frame)), 1) + self.bins * self.bands

    def padding(self, samples: int) -> tuple[int, int]:
        """Zeros before and after the waveform that give a frame to every `hop` samples, and to a rest at the end."""
        before = (self.frame - self.hop) // 2
        frames = -(-samples // self.hop)
        return before, (frames - 1) * self.hop + self.frame - samples - before

    def __call__(self, padded: "np.ndarray") -> "np.ndarray":
        """float32 [batch, samples], padded as `padding` says -> float32 [batch, frames, bands]."""
        import numpy as np

        frames = np.lib.stride_tricks.sliding_window_view(padded, self.frame, axis=1)[:, :: self.hop]
        spectra = np.fft.rfft(frames * hann(self.frame))
        power = np.square(spectra.real) + np.square(spectra.imag)
        return np.log(power.astype(np.float32) @ filters(self).T + np.float32(FLOOR))


@lru_cache(maxsize=8)
def hann(frame: int) -> "np.ndarray":
    """The periodic Hann window, scaled so that white noise keeps its variance in every bin; float32 [frame]."""
    import numpy as np

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    return (window / np.sqrt(np.square(window).sum())).astype(np.float32)


@lru_cache(maxsize=8)
def filters(logmel: LogMel) -> "np.ndarray":
    """Mean power in the bands from that of the bins: float32 [bands, bins]."""
    from samplecnn.mel import filterbank

    return filterbank(logmel.bands, logmel.frame, logmel.sample_rate)


@lru_cache(maxsize=8)
def basis(frame: int) -> "np.ndarray":
    """Fourier transform and window as the filters of a convolution, cosines before sines: float32 [2 * bins, frame]."""
    import numpy as np

    angles = 2 * np.pi / frame * np.outer(np.arange(frame // 2 + 1), np.arange(frame))
    return (np.concatenate([np.cos(angles), np.sin(angles)]) * hann(frame)).astype(np.float32)
