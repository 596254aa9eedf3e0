"""Registry of the shard formats."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.shards import arrow
from samplecnn.shards.tfrecord import frames
from samplecnn.task import Task


@dataclass(frozen=True)
class Format:
    """A shard format.

    Args:
        version: part of a build's fingerprint.
        sample_bytes: bytes per sample on disk.
        shard_name: (split, number from 1, count) -> file name.
        writer: (path, task, split, columns) -> a context manager with `add(id, labels, segments, **columns)`.
        set_statistics: writes the final task, with mean and std, to a shard.
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
        # The original's records have no fields for the columns.
        lambda path, task, split, columns=(): frames.TFRecordWriter(path, task, whole_clips=split == "test"),
        lambda path, task: None,  # the task is not in the shards but in task.json
    ),
}
