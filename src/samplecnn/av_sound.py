"""Recordings that libsndfile does not know (m4a, aac, webm, wma, ac3, wv, the sound of videos), decoded by PyAV.

PyAV brings FFmpeg's libraries (the extra `av`). They run in a worker process with limits, since damaged files can crash
them or ask for gigabytes; a worker decodes one file after the other. They are given open files, never names, which
FFmpeg would take for addresses, and only demuxers that read one file. Of a video the first audio stream is decoded.

Encoders put some samples before the sound. Files that say how many are trimmed by FFmpeg; for streams that do not (raw
aac and ac3, mpegts, flv) `PRIMING` holds what the codec itself adds.
"""

import atexit
import io
import math
import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.extras import is_installed
from samplecnn.system.frames import Message
from samplecnn.system.limits import Limits
from samplecnn.system.workers import Worker, WorkerDied
from samplecnn.truncation import REMEDY

DEMUXERS = (
    "mov,mp4,m4a,3gp,matroska,webm,aac,asf,asf_o,ac3,eac3,wv,amr,amrnb,amrwb,ape,tta,mpc,mpc8,dts,avi,flv,mpegts,mpeg,rm,"
    "dsf,iff,tak,shn,ogg,wav,w64,aiff,caf,mp3,flac,xwma"
)
# Samples that a codec's encoder and decoder put before the sound, where the file does not say it: the overlap of one
# block (aac, ac3), or of the filterbank and the block (mp3, mp2). Encoders may add more.
PRIMING = {"aac": 1024, "ac3": 256, "eac3": 256, "mp3": 1105, "mp2": 481}
OPEN_FRAMES = 1 << 62  # for streams that do not tell their length
BLOCK = 1 << 16  # frames that a worker sends at a time
MISSING_SECONDS = 1.0  # that may be missing at the end: lengths in headers are rounded, and count other streams
MOST_CHANNELS = 64
# Of a worker, for all its files, and for a block of frames, which a decoder that hangs without computing never gives.
LIMITS = Limits(memory=1 << 30, cpu_seconds=7200, waiting=120.0)
FILES = 200  # that a worker decodes before it is replaced


@dataclass(frozen=True)
class _Kind:
    """What callers ask of libsndfile's files: FFmpeg's names of container and codec."""

    format: str
    subtype: str


class AvSound:
    """One recording, with what users need of `sound.Sound`.

    Args:
        file: open for reading, at any place.
        path: of the file, if it is a plain file; else it is read to its end and sent to the worker.
        size: of the file in bytes.
        keep: what can be decoded of a damaged recording is kept, and `problem` says why it is not all.

    Raises:
        AudioError: without the recording's name: no sound in it, or a header that cannot be read.
    """

    def __init__(self, file: Any, path: Path | None, size: int, keep: bool = False) -> None:
        self.size, self.keep, self.problem = size, keep, ""
        self.links: list[Any] = []
        self.stopped = size
        self.count = 0
        file.seek(0)
        plain = path is not None and type(file) is io.FileIO
        self._parts = _decoded(str(path.absolute()) if plain and path else "", b"" if plain else file.read())
        self._rest: list[np.ndarray] = []
        self._ended = False
        try:
            head = next(self._parts)
        except BaseException:
            self._parts.close()
            raise
        self.file = _Kind(head.value["container"], head.value["codec"])
        self.rate, self.channels, length = head.value["rate"], head.value["channels"], head.value["seconds"]
        self.declared_frames = OPEN_FRAMES if length is None else math.ceil(length * self.rate)

    def read(self, frames: int) -> np.ndarray:
        """The next frames, float32 [frames, channels]; fewer than asked for are the last ones.

        Raises:
            AudioError: without the recording's name: they cannot be decoded, and what can is not to be kept.
        """
        while not self._ended and sum(map(len, self._rest)) < frames:
            try:
                message = next(self._parts, None)
            except AudioError as error:
                if not self.keep:
                    raise
                self.problem, message = str(error).removesuffix(f"; {REMEDY}"), None
            if message is None:
                self._ended = True
            else:
                self._rest.append(np.frombuffer(message.data, np.float32).reshape(-1, self.channels))
        joined = np.concatenate([np.zeros((0, self.channels), np.float32), *self._rest])
        self._rest = [joined[frames:]] if len(joined) > frames else []
        self.count += min(frames, len(joined))
        return joined[:frames]

    def skip(self, frames: int) -> int:
        """Decodes and drops the first frames; as `sound.Sound.skip`."""
        while self.count < frames and len(self.read(min(frames - self.count, BLOCK))):
            pass
        return self.count

    def check_end(self) -> None:
        """To be called when all frames are read.

        Raises:
            AudioError: without the recording's name: its end is missing, and what is there is not to be kept.
        """
        if self.declared_frames < OPEN_FRAMES and self.count < self.declared_frames - MISSING_SECONDS * self.rate:
            missing = (self.declared_frames - self.count) / self.rate
            self.problem = (
                self.problem or f"cut short: {missing:.1f} of {self.declared_frames / self.rate:.1f} s are missing"
            )
        if self.problem and not self.keep:
            raise AudioError(f"{self.problem}; {REMEDY}")

    def check_reads(self) -> None:
        """Nothing: the worker's errors have been raised."""

    def close(self) -> None:
        self._parts.close()


def available() -> bool:
    """Whether PyAV is installed; it is not imported."""
    return is_installed("av")


class _Workers:
    """Idle workers, to be used again: to start one takes longer than to decode a song."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: list[tuple[int, int, Worker]] = []  # process that started it, files decoded, the worker

    def take(self) -> tuple[int, Worker]:
        with self.lock:
            while self.idle:
                owner, files, worker = self.idle.pop()
                if owner == os.getpid() and worker.process.poll() is None:
                    return files, worker
        return 0, Worker(f"{__name__}:answer", preload=("av",), limits=LIMITS)

    def give_back(self, files: int, worker: Worker) -> None:
        if files >= FILES:
            worker.close()
            return
        with self.lock:
            self.idle.append((os.getpid(), files, worker))

    def close(self) -> None:
        with self.lock:
            for owner, _, worker in self.idle:
                if owner == os.getpid():
                    worker.kill()
                    with suppress(OSError, ValueError):
                        worker.close()
            self.idle.clear()


_workers = _Workers()
atexit.register(_workers.close)


def _decoded(path: str, data: bytes) -> Generator[Message]:
    """What `answer` sends for a file."""
    files, worker = _workers.take()
    whole, begun = False, False
    try:
        problem = ""
        with closing(worker.ask(path, data)) as parts:
            for part in parts:
                problem = part.value.get("error", "")
                if not problem:
                    begun = True
                    yield part
        whole = True
        if problem:  # without a header, there is nothing to accept
            raise AudioError(f"damaged ({problem}); {REMEDY if begun else 'download or copy it again'}")
    except AudioError:
        whole = True  # it has answered
        raise
    except WorkerDied as death:
        if death.status > 0 and not death.out_of_time:
            raise AudioError(f"cannot be decoded, Python failed to start for it ({death.last_words})") from death
        raise AudioError(f"damaged, its decoder {death.how}; {REMEDY}") from death
    except MemoryError as error:
        raise AudioError("damaged, it needs more memory than sound can; leave it out") from error
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise AudioError(f"cannot be decoded ({last[:200]}); convert it to flac or wav") from error
    finally:
        with suppress(WorkerDied):
            if worker.busy and not whole:  # its answers that are left would be taken for the next file's
                worker.skip_rest()
                whole = True
        if whole:
            _workers.give_back(files + 1, worker)
        else:
            worker.kill()
            worker.close()


def answer(path: str, data: bytes, reply: Callable[..., None]) -> None:
    """The worker's task: sends rate, channels and seconds, then blocks of float32 frames; or why there are none."""
    import av

    with open(path, "rb") if path else io.BytesIO(data) as file:  # noqa: PTH123 - one of two kinds of files
        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
        try:
            with av.open(file, mode="r", options=options, metadata_errors="replace") as container:
                _send(container, reply)
        except av.error.FFmpegError as error:
            reply({"error": (error.strerror or str(error)).strip().lower()})


def _send(container: Any, reply: Callable[..., None]) -> None:
    if not container.streams.audio:
        raise AudioError("has no sound in it; leave it out")
    stream = container.streams.audio[0]
    stream.thread_type = "NONE"
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if not rate or not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(f"its header says {rate} Hz and {channels} channels; repair it or leave it out")
    seconds = _seconds(container, stream)
    kind = {"container": container.format.name.partition(",")[0], "codec": stream.codec_context.name}
    reply({"rate": rate, "channels": channels, "seconds": seconds, **kind})
    end = round(seconds * rate) if seconds is not None and "mp4" in container.format.name else OPEN_FRAMES
    given = 0
    blocks: list[np.ndarray] = []
    for samples in _frames(container, stream, rate, channels):
        part = samples[: max(end - given, 0)]  # what lies behind fills the last block of the encoder
        given += len(part)
        blocks.append(part)
        if sum(map(len, blocks)) >= BLOCK:
            reply({}, np.concatenate(blocks).data)
            blocks = []
    if sum(map(len, blocks)):
        reply({}, np.concatenate(blocks).data)


def _frames(container: Any, stream: Any, rate: int, channels: int) -> Iterator[np.ndarray]:
    """Decoded frames, float32 [samples, channels], without the encoder's priming."""
    skip: int | None = None
    late = stream.codec_context.name in ("wmav1", "wmav2")
    for packet in container.demux(stream):
        if skip is None:
            known = packet.has_sidedata("skip_samples")
            skip = 0 if known else PRIMING.get(stream.codec_context.name.removesuffix("float"), 0)
        for frame in packet.decode():
            if frame.sample_rate != rate or len(frame.layout.channels) != channels:
                raise AudioError("its rate or number of channels changes; convert it to flac or wav")
            samples = _floats(frame, channels)
            if late:  # the decoder drops the first block, which is as long as the encoder's delay
                yield np.zeros((len(samples), channels), np.float32)
                late = False
            left, skip = samples[skip:], max(skip - len(samples), 0)
            if len(left):
                yield left


def _floats(frame: Any, channels: int) -> np.ndarray:
    values = frame.to_ndarray()
    samples = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if samples.dtype.kind == "f":
        return np.ascontiguousarray(samples, np.float32)
    bits = 8 * samples.dtype.itemsize
    middle = 128 if samples.dtype.kind == "u" else 0
    return np.ascontiguousarray((samples.astype(np.float64) - middle) / 2 ** (bits - 1), np.float32)


def _seconds(container: Any, stream: Any) -> float | None:
    """The length that the file announces; None where it does not, or only guesses it from its bit rate."""
    if container.format.name in ("aac", "ac3", "eac3", "mpegts", "amr", "dts"):
        return None
    if stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None
