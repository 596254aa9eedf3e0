"""Inputs of a Tagger besides paths and files: bytes, waveforms, dictionaries, and lists of them."""

import io
import math
import numbers
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from samplecnn.errors import AudioError, UsageError
from samplecnn.sound_file import Recording

Source = Recording | bytes | bytearray | memoryview | Mapping[str, Any]


def is_list(source: Any) -> bool:
    """Whether a source is a list of recordings; a list of numbers or of channels is a waveform."""
    return isinstance(source, list | tuple) and bool(source) and all(map(_is_source, source))


def _is_source(source: Any) -> bool:
    return isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | Mapping) or hasattr(source, "read")


def as_file(source: Any, sample_rate: int | None) -> Recording:
    """Returns a path or a file unchanged, anything else as a file in memory.

    Args:
        source: see `Tagger.__call__`.
        sample_rate: sample rate of a waveform in Hz; None: not given.

    Raises:
        AudioError, UsageError: see `Tagger.__call__`.
    """
    if isinstance(source, Mapping):
        if sample_rate is not None:
            raise UsageError("sample_rate applies to waveforms only; the dictionary has its own")
        return _from_mapping(source)
    if not _is_source(source):
        return waveform_file(source, sample_rate)
    if sample_rate is not None:
        raise UsageError("sample_rate applies to waveforms only; a file has its own")
    return io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source


def _from_mapping(source: Mapping[str, Any]) -> Recording:
    """A recording as in Hugging Face data sets: decoded, or as bytes or a path."""
    wave = next((source[key] for key in ("array", "raw") if source.get(key) is not None), None)
    rate = source.get("sampling_rate")
    if wave is not None:
        if rate is None:
            raise UsageError("a waveform needs its sample rate: {'array': ..., 'sampling_rate': 44100}")
        return waveform_file(wave, rate)
    if source.get("bytes") is not None:
        return io.BytesIO(source["bytes"])
    if source.get("path") is not None:
        return source["path"]  # type: ignore[no-any-return]
    raise UsageError("a dictionary needs 'array' and 'sampling_rate', or 'bytes', or 'path'")


def waveform_file(wave: npt.ArrayLike, sample_rate: int | None) -> BinaryIO:
    """A waveform as a sound file in memory, so that it is mixed, resampled and checked like any recording."""
    import soundfile

    if sample_rate is None:
        raise UsageError("a waveform needs its sample rate: tagger(wave, sample_rate=44100)")
    if not isinstance(sample_rate, numbers.Real) or not 1 <= sample_rate < math.inf or sample_rate % 1:
        raise UsageError(f"the sample rate must be a whole number of Hz, not {sample_rate!r}")
    try:
        samples = np.asarray(wave)
    except (TypeError, ValueError, RuntimeError) as error:  # lists of different lengths; PyTorch tensors
        tensor = "wave.detach().cpu().float().numpy()" if hasattr(wave, "detach") else "a NumPy array"
        raise UsageError(f"the waveform is not an array of numbers; pass {tensor}") from error
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "iuf":
        raise UsageError(
            f"a waveform must be real numbers, [samples] or [channels, samples], not "
            f"{samples.dtype} {list(samples.shape)}"
        )
    if samples.size == 0:
        raise AudioError("the given waveform has no samples")
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
