"""Which files to tag: those that are named, and the recordings in folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from samplecnn.errors import UsageError
from samplecnn.shards.tfrecord.clips import is_record, record_files, record_names


def find_files(paths: Sequence[str | Path]) -> list[str]:
    """The files to tag, each once, in order: named files as they are, folders searched through for recordings.

    In folders recordings are told by their suffix and sorted by path; hidden files and folders are left out. A named
    file is taken whatever its suffix, and one that does not exist too, so that it is reported where it belongs. Of
    TFRecords every record is a file of its own, PATH#NUMBER; a folder of them counts for its TFRecords alone.

    Raises:
        UsageError: where not one recording is found.
    """
    files: dict[str, None] = {}
    for path in paths:
        recorded = record_files(path)
        if recorded:
            files.update(dict.fromkeys(name for file in recorded for name in record_names(file)))
        elif Path(path).is_dir():
            files.update(dict.fromkeys(_recordings(path)))
        else:
            files[os.fspath(path)] = None
    if not any(os.path.exists(file) or is_record(file) for file in files):  # noqa: PTH110 - for 100,000 files a Path each takes its time
        names = _listed([os.fspath(path) for path in paths])
        raise UsageError(
            f"{names}: no recording there; give files that exist, or folders of wav, flac, ogg, mp3, aiff, ..."
        )
    return list(files)


def _recordings(folder: str | Path) -> Iterator[str]:
    from samplecnn.datasets.folder import SUFFIXES

    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
                yield os.path.join(parent, name)  # noqa: PTH118


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
