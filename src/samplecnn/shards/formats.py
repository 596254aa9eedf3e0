"""The formats that segments can be built in: a line each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.shards import arrow
from samplecnn.shards.tfrecord import frames
from samplecnn.task import Task


@dataclass(frozen=True)
class Format:
    """A format of segments on disk.

    Args:
        version: part of a build's fingerprint.
        sample_bytes: on disk.
        shard_name: (split, number from 1, count) -> file name.
        writer: (path, task, split, columns) -> a context manager with `add(id, labels, segments, **columns)`.
        set_statistics: gives a shard that was written without mean and std its final task.
    """

    version: str
    sample_bytes: int
    shard_name: Callable[[str, int, int], str]
    writer: Callable[..., Any]
    set_statistics: Callable[[Path, Task], None]


FORMATS = {
    "arrow": Format(
        arrow.FORMAT,
        2,
        arrow.shard_name,
        lambda path, task, split, columns=(): arrow.ShardWriter(path, task, columns),
        arrow.set_statistics,
    ),
    "tfrecord": Format(
        frames.VERSION,
        4,
        frames.shard_name,
        # The original's records have no place for the columns.
        lambda path, task, split, columns=(): frames.TFRecordWriter(path, task, whole_clips=split == "test"),
        lambda path, task: None,  # the shards do not hold it: task.json next to them does
    ),
}
