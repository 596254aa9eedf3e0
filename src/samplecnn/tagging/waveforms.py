"""Waveforms in memory as recordings, so that they are mixed, resampled and checked like every recording."""

import io
import math
import numbers
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from samplecnn.errors import AudioError, UsageError


def waveform_file(wave: npt.ArrayLike, sample_rate: int | None) -> BinaryIO:
    """A waveform as a recording in memory, so that it is mixed, resampled and checked like every recording."""
    import soundfile

    if sample_rate is None:
        raise UsageError("a waveform needs its sample rate: tagger(wave, sample_rate=44100)")
    if not isinstance(sample_rate, numbers.Real) or not 1 <= sample_rate < math.inf or sample_rate % 1:
        raise UsageError(f"the sample rate must be a whole number of Hz, not {sample_rate!r}")
    try:
        samples = np.asarray(wave)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of different lengths; tensors of PyTorch
        tensor = "wave.detach().cpu().float().numpy()" if hasattr(wave, "detach") else "a NumPy array"
        raise UsageError(f"the waveform is not an array of numbers; pass {tensor}") from error
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        raise UsageError(
            f"a waveform is real numbers [samples] or [channels, samples], not {samples.dtype} {list(samples.shape)}"
        )
    if samples.size == 0:
        raise AudioError("the given waveform holds no samples")
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if samples.dtype.kind != "f":
        info = np.iinfo(samples.dtype)
        middle = 0 if samples.dtype.kind == "i" else (int(info.max) + 1) // 2
        samples = (samples.astype(np.float64) - middle) / ((int(info.max) + 1) - middle)
    memory = io.BytesIO()
    soundfile.write(memory, samples.astype(np.float32), int(sample_rate), format="RF64", subtype="FLOAT")
    memory.seek(0)
    return memory
