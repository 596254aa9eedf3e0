"""TFRecords as recordings: each record is a clip, cut into the windows of its data set.

Imported wherever recordings are found, so what reads TFRecords is imported on first use: 0.06 s.
"""

import mmap
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.errors import AudioError
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.shards.tfrecord.frames import Damage, Record
    from samplecnn.shards.tfrecord.wire import Clip

SUFFIX = ".tfrecord"
NAME = re.compile(r"(.+\.tfrecord)#(\d+)", re.DOTALL)


def record_files(path: str | Path) -> list[Path]:
    """The TFRecords of a path: the file itself, or those directly in a folder."""
    path = Path(path)
    if path.is_dir():
        return sorted(path.glob(f"*{SUFFIX}"))
    return [path] if path.suffix == SUFFIX and path.exists() else []


def record_names(path: Path) -> list[str]:
    """The names PATH#NUMBER, from 0, of all records of a file, including damaged ones."""
    try:
        count = len(_records(path))
    except OSError:
        count = 0
    return [f"{path}#{number}" for number in range(max(count, 1))]  # errors are reported when it is read


def is_record(source: object) -> bool:
    """Whether a name is one of `record_names`."""
    return isinstance(source, str) and NAME.fullmatch(source) is not None


def record_segments(name: str, task: Task) -> np.ndarray:
    """The segments of a record, with the same samples as in an evaluation, float32 [segments, window], not
    standardised.

    Args:
        name: PATH#NUMBER.
        task: the model's task.

    Raises:
        AudioError: no such record, a damaged one, or one with another window or sample rate than the model's.
    """
    from samplecnn.shards.tfrecord.reader import NOT_FINITE, task_of
    from samplecnn.shards.tfrecord.wire import parse

    match = NAME.fullmatch(name)
    assert match is not None  # the caller has checked `is_record`
    path = Path(match[1])
    try:
        index = _records(path)
        if int(match[2]) >= len(index):
            raise AudioError(
                f"{name}: there are {len(index)} records in this file; copy it again if it should hold more"
            )
        record = index[int(match[2])]
        data = _data(path, record)
        clip = parse(data, 0, len(data))
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error}); check the path") from error
    except ValueError as error:
        raise AudioError(f"{name}: damaged record at byte {record.offset}: {error}; copy the file again") from error
    _check_fit(name, task, clip, task_of(path.parent, clip.label.length, task.window))
    segments = np.stack([np.frombuffer(data, "<f4", task.window, span.start) for span in clip.segments])
    if not np.isfinite(segments).all():
        raise AudioError(f"{name}: {NOT_FINITE}; build the TFRecords again")
    return segments


def _check_fit(name: str, task: Task, clip: "Clip", stored: Task | None) -> None:
    samples = clip.segments[0].length / 4
    if samples != task.window:
        raise AudioError(f"{name}: its segments have {samples:g} samples; this model takes {task.window}")
    if stored is not None and stored.sample_rate != task.sample_rate:
        raise AudioError(f"{name}: its sample rate is {stored.sample_rate} Hz; this model takes {task.sample_rate}")


def _data(path: Path, record: "Record | Damage") -> bytes:
    """A record's data, read rather than mapped, since the file may be replaced during a long run."""
    from samplecnn.shards.tfrecord.compressed import open_decompressed
    from samplecnn.shards.tfrecord.frames import TAIL, Damage, is_intact
    from samplecnn.shards.tfrecord.reader import BAD_DATA

    if isinstance(record, Damage):
        raise ValueError(record.what)
    with open_decompressed(path) as file:
        file.seek(record.data.start)
        read = file.read(record.data.length + TAIL.size)
    if len(read) < record.data.length + TAIL.size or not is_intact(read, 0, record.data.length):
        raise ValueError(BAD_DATA)
    return read[: record.data.length]


def _records(path: Path) -> "list[Record | Damage]":
    status = path.stat()
    return _index(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _index(path: Path, size: int, changed: int) -> "list[Record | Damage]":
    """The records of a file, cached until it changes."""
    if size == 0:
        return []
    from samplecnn.shards.tfrecord.compressed import open_decompressed
    from samplecnn.shards.tfrecord.frames import records

    with open_decompressed(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return list(records(whole))
