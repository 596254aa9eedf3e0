"""The files of an index.

    settings.json               what made the index (`settings`)
    files.parquet               a row for each file; the current state, up to part NEXT - 1
    files-N.parquet             files of part N >= NEXT, of an update that is running or was interrupted
    windows-N.parquet           a row for each window of part N: recording, start, end, a score for each class
    embeddings-N.npy            the windows' embeddings in the same order, records of `packing.record_type`
    journal-N.bin               recordings that will become part N (`journal`)

Part N is written windows first and complete once files-N.parquet is there. Every file is written aside and renamed, and
files.parquet names the rows of windows that belong to each file, so the folder always shows one consistent state.
Windows that no file refers to are leftovers, which the next update removes.
"""

import json
import re
from pathlib import Path

import pyarrow as pa

from samplecnn import __version__
from samplecnn.index.settings import FORMAT_VERSION, IndexSettings
from samplecnn.system.files import sweep
from samplecnn.tagging.writers import column_names

FILES = "files.parquet"
PART = re.compile(r"(files|windows|embeddings|journal)-(\d{6,9})\.(parquet|npy|bin)")
RECORDINGS = 1 << 24  # numbers of recordings that a part can give
PART_BYTES = 16 << 20  # of a journal, after which its recordings become a part
FIXED = (
    ("path", pa.string()),  # absolute; what is not UTF-8 in it is escaped
    ("raw_path", pa.binary()),  # the bytes of such a path; else null
    ("seconds", pa.float64()),
    ("error", pa.string()),
    ("silent", pa.bool_()),
    ("missing", pa.string()),  # why only a part of a damaged recording was tagged; else ""
    ("cancels", pa.bool_()),
    ("deleted", pa.bool_()),
    ("size", pa.int64()),
    ("mtime_ns", pa.int64()),
    ("sha256", pa.string()),
    ("engine", pa.string()),
    ("recording", pa.int64()),  # number of what was heard: copies of a file share it
    ("windows", pa.int32()),
    ("samples", pa.int64()),
    ("part", pa.int32()),
    ("row", pa.int64()),  # of its first window in the part
)
WINDOW_FIXED = (("recording", pa.int64()), ("start", pa.float64()), ("end", pa.float64()))


def files_schema(settings: IndexSettings, following: int) -> pa.Schema:
    """The columns of files; `following` is the number of the next part."""
    about = {
        "format_version": FORMAT_VERSION,
        "samplecnn": __version__,
        "next": following,
        "classes": list(settings.task.classes),
        **settings.about(),
    }
    return pa.schema([*FIXED, *_class_columns(settings)], metadata={"samplecnn": json.dumps(about).encode()})


def windows_schema(settings: IndexSettings) -> pa.Schema:
    return pa.schema([*WINDOW_FIXED, *_class_columns(settings)])


def _class_columns(settings: IndexSettings) -> list[tuple[str, pa.DataType]]:
    """A column for each class, of the same name in both tables."""
    others = [name for name, _ in (*FIXED, *WINDOW_FIXED)]
    return [(name, pa.float32()) for name in column_names(others, settings.task.classes)]


def part_file(folder: Path, kind: str, number: int) -> Path:
    suffix = {"files": "parquet", "windows": "parquet", "embeddings": "npy", "journal": "bin"}[kind]
    return folder / f"{kind}-{number:06d}.{suffix}"


def part_numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of the parts of a kind ("files", "windows", "embeddings", "journal") that are there, ascending."""
    matches = (PART.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[2]) for match in matches if match and match[1] == kind)


def raw_path(path: str) -> bytes | None:
    """The bytes of a path that is not UTF-8; None for one that is."""
    return path.encode("utf-8", "surrogateescape") if escaped(path) != path else None


def escaped(text: str) -> str:
    """A text as UTF-8; bytes of a path that are not UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def remove_leftovers(folder: Path, following: int, parts: set[int]) -> None:
    """Removes what no file refers to: half-written files, and windows that are not of one of the `parts`.

    Args:
        folder: of the index.
        following: number of the next part.
        parts: whose windows files refer to.
    """
    sweep(folder)
    for path in list(folder.iterdir()):
        match = PART.fullmatch(path.name)
        if match is None:
            continue
        kind, number = match[1], int(match[2])
        stale = number < following if kind in ("files", "journal") else number not in parts
        if stale:
            path.unlink(missing_ok=True)
