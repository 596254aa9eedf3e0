"""One recording of an open file, decoded by libsndfile from its start to its end."""

import contextlib
import functools
import io
import math
from typing import Any

import numpy as np
import soundfile

from samplecnn.containers import ogg
from samplecnn.containers.joined import whole_stream
from samplecnn.containers.splice import Spliced
from samplecnn.errors import AudioError
from samplecnn.truncation import MP3_SLACK, REMEDY, fewer, incomplete

OPEN_FRAMES = 1 << 62  # a flac stream of unknown length declares more
BLOCK_FRAMES = 1152  # read at a time from a recording that may be damaged, so that only the damaged block is lost
SKIP_FRAMES = 1 << 18  # read at a time where frames are skipped
# Decoded before a position that is sought. Behind it every codec gives the samples that it gives from the start: mp3
# predicts from the frames before, and Opus takes 80 ms to converge.
PREROLL_SECONDS = 0.25


class SequentialFile(soundfile.SoundFile):
    """Reads from the start to the end only. By default soundfile seeks after every read, with which an mp3 decoder
    loses the frames that it predicts from and which a flac stream of unknown length does not support. soundfile does
    not seek in a file that claims not to be seekable.
    """

    def seekable(self) -> bool:
        return False


class Sound:
    """One recording of a file; nearly every file contains exactly one.

    Args:
        file: libsndfile's view of it.
        raw: the file's bytes.
        size: number of bytes.
        keep: keeps what can be decoded of a damaged recording; `problem` then explains what is missing.
        problem: why it is incomplete, if known before reading.

    Attributes:
        rate, channels: sample rate in Hz, number of channels.
        declared_frames: length in the header; an estimate in some formats, and very large if the length is unknown.
        problem: why the recording is incomplete; "" if it is complete, as far as that is known.
    """

    def __init__(
        self, file: SequentialFile, raw: "CallbackFile", size: int, keep: bool = False, problem: str = ""
    ) -> None:
        self.file, self.size, self.keep, self.problem = file, size, keep, problem
        self.raw: Any = raw  # only those methods of a file that are used
        self.rate, self.channels, self.declared_frames = file.samplerate, file.channels, file.frames
        self.count = 0  # frames read
        self._stopped: int | None = None  # the byte at which the decoder reached the end
        self._failed = self._exact = False

    def read(self, frames: int) -> np.ndarray:
        """The next frames, float32 [frames, channels]; fewer than asked for are the last ones.

        Raises:
            AudioError: they cannot be decoded and `keep` is not set; the message lacks the recording's name.
        """
        if self.file.format == "FLAC" and self.declared_frames < OPEN_FRAMES:
            frames = max(min(frames, self.declared_frames - self.count), 0)  # the rest is another recording
        data = self._read(frames)
        self.count += len(data)
        if len(data) < frames and self._stopped is None and not self._failed:
            self._stopped = self.raw.file.tell()
            if self.file.format == "MP3" and self._continued():
                data = np.concatenate((data, self.read(frames - len(data))))
        return data

    def skip(self, frames: int) -> int:
        """Leaves out the first frames, most of them without decoding them where the format can seek.

        Returns:
            frames that are left out; fewer than asked for where the recording ends before.

        Raises:
            AudioError: as `read`.
        """
        sought = frames - math.ceil(PREROLL_SECONDS * self.rate)
        if sought > 0 and frames < self.declared_frames < OPEN_FRAMES:
            with contextlib.suppress(soundfile.LibsndfileError):  # such as GSM, which cannot seek
                self.count = self.file.seek(sought)
        while self.count < frames:
            wanted = min(frames - self.count, SKIP_FRAMES)
            if len(self.read(wanted)) < wanted:
                break
        return self.count

    def _read(self, frames: int) -> np.ndarray:
        if not self.keep:
            try:
                return self.file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"damaged ({message_of(error)}); {REMEDY}") from error
        blocks = [np.zeros((0, self.channels), np.float32)]
        while frames and not self._failed:
            wanted = min(frames, BLOCK_FRAMES)
            try:
                blocks.append(self.file.read(wanted, dtype="float32", always_2d=True))
            except soundfile.LibsndfileError as error:  # this block is lost
                self._failed = True
                self.problem = self.problem or f"damaged: {message_of(error)}"
                break
            frames -= len(blocks[-1])
            if len(blocks[-1]) < wanted:
                break
        return np.concatenate(blocks)

    def _continued(self) -> bool:
        """Whether an mp3 continues after its estimated end; if so, replaces the decoder by one that knows it."""
        found = whole_stream(self.raw, self._stopped or 0)
        if found is None:
            return False
        pieces, self.declared_frames = found
        self._exact = True
        self.file.close()
        self.file = SequentialFile(CallbackFile(Spliced(self.raw, *pieces)))
        # If the length is known, decoders omit the encoder's delay at the start.
        left = self.count - max(self.declared_frames - self.file.frames, 0)
        while left > 0 and (skipped := len(self.file.read(min(left, SKIP_FRAMES), dtype="float32"))):
            left -= skipped
        return left <= 0

    def check_end(self) -> None:
        """Checks that the recording is complete; call it after the last frame.

        Raises:
            OSError: reading had failed, which libsndfile takes for the end.
            AudioError: the end is missing and `keep` is not set; the message lacks the recording's name.
        """
        self.check_reads()
        if self.file.format == "OGG":
            reason = ogg.incomplete(self.links[0], self.count, self.rate) if self.links else ""
        elif self._exact:
            reason = fewer(self.count, self.declared_frames) if self.count < self.declared_frames - MP3_SLACK else ""
        else:
            reason = incomplete(self.raw, self.file.format, self.size, self.count, self.declared_frames)
        self.problem = self.problem or reason
        if self.problem and not self.keep:
            raise AudioError(f"{self.problem}; {REMEDY}")

    def check_reads(self) -> None:
        """Raises OSError if reading has failed, which libsndfile takes for the end."""
        if self.raw.error:
            raise self.raw.error

    @functools.cached_property
    def links(self) -> list[ogg.Link]:
        """The links of an Ogg file."""
        return ogg.links(self.raw, self.size)

    def close(self) -> None:
        self.file.close()

    @property
    def stopped(self) -> int:
        """The byte at which the decoder reached the end."""
        return self.raw.file.tell() if self._stopped is None else self._stopped


class CallbackFile:
    """An open file for libsndfile's callbacks, which must not raise; it has no name (see `sound_file`)."""

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


def message_of(error: Exception) -> str:
    """libsndfile's message in lower case, without its prefix and full stop."""
    message = str(getattr(error, "error_string", error)).removeprefix("Error : ").strip().rstrip(".")
    return message[:1].lower() + message[1:]
