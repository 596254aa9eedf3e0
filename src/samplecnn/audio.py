"""The one door for sound: any recording in, the mono waveform a model expects out, cut into segments.

Recordings are decoded by libsndfile (wav, flac, ogg, mp3, aiff and more), mixed to mono as the mean of their channels
and resampled by soxr (quality HQ, linear phase). Waveforms are float32 in [-1, 1]; on disk int16 of scale 32768.
"""

import contextlib
import io
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from samplecnn.errors import AudioError
from samplecnn.task import Padding, Task
from samplecnn.truncation import cut_short

INT16_SCALE = 32768
QUALITY = "HQ"
# Seconds read beyond those asked for, so that the resampler's filter sees the sound after the cut: with 0.1 s (and 1000
# samples at least) the result equals that of resampling the whole recording, bit for bit.
FILTER_SECONDS, FILTER_SAMPLES = 0.1, 1000
BLOCK_SAMPLES = 1 << 22  # decoded at a time, over all channels
CACHED_SAMPLES = 1 << 16  # worked on at a time where several steps follow each other
LOWEST_RATE, HIGHEST_RATE = 1000, 10_000_000  # Hz; outside, a header is damaged and resampling could fill the memory
LOUDEST = 64.0  # times full scale; beyond, float samples are not scaled to [-1, 1] and would only be clipped


def decode(source: str | Path | BinaryIO, sample_rate: int, seconds: float | None = None) -> np.ndarray:
    """Reads a recording as mono at `sample_rate`.

    Args:
        source: path, or a binary file open for reading.
        sample_rate: Hz of the result.
        seconds: how much from the start is wanted; no more than that (and a hair for the resampler) is read. None: all.

    Returns:
        float32 [samples]. With n frames at r Hz in the file, samples = ceil(n * sample_rate / r), the length librosa
        gave the original; at most int(seconds * sample_rate). Silence is decoded like any sound: see `is_silent`.

    Raises:
        AudioError: missing, empty, not audio, shorter than its header says, without samples, or with NaN. A file whose
            end is missing is accepted where all of the wanted `seconds` are there.
    """
    name = _name(source)
    try:
        wave = _decode(source, name, sample_rate, seconds)
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise AudioError(f"{name}: {_unreadable(error)}") from error
    except MemoryError as error:
        raise AudioError(f"{name}: too long for the memory; split it, or ask for its first seconds only") from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error}); check the file and its disk") from error
    return wave if seconds is None else wave[: int(seconds * sample_rate)]


def fit(wave: np.ndarray, samples: int, padding: Padding = "tile") -> np.ndarray:
    """The first `samples` of a waveform; a shorter one is filled up.

    Args:
        wave: float32 [n], n > 0.
        samples: length wanted.
        padding: "tile" repeats the clip, "zero" adds silence, "stretch" repeats every sample samples // n + 1 times and
            cuts (what the original does, `np.repeat` in its audio_processing: slower, lower and without its end).

    Returns:
        float32 [samples].
    """
    length = len(wave)
    if length >= samples:
        return wave[:samples]
    if length == 0:
        raise AudioError("a recording without samples cannot be filled up; leave it out")
    if padding == "tile":
        return np.tile(wave, -(-samples // length))[:samples]
    if padding == "zero":
        return np.pad(wave, (0, samples - length))
    if padding == "stretch":
        return np.repeat(wave, samples // length + 1)[:samples]
    raise ValueError(f"padding must be tile, zero or stretch, not {padding!r}")


def cut(wave: np.ndarray, task: Task) -> np.ndarray:
    """A clip's segments, without overlap; what is left at the end and fills no window is dropped.

    Args:
        wave: float32 [n], n > 0, mono at the task's rate.

    Returns:
        float32 [segments, window]. Where the task uses a fixed `clip_seconds`, a clip is cut or filled up to that
        length and gives `task.segments_per_clip` segments; else it gives all its whole windows, and a clip shorter than
        one window is filled up to one.
    """
    clip = fit(wave, task.clip_samples or max(task.window, len(wave)), task.padding)
    count = len(clip) // task.window
    return clip[: count * task.window].reshape(count, task.window)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float in [-1, 1) -> int16, rounded to nearest and clipped; exact for samples that came from 16 bits."""
    flat = wave.reshape(-1)
    samples = np.empty(flat.shape, np.int16)
    # A piece at a time goes through all three steps while it is in the processor's cache, and a long recording costs no
    # copies of its length.
    scratch = np.empty(min(CACHED_SAMPLES, len(flat)), np.result_type(wave.dtype, np.float32))
    for at in range(0, len(flat), CACHED_SAMPLES):
        piece = flat[at : at + CACHED_SAMPLES]
        scaled = scratch[: len(piece)]
        np.multiply(piece, np.float32(INT16_SCALE), out=scaled)
        np.rint(scaled, out=scaled)
        if scaled.max() >= INT16_SCALE or scaled.min() < -INT16_SCALE:  # looking is cheaper than clipping
            np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1, out=scaled)
        samples[at : at + CACHED_SAMPLES] = scaled
    return samples.reshape(wave.shape)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(INT16_SCALE)


def standardise(wave: np.ndarray, task: Task) -> np.ndarray:
    """The waveform as the model wants it, float32 of the same shape."""
    return ((wave - np.float32(task.mean)) / np.float32(task.std)).astype(np.float32, copy=False)


def is_silent(wave: np.ndarray) -> bool:
    """Whether every sample is zero: decoded like any other recording (the original keeps them), but worth a warning."""
    return not (wave[:CACHED_SAMPLES].any() or wave.any())  # a glance is enough for nearly all


def _name(source: Any) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the given audio"


class StraightFile(soundfile.SoundFile):
    """Reads straight on. Left alone, soundfile seeks after every read, which costs an mp3 decoder frames it leans on
    and which a flac stream of unknown length cannot do at all; it does not seek where it believes that it cannot.
    """

    def seekable(self) -> bool:
        return False


def _decode(source: Any, name: str, sample_rate: int, seconds: float | None) -> np.ndarray:
    """The wanted sound and a hair more; see `decode`."""
    if not isinstance(source, str | os.PathLike):
        return _decode_open(source, name, sample_rate, seconds)
    path = Path(source)
    if path.is_dir():
        raise AudioError(f"{name}: a folder, not a recording; name the files in it")
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file; check the path") from error
    with file:
        return _decode_open(file, name, sample_rate, seconds)


def _decode_open(file: Any, name: str, sample_rate: int, seconds: float | None) -> np.ndarray:
    if not file.seekable():
        file = io.BytesIO(file.read())
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size == 0:
        raise AudioError(f"{name}: empty, 0 bytes; download or copy it again")
    # Without its name, since soundfile takes the ending of a name like x.raw at its word. A plain file is read by
    # libsndfile itself, faster than through Python.
    nameless = _Nameless(file)
    with StraightFile(file.fileno() if type(file) is io.FileIO else nameless, closefd=False) as sound:
        rate, promised = sound.samplerate, sound.frames
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise AudioError(f"{name}: its header says {rate} Hz, which is no rate of sound; repair it or leave it out")
        wanted = math.ceil(seconds * rate) if seconds is not None else None
        hair = max(math.ceil(FILTER_SECONDS * rate), FILTER_SAMPLES)
        wave, frames = _resampled(sound, name, sample_rate, math.inf if wanted is None else wanted + hair)
        kind = sound.format
    if nameless.error:
        raise nameless.error
    if wanted is None or frames < wanted:
        reason = cut_short(file, kind, size, frames, promised)
        if reason:
            raise AudioError(f"{name}: {reason}; download or copy it again, or write it anew to keep what is there")
    if frames == 0:
        raise AudioError(f"{name}: holds no samples; record or download it again")
    return wave


def _resampled(sound: soundfile.SoundFile, name: str, sample_rate: int, limit: float) -> tuple[np.ndarray, int]:
    """The next `limit` frames, or all that come, float32 [ceil(frames * sample_rate / rate)], mono; and their number.

    Block by block, which changes no bit of the result: a header may promise more than the memory holds, and of a long
    recording only the result is kept.
    """
    pieces: list[np.ndarray] = []
    stream = _Resampler(sound.samplerate, sample_rate)
    count, last = 0, False
    while not last:
        size = int(min(limit - count, BLOCK_SAMPLES // sound.channels))
        frames = sound.read(size, dtype="float32", always_2d=True)
        count += len(frames)
        last = len(frames) < size or count >= limit
        mono = frames[:, 0] if sound.channels == 1 else frames.mean(axis=1, dtype=np.float32)
        _check_level(mono, name)
        pieces.append(stream(mono, last))
    wave = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    length = -(-count * sample_rate // sound.samplerate)
    return (wave[:length] if len(wave) >= length else np.pad(wave, (0, length - len(wave)))), count


class _Resampler:
    """soxr over one block or many, to the same bits; at once where there is but one, which takes half the time."""

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


class _Nameless:
    """An open file without its name, for libsndfile's callbacks, out of which no exception may come."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.error: OSError | None = None

    def read(self, count: int) -> bytes:
        try:
            return self.file.read(count)
        except OSError as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with contextlib.suppress(ValueError, OSError):  # a damaged header may point before the start
            self.file.seek(offset, whence)
        return self.file.tell()

    def tell(self) -> int:
        return self.file.tell()


def _check_level(mono: np.ndarray, name: str) -> None:
    if len(mono) == 0:
        return
    peak = float(max(mono.max(), -mono.min()))  # NaN passes through max and min, so this finds it too
    if not math.isfinite(peak):
        raise AudioError(f"{name}: has samples that are NaN or infinite; repair it or write it again")
    if peak > LOUDEST:
        raise AudioError(f"{name}: samples reach {peak:.3g} times full scale; scale it to the range -1 to 1")


def _unreadable(error: Exception) -> str:
    """What is wrong and what helps, from libsndfile's words."""
    said = str(getattr(error, "error_string", error)).strip().rstrip(".")
    if "not recognised" in said or "regular file" in said or "unknown format" in said.lower():
        return "not audio of a known format (wav, flac, ogg, mp3, aiff, ...); convert it or leave it out"
    if isinstance(error, soundfile.LibsndfileError):
        return f"damaged ({said[:1].lower() + said[1:]}); download or copy it again"
    return f"cannot be decoded ({type(error).__name__}: {said}); convert it or leave it out"
