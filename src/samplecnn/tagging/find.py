"""Which files to tag: those that are named, and the recordings in folders."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.recordings import Scan, listed
from samplecnn.shards.tfrecord.clips import is_record, record_files, record_names
from samplecnn.sound_file import STDIN


@dataclass(frozen=True)
class Found:
    """The files to tag, each once, in order; and notes on what was left out of the folders."""

    files: list[str]
    notes: list[str]


def listed_paths(source: str) -> list[str]:
    """The paths in a list: lines, or separated by NUL if it holds one (`find -print0`), as names may hold line breaks.

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
    """The files to tag: named files as they are, folders searched as `recordings.Scan` does.

    A named file is taken whatever its suffix, and one that does not exist too, so that it is reported where it belongs.
    "-" is the standard input. Of TFRecords every record is a file of its own, PATH#NUMBER; a folder of them counts for
    its TFRecords alone.

    Raises:
        UsageError: where not one recording is found.
    """
    files: dict[str, None] = {}
    scan = Scan()
    for path in paths:
        recorded = record_files(path)
        if recorded:
            files.update(dict.fromkeys(name for file in recorded for name in record_names(file)))
        elif Path(path).is_dir():
            files.update(dict.fromkeys(scan.recordings(path)))
        else:
            files[os.fspath(path)] = None
    notes = scan.notes()
    if not any(file == STDIN or os.path.exists(file) or is_record(file) for file in files):  # noqa: PTH110 - for 100,000 files a Path each takes its time
        names = listed([os.fspath(path) for path in paths])
        more = f" ({'; '.join(notes)})" if notes else ""
        raise UsageError(
            f"{names}: no recording there; give files that exist, or folders of wav, flac, ogg, mp3, aiff, ...{more}"
        )
    return Found(list(files), notes)
