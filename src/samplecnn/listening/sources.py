"""Where live sound comes from: recordings, raw PCM or WAV on the standard input, addresses of streams."""

import io
import math
import queue
import sys
import threading
import time
import wave
from collections.abc import Iterator
from typing import IO, Protocol, cast

import numpy as np

from samplecnn.audio import INT16_SCALE, stream
from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import require

BLOCK_SECONDS = 0.05  # of sound that is passed on at a time
UNKNOWN_LENGTH = 0x7FFF0000  # bytes in a WAV header from which on it means: as long as it takes
# Formats of raw samples, named as in ffmpeg and ALSA: their type, and what they are scaled by.
PCM_FORMATS: dict[str, tuple[str, float]] = {
    "s16le": ("<i2", 1 / INT16_SCALE),
    "s32le": ("<i4", 1 / (1 << 31)),
    "f32le": ("<f4", 1.0),
    "u8": ("u1", 1 / 128),
}
WIDTHS = {2: "s16le", 4: "s32le"}  # formats by bytes of a sample
MAX_WAITING_SECONDS = 10.0  # of a client's sound that waits to be scored; what comes on top is dropped


class Source(Protocol):
    """Sound that arrives.

    Attributes:
        name: for messages.
        rate: Hz.
        channels: of its blocks.
        live: it goes on whether or not anybody listens, so its times are also times of day.
        lost: seconds of sound that could not be kept because listening was too slow.
    """

    name: str
    rate: int
    channels: int
    live: bool
    lost: float

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 [frames, channels] in [-1, 1], until the sound ends.

        Raises:
            AudioError: it cannot be read, or it breaks off.
        """
        ...


class RecordingSource:
    """A recording, at full speed or as fast as it was recorded.

    Args:
        path: of the recording; any format that `tag` reads.
        sample_rate: Hz that it is resampled to.
        realtime: blocks are given when their sound would have been heard.
    """

    channels, live, lost = 1, False, 0.0

    def __init__(self, path: str, sample_rate: int, realtime: bool = False) -> None:
        self.name, self.rate, self.realtime = path, sample_rate, realtime

    def blocks(self) -> Iterator[np.ndarray]:
        size = max(round(BLOCK_SECONDS * self.rate), 1)
        begun, given = time.monotonic(), 0
        for piece in stream(self.name, self.rate):
            for first in range(0, len(piece), size):
                block = piece[first : first + size]
                given += len(block)
                if self.realtime:
                    time.sleep(max(begun + given / self.rate - time.monotonic(), 0))
                yield block[:, None]


class PcmSource:
    """Raw samples from an open file, or a WAV file, whose header is then believed.

    Args:
        file: binary; by default the standard input.
        rate: Hz of raw samples.
        channels: of raw samples, interleaved.
        format: of raw samples, a name in PCM_FORMATS.

    Raises:
        UsageError: an unknown format, or a terminal in place of sound.
        AudioError: a WAV header that cannot be used.
    """

    lost = 0.0

    def __init__(
        self,
        file: io.RawIOBase | io.BufferedReader | None = None,
        rate: int = 16_000,
        channels: int = 1,
        format: str = "s16le",
    ) -> None:
        if format not in PCM_FORMATS:
            raise UsageError(f"format {format!r} is not known; use {', '.join(PCM_FORMATS)}")
        if file is None:
            if sys.stdin is None or sys.stdin.isatty():
                raise UsageError("-: the standard input is a terminal; pipe sound into it, for example from arecord")
            file = sys.stdin.buffer  # type: ignore[assignment]
            assert file is not None
        self.name, self.live = "-", True
        self.rate, self.channels, self.format = rate, channels, format
        self._left = math.inf  # bytes of sound to come
        self._file: io.BufferedReader = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
        if self._file.peek(4)[:4] in (b"RIFF", b"RIFX"):
            self._read_header()

    def _read_header(self) -> None:
        try:
            header = wave.open(cast(IO[bytes], _Forward(self._file)), "rb")  # noqa: SIM115 - stdin stays open
            self.rate, self.channels = header.getframerate(), header.getnchannels()
            width = header.getsampwidth()
        except (wave.Error, EOFError, OSError) as error:
            raise AudioError(f"-: a WAV header that cannot be read ({error}); send raw samples") from error
        known = {1: "u8", 2: "s16le", 4: "s32le"}
        if width not in known:
            raise AudioError(f"-: WAV with samples of {8 * width} bits; send 16 bits, or raw samples")
        self.format = known[width]
        length = header.getnframes() * width * self.channels
        self._left = length if length < UNKNOWN_LENGTH else math.inf

    def blocks(self) -> Iterator[np.ndarray]:
        kind, scale = PCM_FORMATS[self.format]
        frame = np.dtype(kind).itemsize * self.channels
        size = max(round(BLOCK_SECONDS * self.rate), 1) * frame
        rest = b""
        while data := self._file.read1(int(min(size, self._left))):
            self._left -= len(data)
            data = rest + data
            whole = len(data) // frame * frame
            data, rest = data[:whole], data[whole:]
            if not data:
                continue
            samples = np.frombuffer(data, kind).astype(np.float32)
            if self.format == "u8":
                samples -= 128
            yield (samples * np.float32(scale)).reshape(-1, self.channels)


class _Forward:
    """A file that cannot be rewound: of such, `wave` reads the header and nothing behind it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(size)


class UrlSource:
    """A stream at an address (HTTP, RTSP, ...) by PyAV, connected again when it breaks off.

    Args:
        url: its address.
        sample_rate: Hz that it is resampled to.
        attempts: connections in a row that may fail.
        pause: seconds before the second attempt; doubled for each further one.

    Raises:
        MissingExtra: PyAV is not installed.
        UsageError: not an address.
    """

    channels, live, lost = 1, True, 0.0
    TIMEOUT = 10.0  # seconds without an answer

    def __init__(self, url: str, sample_rate: int, attempts: int = 5, pause: float = 1.0) -> None:
        require("samplecnn listen --url", "av")
        if "://" not in url:
            raise UsageError(f"--url {url}: not an address, such as http://host/stream.mp3 or rtsp://host/camera")
        self.name, self.rate, self.attempts, self.pause = url, sample_rate, attempts, pause

    def blocks(self) -> Iterator[np.ndarray]:
        import av

        failures = 0
        while True:
            problem = "it has ended"
            try:
                with av.open(self.name, timeout=self.TIMEOUT) as container:
                    if not container.streams.audio:
                        raise AudioError(f"{self.name}: has no sound in it; give another address")
                    resampler = av.AudioResampler("flt", "mono", self.rate)
                    for frame in container.decode(audio=0):
                        for part in resampler.resample(frame):
                            failures = 0
                            yield part.to_ndarray().reshape(-1, 1)
                    if container.size > 0 or container.duration is not None:  # a recording, heard to its end
                        return
            except av.error.FFmpegError as error:
                problem = error.strerror or str(error)
            failures += 1
            if failures >= self.attempts:
                raise AudioError(f"{self.name}: {problem}, {failures} times in a row; check the address")
            time.sleep(self.pause * 2 ** (failures - 1))


class ClientSound:
    """The sound of one stream of one client: a source, filled by another thread.

    Args:
        name: of the client.
        rate, width, channels: Hz, bytes of a sample, samples of a frame.

    Raises:
        UsageError: values that cannot be.
    """

    live = True

    def __init__(self, name: str, rate: int, width: int, channels: int) -> None:
        values = (rate, width, channels)
        if not all(isinstance(value, int) for value in values):
            raise UsageError(f"{name}: sound with rate, width and channels {values}; these are whole numbers")
        if not (1000 <= rate <= 384_000 and width in WIDTHS and 1 <= channels <= 8):
            raise UsageError(
                f"{name}: sound of {rate} Hz, {8 * width} bits, {channels} channels; send 1 to 384 kHz, 16 or 32 bits, "
                "1 to 8 channels"
            )
        self.name, self.rate, self.width, self.channels = name, rate, width, channels
        self.lost = 0.0
        self._waiting = 0  # bytes in the queue
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    @property
    def format(self) -> tuple[int, int, int]:
        return self.rate, self.width, self.channels

    def put(self, data: bytes) -> None:
        """Adds samples, or counts them as lost if too much is waiting."""
        second = self.rate * self.width * self.channels
        with self._lock:
            if self._waiting + len(data) > MAX_WAITING_SECONDS * second:
                self.lost += len(data) / second
                return
            self._waiting += len(data)
        self._queue.put(data)

    def end(self) -> None:
        self._queue.put(None)

    def blocks(self) -> Iterator[np.ndarray]:
        kind, scale = PCM_FORMATS[WIDTHS[self.width]]
        frame, rest = self.width * self.channels, b""
        while (data := self._queue.get()) is not None:
            with self._lock:
                self._waiting -= len(data)
            data = rest + data
            whole = len(data) // frame * frame
            rest = data[whole:]
            if whole:
                samples = np.frombuffer(data[:whole], kind).astype(np.float32) * np.float32(scale)
                yield samples.reshape(-1, self.channels)
