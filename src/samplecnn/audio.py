"""Decode, resample, segment: any recording in, the mono waveform that a model expects out.

Recordings are decoded by libsndfile (wav, flac, ogg, mp3, aiff and more), mixed to mono as the mean of their channels
and resampled by soxr (quality HQ, linear phase). Waveforms are float32 in [-1, 1]; on disk int16 of scale 32768.
All audio input goes through these functions: building shards, tagging and explaining.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.mixing import Mixer, Resampler, check_level, resized
from samplecnn.sound_file import AnySound, Recording, audio_errors, name_of, open_recordings
from samplecnn.task import Padding, Task

INT16_SCALE = 32768
# Read beyond the requested part, as context for the resampling filter: with 0.1 s (and at least 1000 samples) the
# result equals that of resampling the whole recording, bit for bit.
FILTER_SECONDS, FILTER_SAMPLES = 0.1, 1000
# Samples over all channels. A recording up to the first limit is read and resampled in one call, which takes half the
# time; a longer one is read in blocks.
MAX_SINGLE_READ_SAMPLES, BLOCK_SAMPLES = 1 << 22, 1 << 19
CANCELLING = "its channels cancel each other out: their mean, which models get, is almost silent"
SILENCE_BLOCK = 1 << 12  # samples tested at a time
CACHE_SAMPLES = 1 << 16  # block size of elementwise operations in several steps, so that a block stays in the cache
LOWEST_RATE, HIGHEST_RATE = 1000, 10_000_000  # Hz; outside, a header is damaged and resampling could fill the memory


@dataclass
class Remarks:
    """What a user should know about a decoded recording; updated while it is read.

    Attributes:
        missing: why the recording is incomplete, if what could be decoded was kept; "" if it is complete.
        seconds: length of what was decoded.
        cancels: the channels cancel each other out, so that their mean is almost silent.
    """

    missing: str = ""
    seconds: float = 0.0
    cancels: bool = False

    @property
    def kept(self) -> str:
        """How much of an incomplete recording was kept, and why not all."""
        return f"kept {self.seconds:.2f} s; {self.missing}" if self.missing else ""

    @property
    def cancelled(self) -> str:
        return CANCELLING if self.cancels else ""

    @property
    def notes(self) -> list[str]:
        return [note for note in (self.kept, self.cancelled) if note]


def stream(
    source: Recording,
    sample_rate: int,
    seconds: float | None = None,
    accept_truncated: bool = False,
    remarks: Remarks | None = None,
    start: float = 0.0,
) -> Iterator[np.ndarray]:
    """Decodes a recording block by block: an hour of sound takes no more memory than a minute.

    Recordings that are joined into one file (chained Ogg, mp3 after mp3) are decoded one after the other, each from its
    own rate and channels.

    Args:
        source: path, "-" for the standard input, or a binary file open for reading.
        sample_rate: Hz of the result.
        seconds: length to decode from `start`; no more than that (and 0.1 s for the resampling filter) is read. None:
            the whole recording.
        accept_truncated: keeps what can be decoded of a truncated or damaged recording.
        remarks: updated while the recording is read.
        start: seconds at the recording's start that are left out. What lies before is not decoded in formats that can
            seek; the samples are those that the whole recording has from there on.

    Yields:
        float32 [samples], mono; at least one block. Their concatenation is what `decode` returns, bit for bit.

    Raises:
        AudioError: as `decode`; for damage late in a long recording, when it is reached.
    """
    remarks = Remarks() if remarks is None else remarks
    first = round(start * sample_rate)
    end = math.inf if seconds is None else first + int(seconds * sample_rate)
    at = emitted = 0  # samples of the result: read or left out, and given
    with audio_errors(name_of(source)), open_recordings(source, accept_truncated) as recordings:
        for sound in recordings:
            if first > at:
                at += _skip(sound, first - at, sample_rate)
            left = None if seconds is None else max(start + seconds - at / sample_rate, 0.0)
            for wave in _mono(sound, sample_rate, left, remarks):
                part = wave[max(first - at, 0) : int(max(min(end - at, len(wave)), 0))]
                at += len(wave)
                emitted += len(part)
                remarks.seconds = emitted / sample_rate
                if len(part) or not first:
                    yield part
            remarks.missing = remarks.missing or sound.problem
            if at >= end:
                break
        else:
            remarks.missing = remarks.missing or sound.problem  # a later recording cannot be opened
        if emitted == 0 and end > first:
            if at:
                raise AudioError(f"ends after {at / sample_rate:.2f} s, before the start at {start:g} s; correct it")
            raise AudioError("holds no samples; record or download it again")


def _skip(sound: AnySound, samples: int, sample_rate: int) -> int:
    """Leaves out frames at the start of a recording, so that what follows is resampled as in the whole recording.

    Returns the samples of the result that are left out: fewer than the `samples` that are not wanted, by the context of
    the resampling filter and by what makes them a whole number of frames as well; or all of one that ends before.
    """
    rate = sound.rate
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        return 0  # `_mono` refuses it
    common = math.gcd(rate, sample_rate)
    context = math.ceil(max(FILTER_SECONDS, FILTER_SAMPLES / rate) * sample_rate)
    units = max(samples - context, 0) // (sample_rate // common)
    return -(-sound.skip(units * (rate // common)) * sample_rate // rate)


def _mono(sound: AnySound, sample_rate: int, seconds: float | None, remarks: Remarks) -> Iterator[np.ndarray]:
    """One recording of a file, or its first seconds and up to one sample more: mono at `sample_rate`, in blocks."""
    rate, channels = sound.rate, sound.channels
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"implausible sample rate in its header, {rate} Hz; repair it or leave it out")
    wanted = math.inf if seconds is None else math.ceil(seconds * rate)
    limit = wanted + max(math.ceil(FILTER_SECONDS * rate), FILTER_SAMPLES)
    mix, resample = Mixer(channels), Resampler(rate, sample_rate)
    block = max(BLOCK_SAMPLES // channels, 1)
    skipped = sound.count
    # Request one frame more than declared: a short read then marks the end.
    size = min(max(sound.declared_frames - skipped, 0) + 1, limit)
    size = int(size) if size * channels <= MAX_SINGLE_READ_SAMPLES else block
    count = emitted = 0
    is_last = False
    while not is_last:
        frames = sound.read(size)
        is_last = len(frames) < size or count + len(frames) >= limit
        mono = mix(frames)
        check_level(mono, (skipped + count) / rate, rate)
        count += len(frames)
        wave = resample(mono, is_last)
        if is_last:
            if count < wanted:
                sound.check_end()
            sound.check_reads()
            wave = resized(wave, -(-count * sample_rate // rate) - emitted)
            remarks.cancels = remarks.cancels or mix.cancels
        emitted += len(wave)
        yield wave
        size = int(min(block, limit - count))


def decode(
    source: Recording,
    sample_rate: int,
    seconds: float | None = None,
    accept_truncated: bool = False,
    remarks: Remarks | None = None,
    start: float = 0.0,
) -> np.ndarray:
    """Reads a recording, or a part of it, as mono at `sample_rate`.

    Args:
        source, sample_rate, seconds, accept_truncated, remarks, start: as for `stream`.

    Returns:
        float32 [samples]. With n frames at r Hz in the file, samples = ceil(n * sample_rate / r), the length that
        librosa gives in the original; at most int(seconds * sample_rate). Silence is decoded too: see `is_silent`.

    Raises:
        AudioError: missing, empty, not audio, shorter than its header declares, without samples, or with NaN. A
            truncated file is accepted if it contains all requested `seconds`, or with `accept_truncated`.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, [[0.5, 0.25]] * 44100, 44100, format="WAV")  # one second, stereo
        >>> wave = decode(file, 22050)
        >>> wave.shape, wave.dtype, float(wave[11025].round(3))
        ((22050,), dtype('float32'), 0.375)
    """
    blocks = list(stream(source, sample_rate, seconds, accept_truncated, remarks, start))
    if len(blocks) == 1:
        return blocks[0]
    with audio_errors(name_of(source)):
        return np.concatenate(blocks)


def fit(wave: np.ndarray, samples: int, padding: Padding = "tile") -> np.ndarray:
    """The first `samples` of a waveform; a shorter one is padded.

    Args:
        wave: [n], n > 0.
        samples: length of the result.
        padding: "tile" repeats the clip, "zero" adds silence, "stretch" repeats every sample samples // n + 1 times and
            cuts (what the original does, `np.repeat` in its audio_processing: slower, lower and without its end).

    Returns:
        [samples] of the same type.

    Example:
        >>> fit(np.array([1, 2, 3]), 8).tolist()
        [1, 2, 3, 1, 2, 3, 1, 2]
    """
    length = len(wave)
    if length >= samples:
        return wave[:samples]
    if length == 0:
        raise AudioError("a recording without samples cannot be padded; leave it out")
    if padding == "tile":
        return np.tile(wave, -(-samples // length))[:samples]
    if padding == "zero":
        return np.pad(wave, (0, samples - length))
    if padding == "stretch":
        return np.repeat(wave, samples // length + 1)[:samples]
    raise ValueError(f"padding must be tile, zero or stretch, not {padding!r}")


def cut(wave: np.ndarray, task: Task) -> np.ndarray:
    """A clip's segments, without overlap; a shorter remainder at the end is dropped.

    Args:
        wave: float32 [n], n > 0, mono at the task's rate.

    Returns:
        float32 [segments, window]. If the task has a fixed `clip_seconds`, a clip is cut or padded to that length
        and gives `task.segments_per_clip` segments; otherwise it gives all its whole windows, and a clip shorter than
        one window is padded to one.
    """
    clip = fit(wave, task.clip_samples or max(task.window, len(wave)), task.padding)
    count = len(clip) // task.window
    return clip[: count * task.window].reshape(count, task.window)


def to_int16(wave: np.ndarray) -> np.ndarray:
    """float in [-1, 1) -> int16, rounded to nearest and clipped; exact for samples that came from 16 bits."""
    flat = wave.reshape(-1)
    samples = np.empty(flat.shape, np.int16)
    # Each block goes through all three steps while it is in the processor's cache, and no temporary array is as long as
    # the recording.
    scratch = np.empty(min(CACHE_SAMPLES, len(flat)), np.result_type(wave.dtype, np.float32))
    for at in range(0, len(flat), CACHE_SAMPLES):
        block = flat[at : at + CACHE_SAMPLES]
        scaled = scratch[: len(block)]
        np.multiply(block, np.float32(INT16_SCALE), out=scaled)
        np.rint(scaled, out=scaled)
        if scaled.max() >= INT16_SCALE or scaled.min() < -INT16_SCALE:  # a check is cheaper than clipping
            np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1, out=scaled)
        samples[at : at + CACHE_SAMPLES] = scaled
    return samples.reshape(wave.shape)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(INT16_SCALE)


def scale_and_offset(task: Task, integers: bool) -> tuple[float, float]:
    """(factor, offset) of the model's input, sample * factor - offset, for int16 samples (`integers`) or floats."""
    return 1 / ((INT16_SCALE if integers else 1) * task.std), task.mean / task.std


def standardise(samples: np.ndarray, task: Task, out: np.ndarray | None = None) -> np.ndarray:
    """Standardises a waveform for the model: (wave - mean) / std.

    Args:
        samples: int16, or float32 in [-1, 1], of any shape. Both forms of a sound give the same bits, since their
            scales differ by a power of two.
        task: with mean and std.
        out: float32 of the same shape, contiguous, to fill instead of a new array.

    Returns:
        float32 of the same shape.
    """
    factor, offset = map(np.float32, scale_and_offset(task, samples.dtype == np.int16))
    result = np.empty(samples.shape, np.float32) if out is None else out
    flat, filled = samples.reshape(-1), result.reshape(-1)
    for at in range(0, len(flat), CACHE_SAMPLES):  # both steps, and the conversion, while a block is in the cache
        block = filled[at : at + CACHE_SAMPLES]
        np.multiply(flat[at : at + CACHE_SAMPLES], factor, out=block, dtype=np.float32)
        np.subtract(block, offset, out=block)
    return result


def is_silent(wave: np.ndarray) -> bool:
    """Whether every sample is zero. Silence is decoded like any recording (the original keeps it), with a warning."""
    blocks = (wave[at : at + SILENCE_BLOCK] for at in range(0, len(wave), SILENCE_BLOCK))
    return not any(block.any() for block in blocks)  # the first block decides for nearly all recordings
