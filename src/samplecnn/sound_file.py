"""Opening a recording for libsndfile, whatever it is given as, and what libsndfile's refusals mean."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from samplecnn.errors import AudioError
from samplecnn.truncation import forgotten_length, incomplete

Recording = str | os.PathLike[str] | BinaryIO
STDIN = "-"


class SequentialFile(soundfile.SoundFile):
    """Reads from the start to the end only. Left alone, soundfile seeks after every read, which costs an mp3 decoder
    the frames that it predicts from and which a flac stream of unknown length cannot do at all; it does not seek where
    it believes that it cannot.
    """

    def seekable(self) -> bool:
        return False


class Sound:
    """An open recording.

    Attributes:
        file: libsndfile's view of it.
        promised: frames that its header announces; a guess in some formats, and huge where the length is open.
    """

    def __init__(self, file: SequentialFile, raw: "_Nameless", size: int) -> None:
        self.file, self.raw, self.size = file, raw, size
        self.promised = file.frames

    def check_end(self, frames: int) -> None:
        """To be called when all frames are read, of which there were so many.

        Raises:
            OSError: reading had failed, which libsndfile takes for the end.
            AudioError: without the recording's name: its end is missing.
        """
        self.check_reads()
        reason = incomplete(self.raw.file, self.file.format, self.size, frames, self.promised)
        if reason:
            raise AudioError(reason)

    def check_reads(self) -> None:
        """Raises OSError where reading has failed, which libsndfile takes for the end."""
        if self.raw.error:
            raise self.raw.error


@contextlib.contextmanager
def opened(source: Recording) -> Iterator[Sound]:
    """Opens a path, "-" for the standard input, or a binary file; what cannot seek is read to its end first.

    Raises:
        AudioError: without the recording's name: a folder, missing or empty.
        OSError, soundfile.SoundFileError: as they come; see `explained`.
    """
    if not isinstance(source, str | os.PathLike):
        with _opened(source) as sound:
            yield sound
    elif source == STDIN:
        with _opened(sys.stdin.buffer) as sound:
            yield sound
    elif Path(source).is_dir():
        raise AudioError("a folder, not a recording; name the files in it")
    else:
        with Path(source).open("rb", buffering=0) as file, _opened(file, Path(source)) as sound:
            yield sound


@contextlib.contextmanager
def _opened(file: Any, path: Path | None = None) -> Iterator[Sound]:
    if not file.seekable():
        file = io.BytesIO(file.read())
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size == 0:
        raise AudioError("empty, 0 bytes; download or copy it again")
    raw = _Nameless(file)
    with _sequential(file, raw, path) as sound:
        patch = forgotten_length(file, size) if sound.frames == 0 and sound.format in ("WAV", "WAVEX") else None
        if patch is None:
            yield Sound(sound, raw, size)
            return
    patched = _Patched(file, *patch)
    patched.seek(0)
    with SequentialFile(patched) as sound:
        yield Sound(sound, patched, size)


def _sequential(file: Any, raw: "_Nameless", path: Path | None) -> SequentialFile:
    """Opened without its name, since soundfile trusts the suffix of a name like x.raw. libsndfile reads a plain file by
    itself, which is faster than through Python.
    """
    try:
        return SequentialFile(file.fileno() if type(file) is io.FileIO else raw, closefd=False)
    except soundfile.LibsndfileError:
        # An mp3 behind zeros or an odd tag is not recognised, but decoded where its name says what it is.
        if path is None or path.suffix.lower() != ".mp3":
            raise
        return SequentialFile(str(path))


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


class _Patched(_Nameless):
    """The same with some bytes in it replaced."""

    def __init__(self, file: Any, place: int, content: bytes) -> None:
        super().__init__(file)
        self.place, self.content = place, content

    def read(self, count: int) -> bytes:
        at = self.file.tell()
        data = super().read(count)
        first, last = max(self.place, at), min(self.place + len(self.content), at + len(data))
        if first >= last:
            return data
        middle = self.content[first - self.place : last - self.place]
        return data[: first - at] + middle + data[last - at :]


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turns every error that a recording can cause into an AudioError that names it and says what helps."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error.__cause__
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file; check the path") from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error}); check the file and its disk") from error
    except MemoryError as error:
        raise AudioError(f"{name}: too long for the memory; split it, or ask for its first seconds only") from error
    except (RuntimeError, ValueError, TypeError) as error:  # libsndfile's are RuntimeErrors
        raise AudioError(f"{name}: {_unreadable(error)}") from error


def name_of(source: Any) -> str:
    """What messages call a recording."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the given audio"


def _unreadable(error: Exception) -> str:
    """What is wrong and what helps, from libsndfile's message."""
    message = str(getattr(error, "error_string", error)).strip().rstrip(".")
    if "not recognised" in message or "regular file" in message or "unknown format" in message.lower():
        return "not audio of a known format (wav, flac, ogg, mp3, aiff, ...); convert it or leave it out"
    if isinstance(error, soundfile.LibsndfileError):
        return f"damaged ({message[:1].lower() + message[1:]}); download or copy it again"
    return f"cannot be decoded ({type(error).__name__}: {message}); convert it or leave it out"
