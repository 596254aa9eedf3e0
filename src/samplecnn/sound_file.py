"""Opens a path, the standard input or a binary file with libsndfile, and translates libsndfile's errors."""

import contextlib
import io
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from samplecnn import av_sound
from samplecnn.containers import ogg, signatures
from samplecnn.containers.joined import first_part, later_parts
from samplecnn.containers.splice import Pieces, Spliced
from samplecnn.errors import AudioError, SampleCNNError
from samplecnn.recordings import UNSUPPORTED, suffix_of
from samplecnn.sound import CallbackFile, SequentialFile, Sound, message_of
from samplecnn.system.storage import RemoteFile, address, is_remote
from samplecnn.truncation import caf_length, forgotten_length

Recording = str | os.PathLike[str] | BinaryIO
STDIN = "-"
AnySound = Sound | av_sound.AvSound


@contextlib.contextmanager
def open_recordings(source: Recording, keep: bool = False) -> Iterator[Iterator[AnySound]]:
    """Opens a path, "-" for the standard input, or a binary file; one that cannot seek is read into memory first.

    Args:
        source: the file.
        keep: see `Sound`.

    Yields:
        the recordings in it, one after the other; the next is searched for when the previous one has been read.

    Raises:
        AudioError: a folder, missing or empty; the message lacks the recording's name.
        OSError, soundfile.SoundFileError: untranslated; see `audio_errors`.
    """
    if not isinstance(source, str | os.PathLike):
        with contextlib.closing(_recordings(source, None, keep)) as recordings:
            yield recordings
    elif source == STDIN:
        with contextlib.closing(_recordings(sys.stdin.buffer, None, keep)) as recordings:
            yield recordings
    elif is_remote(source):
        with RemoteFile(source) as remote, contextlib.closing(_recordings(remote, None, keep)) as recordings:
            yield recordings
    elif Path(source).is_dir():
        raise AudioError("a folder, not a recording; name the files in it")
    else:
        path = Path(source)
        with path.open("rb", buffering=0) as file, contextlib.closing(_recordings(file, path, keep)) as recordings:
            yield recordings


def _recordings(file: Any, path: Path | None, keep: bool) -> Generator[AnySound]:
    if not file.seekable():
        file = io.BytesIO(file.read())
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise AudioError("empty, 0 bytes; download or copy it again")
    with _recording(file, path, size, keep) as sound:
        yield sound
        latest, kind = sound, sound.file.format
        links = [] if kind != "OGG" else sound.links if sound.size == size else ogg.links(file, size)
        later = later_parts(file, kind, size, sound.stopped, links)
    for number, pieces in enumerate(later, 2):
        part = Spliced(file, *pieces)
        try:
            with _recording(part, None, part.size, keep) as following:
                yield following
                latest = following
        except (AudioError, soundfile.LibsndfileError) as error:
            reason = str(error) if isinstance(error, AudioError) else _unreadable(error)
            if not keep:
                raise AudioError(f"part {number} of this joined file: {reason}") from error
            latest.problem = latest.problem or f"part {number} of this joined file is {reason.partition('; ')[0]}"


@contextlib.contextmanager
def _recording(file: Any, path: Path | None, size: int, keep: bool) -> Iterator[AnySound]:
    """The first recording of a file; if libsndfile refuses the header or finds no sound, with the header corrected."""
    file.seek(0)
    sound: SequentialFile | None = None
    pieces, problem = None, ""
    try:
        sound = _sequential(file, raw := CallbackFile(file), path)
        if sound.frames == 0:
            pieces, problem = _corrected(file, size)
    except soundfile.LibsndfileError as error:
        pieces, problem = _corrected(file, size)
        file.seek(0)
        if pieces is None:
            head = file.read(signatures.HEAD)
            by_name = path is not None and suffix_of(path.name) in UNSUPPORTED
            other = signatures.is_other_sound(head) or (by_name and not signatures.is_not_sound(head))
            if not other or not av_sound.available():
                raise _named(error, head) from error
            with contextlib.closing(av_sound.AvSound(file, path, size, keep)) as other_sound:
                yield other_sound
            return
    if pieces is not None:
        if sound is not None:
            sound.close()
        file = Spliced(file, *pieces)
        sound, size = SequentialFile(raw := CallbackFile(file)), file.size
    assert sound is not None
    with contextlib.closing(Sound(sound, raw, size, keep, problem)) as opened_sound:
        yield opened_sound


def _corrected(file: Any, size: int) -> tuple[Pieces | None, str]:
    """For a file that libsndfile refuses: pieces of it that libsndfile reads, and what is missing at its end."""
    patch = forgotten_length(file, size)
    if patch is not None:
        return _patched(size, *patch), ""
    patch = caf_length(file, size)
    if patch is not None:
        return _patched(size, *patch), "cut short: its end is missing"
    file.seek(0)
    if file.read(4) == ogg.MAGIC:
        links = ogg.links(file, size)
        if links and links[0].end < size:
            end = ogg.last_page(file, links[0]) if links[0].cut else b""
            return (range(links[0].end), end), ogg.CUT if links[0].cut else ""
    return first_part(file, size), ""


def _patched(size: int, offset: int, content: bytes) -> Pieces:
    return range(offset), content, range(offset + len(content), size)


def _sequential(file: Any, raw: "CallbackFile", path: Path | None) -> SequentialFile:
    """Opens a file without its name, since soundfile trusts the suffix of a name like x.raw. A plain file is read by
    libsndfile itself, which is faster than through Python.
    """
    try:
        return SequentialFile(file.fileno() if type(file) is io.FileIO else raw, closefd=False)
    except soundfile.LibsndfileError:
        # An mp3 after zeros or a malformed tag is not recognised by its content, but decoded by its suffix.
        if path is None or path.suffix.lower() != ".mp3":
            raise
        return SequentialFile(str(path))


@contextlib.contextmanager
def audio_errors(name: str) -> Iterator[None]:
    """Turns every error that a recording can cause into an AudioError with its name and a remedy."""
    try:
        yield
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error.__cause__
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file; check the path") from error
    except SampleCNNError as error:  # of object storage, with its address
        raise AudioError(str(error)) from error
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error}); check the file and the disk") from error
    except MemoryError as error:
        raise AudioError(f"{name}: too long for the memory; split it, or decode its first seconds only") from error
    except (RuntimeError, ValueError, TypeError) as error:  # libsndfile's are RuntimeErrors
        raise AudioError(f"{name}: {_unreadable(error)}") from error


def name_of(source: Any) -> str:
    """The name of a recording in messages."""
    if isinstance(source, str | os.PathLike):
        return address(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else "the given audio"


def _unreadable(error: Exception) -> str:
    """The problem and a remedy, from libsndfile's message."""
    message = message_of(error)
    if "not recognised" in message or "regular file" in message or "unknown format" in message:
        return "not audio of a known format (wav, flac, ogg, mp3, aiff, ...); convert it or leave it out"
    if isinstance(error, soundfile.LibsndfileError):
        return f"damaged ({message}); download or copy it again"
    return f"cannot be decoded ({type(error).__name__}: {message}); convert it or leave it out"


def _named(error: soundfile.LibsndfileError, head: bytes) -> Exception:
    """The error; or if the file is of a known format that libsndfile does not decode, an error that names it."""
    if not any(word in message_of(error) for word in ("recognised", "regular file", "unimplemented", "unknown")):
        return error
    explanation = signatures.explanation(head)
    if signatures.is_other_sound(head):
        explanation += ", or pip install 'samplecnn[av]'"
    return AudioError(explanation) if explanation else error
