"""Finds the files to tag: the given files, and the recordings in the given folders."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.recordings import Scan, listed
from samplecnn.shards.tfrecord.clips import is_record, record_files, record_names
from samplecnn.sound_file import STDIN
from samplecnn.system import storage
from samplecnn.system.storage import address


@dataclass(frozen=True)
class Found:
    """The files to tag, in order and without duplicates; and notes on files in the folders that were skipped."""

    files: list[str]
    notes: list[str]


def listed_paths(source: str) -> list[str]:
    """Reads paths from a list, one per line, or separated by NUL if it contains one (`find -print0`), as names may
    contain line breaks.

    Args:
        source: a file, or "-" for the standard input.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"{source}: the list of files cannot be read ({error.strerror})") from error
    parts = content.split(b"\0") if b"\0" in content else [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part]


def find_files(paths: Sequence[str | Path]) -> Found:
    """The files to tag: given files, and the recordings that `recordings.Scan` finds in given folders.

    A given file is accepted with any suffix, and also if it does not exist, so that the error appears at its position.
    "-" is the standard input. Each record of a TFRecord is listed as PATH#NUMBER; in a folder with TFRecords everything
    else is ignored.

    Raises:
        UsageError: no recording is found.
    """
    files: dict[str, None] = {}
    scan = Scan()
    for path in paths:
        if storage.is_remote(path):
            files.update(dict.fromkeys(scan.remote_recordings(path) if storage.is_folder(path) else [address(path)]))
            continue
        recorded = record_files(path)
        if recorded:
            files.update(dict.fromkeys(name for file in recorded for name in record_names(file)))
        elif Path(path).is_dir():
            files.update(dict.fromkeys(scan.recordings(path)))
        else:
            files[os.fspath(path)] = None
    notes = scan.notes()
    if not any(file == STDIN or _exists(file) or is_record(file) for file in files):
        names = listed([os.fspath(path) for path in paths])
        more = f" ({'; '.join(notes)})" if notes else ""
        raise UsageError(
            f"{names}: no recordings found; give existing files, or folders of wav, flac, ogg, mp3, aiff, ...{more}"
        )
    return Found(list(files), notes)


def _exists(file: str) -> bool:
    if storage.is_remote(file):
        return storage.status(file) is not None
    return os.path.exists(file)  # noqa: PTH110 - a Path for each of 100,000 files is slow
