"""Writes fields into files: a copy is changed, compared with the file, and takes its place."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from samplecnn.errors import AudioError
from samplecnn.file_tags.fields import Fields, TagFile, open_tags
from samplecnn.file_tags.journal import Change, Journal
from samplecnn.file_tags.payload import sound_digest
from samplecnn.system.files import written_aside


def write_fields(path: str | Path, fields: Fields, journal: Journal | None = None) -> Change | None:
    """Sets fields of a file, unless they are so already. The file is whole at any moment, and its sound is not changed.

    Args:
        path: of the file; a link is followed.
        fields: values by name (`fields.FIELDS`); a field without values is removed.
        journal: gets the change before the file is replaced; None: nothing is written at all, as for a dry run.

    Returns:
        The change; None where there is nothing to change.

    Raises:
        AudioError: the file cannot be changed; the message begins with its name.
    """
    real = Path(os.path.realpath(path))
    try:
        with _readable():
            tags = open_tags(real)
            before = tags.get(list(fields))
            if before == fields:
                return None
            change = Change(str(real), before, fields, tags.has_tags)
            _check_writable(real)
        if journal is not None:
            _replace(real, lambda copy: _set(copy, fields), change, journal)
        return change
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from error


def undo_changes(changes: Iterable[Change], journal: Journal | None = None) -> Iterator[tuple[Change, str]]:
    """Gives fields the values that they had, from the last change to the first.

    Args:
        changes: as `read_changes` gives them.
        journal: gets these changes; None: nothing is written, as for a dry run.

    Yields:
        Each change, and why it was not undone: "" where it was, or where the file has the earlier values already.
    """
    for change in reversed(list(changes)):
        try:
            yield change, _undo(change, journal)
        except AudioError as error:
            yield change, str(error)


def _undo(change: Change, journal: Journal | None) -> str:
    path = Path(change.path)
    with _readable():
        found = open_tags(path).get(list(change.before))
        if found == change.before:
            return ""
        if found != change.after:
            return "its tags have been changed since then; correct them by hand"
        _check_writable(path)
        restored = Change(change.path, found, change.before, True)
    if journal is not None:
        _replace(path, lambda copy: _set(copy, change.before, remove=not change.had_tags), restored, journal)
    return ""


def _set(copy: Path, fields: Fields, remove: bool = False) -> None:
    tags = open_tags(copy)
    tags.set(fields)
    if remove and not _others(tags):
        tags.remove()
    else:
        tags.save()


def _others(tags: TagFile) -> bool:
    """Whether any field is left."""
    return bool(tags.file.tags)


def _replace(path: Path, change_copy: Callable[[Path], None], change: Change, journal: Journal) -> None:
    """Changes a copy, makes sure that it has the same sound and the new fields, and puts it in the file's place."""
    with _readable():
        sound = sound_digest(path)
        status = path.stat()
        with written_aside(path) as copy:
            shutil.copyfile(path, copy)
            try:
                change_copy(copy)
            except (AudioError, OSError):
                raise
            except Exception as error:  # as when the length in a header is wrong
                raise AudioError(
                    f"its tags cannot be written ({str(error) or type(error).__name__}); repair it"
                ) from error
            if sound_digest(copy) != sound:
                raise AudioError("its sound would be changed; it is left as it is")
            if open_tags(copy).get(list(change.after)) != change.after:
                raise AudioError("its format cannot hold these tags; it is left as it is")
            now = path.stat()
            if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise AudioError("it has been changed by another program just now; try again")
            journal.add(change)
        path.chmod(status.st_mode & 0o7777)


def _check_writable(path: Path) -> None:
    status = path.stat()
    if status.st_nlink > 1:
        raise AudioError(f"it has {status.st_nlink} names (hard links), which a new file would part; copy it first")
    if not os.access(path, os.W_OK):
        raise AudioError("it is read-only; allow writing")
    if not os.access(path.parent, os.W_OK):
        raise AudioError("its folder is read-only; allow writing")


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turns errors of the system and of mutagen into AudioErrors without the file's name."""
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError("no such file; check the path") from error
    except OSError as error:
        raise AudioError(f"cannot be written ({error.strerror or error}); check the file and the disk") from error
