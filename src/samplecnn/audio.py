"""Decode, resample, segment: any recording in, the mono waveform that a model expects out.

Recordings are decoded by libsndfile (wav, flac, ogg, mp3, aiff and more), mixed to mono as the mean of their channels
and resampled by soxr (quality HQ, linear phase). Waveforms are float32 in [-1, 1]; on disk int16 of scale 32768.
Everything that hears sound uses these functions: building shards, tagging and explaining.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.mixing import Mixer, Resampler, check_level, resized
from samplecnn.sound import Sound
from samplecnn.sound_file import Recording, explained, name_of, opened
from samplecnn.task import Padding, Task

INT16_SCALE = 32768
# Read beyond the part asked for, so that the resampler's filter sees the sound behind the cut: with 0.1 s (and at least
# 1000 samples) the result equals that of resampling the whole recording, bit for bit.
FILTER_SECONDS, FILTER_SAMPLES = 0.1, 1000
# Samples over all channels. A recording of up to so many is decoded at once, which resamples in half the time; longer
# ones in pieces of so many.
AT_ONCE_SAMPLES, PIECE_SAMPLES = 1 << 22, 1 << 19
CANCELLING = "its channels cancel each other out: their mean, which models get, is almost silent"
CACHE_SAMPLES = 1 << 16  # processed at a time where several steps follow each other
LOWEST_RATE, HIGHEST_RATE = 1000, 10_000_000  # Hz; outside, a header is damaged and resampling could fill the memory


@dataclass
class Remarks:
    """What a user should know of a recording that was decoded; filled in as it is read.

    Attributes:
        missing: why not all of it is there, where the rest was kept all the same; "" where it is.
        seconds: length of what was decoded.
        cancels: its channels cancel each other out, so that their mean is almost silent.
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
) -> Iterator[np.ndarray]:
    """Decodes a recording piece by piece, so that an hour of sound takes no more memory than a minute.

    Recordings that are joined into one file (chained Ogg, mp3 after mp3) are decoded one after the other, each from its
    own rate and channels.

    Args:
        source: path, "-" for the standard input, or a binary file open for reading.
        sample_rate: Hz of the result.
        seconds: how much from the start is wanted; no more than that (and 0.1 s for the resampler's filter) is read.
            None: all.
        accept_truncated: keeps what can be decoded of a recording that is cut short or damaged.
        remarks: filled in as the recording is read.

    Yields:
        float32 [samples], mono; at least one piece. Joined, they are what `decode` returns, bit for bit.

    Raises:
        AudioError: as `decode`. Damage late in a long recording is found when it is reached.
    """
    remarks = Remarks() if remarks is None else remarks
    most = math.inf if seconds is None else int(seconds * sample_rate)
    given = 0
    with explained(name_of(source)), opened(source, accept_truncated) as recordings:
        for sound in recordings:
            left = None if seconds is None else max(seconds - given / sample_rate, 0.0)
            for wave in _mono(sound, sample_rate, left, remarks):
                wave = wave[: int(min(most - given, len(wave)))]
                given += len(wave)
                remarks.seconds = given / sample_rate
                yield wave
            remarks.missing = remarks.missing or sound.problem
            if given >= most:
                break
        else:
            remarks.missing = remarks.missing or sound.problem  # that of a later recording which cannot be opened
        if given == 0 and most > 0:
            raise AudioError("holds no samples; record or download it again")


def _mono(sound: Sound, sample_rate: int, seconds: float | None, remarks: Remarks) -> Iterator[np.ndarray]:
    """One recording of a file, or its first seconds and up to a sample more: mono at the rate wanted, in pieces."""
    rate, channels = sound.rate, sound.channels
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(f"its header says {rate} Hz, which is no rate of sound; repair it or leave it out")
    wanted = math.inf if seconds is None else math.ceil(seconds * rate)
    limit = wanted + max(math.ceil(FILTER_SECONDS * rate), FILTER_SAMPLES)
    mix, resample = Mixer(channels), Resampler(rate, sample_rate)
    piece = max(PIECE_SAMPLES // channels, 1)
    # One frame more than there should be: fewer than asked for are the end.
    size = min(sound.promised + 1, limit)
    size = int(size) if size * channels <= AT_ONCE_SAMPLES else piece
    count = given = 0
    last = False
    while not last:
        frames = sound.read(size)
        last = len(frames) < size or count + len(frames) >= limit
        mono = mix(frames)
        check_level(mono, count / rate, rate)
        count += len(frames)
        wave = resample(mono, last)
        if last:
            if count < wanted:
                sound.check_end()
            sound.check_reads()
            wave = resized(wave, -(-count * sample_rate // rate) - given)
            remarks.cancels = remarks.cancels or mix.cancels
        given += len(wave)
        yield wave
        size = int(min(piece, limit - count))


def decode(
    source: Recording,
    sample_rate: int,
    seconds: float | None = None,
    accept_truncated: bool = False,
    remarks: Remarks | None = None,
) -> np.ndarray:
    """Reads a recording as mono at `sample_rate`.

    Args:
        source, sample_rate, seconds, accept_truncated, remarks: as for `stream`.

    Returns:
        float32 [samples]. With n frames at r Hz in the file, samples = ceil(n * sample_rate / r), the length librosa
        gave the original; at most int(seconds * sample_rate). Silence is decoded like any sound: see `is_silent`.

    Raises:
        AudioError: missing, empty, not audio, shorter than its header says, without samples, or with NaN. A file whose
            end is missing is accepted where all of the wanted `seconds` are there, or with `accept_truncated`.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, [[0.5, 0.25]] * 44100, 44100, format="WAV")  # one second, stereo
        >>> wave = decode(file, 22050)
        >>> wave.shape, wave.dtype, float(wave[11025].round(3))
        ((22050,), dtype('float32'), 0.375)
    """
    pieces = list(stream(source, sample_rate, seconds, accept_truncated, remarks))
    if len(pieces) == 1:
        return pieces[0]
    with explained(name_of(source)):
        return np.concatenate(pieces)


def fit(wave: np.ndarray, samples: int, padding: Padding = "tile") -> np.ndarray:
    """The first `samples` of a waveform; a shorter one is filled up.

    Args:
        wave: [n], n > 0.
        samples: length wanted.
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
    scratch = np.empty(min(CACHE_SAMPLES, len(flat)), np.result_type(wave.dtype, np.float32))
    for at in range(0, len(flat), CACHE_SAMPLES):
        piece = flat[at : at + CACHE_SAMPLES]
        scaled = scratch[: len(piece)]
        np.multiply(piece, np.float32(INT16_SCALE), out=scaled)
        np.rint(scaled, out=scaled)
        if scaled.max() >= INT16_SCALE or scaled.min() < -INT16_SCALE:  # looking is cheaper than clipping
            np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1, out=scaled)
        samples[at : at + CACHE_SAMPLES] = scaled
    return samples.reshape(wave.shape)


def from_int16(samples: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(INT16_SCALE)


def scale_and_offset(task: Task, integers: bool) -> tuple[float, float]:
    """Factor and offset with which a model's input is sample * factor - offset, for int16 (`integers`) or floats."""
    return 1 / ((INT16_SCALE if integers else 1) * task.std), task.mean / task.std


def standardise(samples: np.ndarray, task: Task, out: np.ndarray | None = None) -> np.ndarray:
    """The waveform as the model expects it: (wave - mean) / std.

    Args:
        samples: int16, or float32 in [-1, 1], of any shape. The same sound gives the same bits in either form, since
            their scales differ by a power of two.
        task: with mean and std.
        out: float32 of the same shape, contiguous, to fill instead of a new array.

    Returns:
        float32 of the same shape.
    """
    factor, offset = map(np.float32, scale_and_offset(task, samples.dtype == np.int16))
    result = np.empty(samples.shape, np.float32) if out is None else out
    flat, filled = samples.reshape(-1), result.reshape(-1)
    for at in range(0, len(flat), CACHE_SAMPLES):  # both steps, and the conversion, while a piece is in the cache
        piece = filled[at : at + CACHE_SAMPLES]
        np.multiply(flat[at : at + CACHE_SAMPLES], factor, out=piece, dtype=np.float32)
        np.subtract(piece, offset, out=piece)
    return result


def is_silent(wave: np.ndarray) -> bool:
    """Whether every sample is zero: decoded like any other recording (the original keeps them), but worth a warning."""
    return not (wave[:CACHE_SAMPLES].any() or wave.any())  # a glance is enough for nearly all
