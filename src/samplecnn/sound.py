"""One recording of an open file, decoded by libsndfile from its start to its end."""

import contextlib
import functools
import io
from typing import Any

import numpy as np
import soundfile

from samplecnn.containers import ogg
from samplecnn.containers.joined import whole_stream
from samplecnn.containers.splice import Spliced
from samplecnn.errors import AudioError
from samplecnn.truncation import ANEW, MP3_SLACK, fewer, incomplete

OPEN_FRAMES = 1 << 62  # a flac stream of unknown length promises more
BLOCK = 1152  # frames read at a time where a damaged block is left out and all before it is kept
SKIPPED = 1 << 18  # frames read at a time that are not wanted


class SequentialFile(soundfile.SoundFile):
    """Reads from the start to the end only. Left alone, soundfile seeks after every read, which costs an mp3 decoder
    the frames that it predicts from and which a flac stream of unknown length cannot do at all; it does not seek where
    it believes that it cannot.
    """

    def seekable(self) -> bool:
        return False


class Sound:
    """One recording of a file, being read; nearly every file holds one.

    Args:
        file: libsndfile's view of it.
        raw: the bytes.
        size: how many.
        keep: what can be decoded of a damaged recording is kept, and `problem` says why it is not all.
        problem: known before reading.

    Attributes:
        rate, channels: Hz, and how many.
        promised: frames that its header announces; a guess in some formats, and huge where the length is open.
        problem: why not all of it is there; "" where it is, as far as that is known.
    """

    def __init__(self, file: SequentialFile, raw: "Nameless", size: int, keep: bool = False, problem: str = "") -> None:
        self.file, self.size, self.keep, self.problem = file, size, keep, problem
        self.raw: Any = raw  # with those methods of a file that are used
        self.rate, self.channels, self.promised = file.samplerate, file.channels, file.frames
        self.count = 0  # frames read
        self._stopped: int | None = None  # the byte at which the decoder came to an end
        self._failed = self._exact = False

    def read(self, frames: int) -> np.ndarray:
        """The next frames, float32 [frames, channels]; fewer than asked for are the last ones.

        Raises:
            AudioError: without the recording's name: they cannot be decoded, and what can is not to be kept.
        """
        if self.file.format == "FLAC" and self.promised < OPEN_FRAMES:
            frames = max(min(frames, self.promised - self.count), 0)  # what follows its end is no part of it
        data = self._read(frames)
        self.count += len(data)
        if len(data) < frames and self._stopped is None and not self._failed:
            self._stopped = self.raw.file.tell()
            if self.file.format == "MP3" and self._continued():
                data = np.concatenate((data, self.read(frames - len(data))))
        return data

    def _read(self, frames: int) -> np.ndarray:
        if not self.keep:
            try:
                return self.file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(f"damaged ({message_of(error)}); {ANEW}") from error
        blocks = [np.zeros((0, self.channels), np.float32)]
        while frames and not self._failed:
            wanted = min(frames, BLOCK)
            try:
                blocks.append(self.file.read(wanted, dtype="float32", always_2d=True))
            except soundfile.LibsndfileError as error:  # of which the block is lost
                self._failed = True
                self.problem = self.problem or f"damaged: {message_of(error)}"
                break
            frames -= len(blocks[-1])
            if len(blocks[-1]) < wanted:
                break
        return np.concatenate(blocks)

    def _continued(self) -> bool:
        """Whether an mp3 continues behind its guessed end; its decoder is replaced by one that knows the length."""
        found = whole_stream(self.raw, self._stopped or 0)
        if found is None:
            return False
        pieces, self.promised = found
        self._exact = True
        self.file.close()
        self.file = SequentialFile(Nameless(Spliced(self.raw, *pieces)))
        # Where the length is known, decoders leave out the delay of the encoder at the start.
        left = self.count - max(self.promised - self.file.frames, 0)
        while left > 0 and (passed := len(self.file.read(min(left, SKIPPED), dtype="float32"))):
            left -= passed
        return left <= 0

    def check_end(self) -> None:
        """To be called when all frames are read.

        Raises:
            OSError: reading had failed, which libsndfile takes for the end.
            AudioError: without the recording's name: its end is missing, and what is there is not to be kept.
        """
        self.check_reads()
        if self.file.format == "OGG":
            reason = ogg.incomplete(self.links[0], self.count, self.rate) if self.links else ""
        elif self._exact:
            reason = fewer(self.count, self.promised) if self.count < self.promised - MP3_SLACK else ""
        else:
            reason = incomplete(self.raw, self.file.format, self.size, self.count, self.promised)
        self.problem = self.problem or reason
        if self.problem and not self.keep:
            raise AudioError(f"{self.problem}; {ANEW}")

    def check_reads(self) -> None:
        """Raises OSError where reading has failed, which libsndfile takes for the end."""
        if self.raw.error:
            raise self.raw.error

    @functools.cached_property
    def links(self) -> list[ogg.Link]:
        """Of an Ogg file."""
        return ogg.links(self.raw, self.size)

    def close(self) -> None:
        self.file.close()

    @property
    def stopped(self) -> int:
        """The byte at which the decoder came to the end."""
        return self.raw.file.tell() if self._stopped is None else self._stopped


class Nameless:
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


def message_of(error: Exception) -> str:
    """libsndfile's message, to be continued."""
    message = str(getattr(error, "error_string", error)).removeprefix("Error : ").strip().rstrip(".")
    return message[:1].lower() + message[1:]
