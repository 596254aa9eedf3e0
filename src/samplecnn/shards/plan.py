"""Assigns clips to shards, depending only on the recordings and the seed, not on the number of processes."""

import hashlib
import json
import math
import random
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from samplecnn.datasets.base import CLIP_COLUMNS, SPLITS, Clip, Table
from samplecnn.errors import UsageError
from samplecnn.shards.build_report import BuildIssue
from samplecnn.shards.formats import FORMATS, Format
from samplecnn.system import storage
from samplecnn.task import Padding, Task

SHARD_BYTES = 64 << 20  # target size for custom data sets
SAMPLED_FILES = 64  # recordings whose headers are read to estimate the mean length


@dataclass(frozen=True)
class Shard:
    """A shard of a split, with its clips in order."""

    name: str
    split: str
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is to be built.

    Args:
        task: the task, with the chosen padding.
        format: a name in FORMATS.
        shards: train, val, test.
        absent: recordings that are missing or empty, which is known before decoding.
        fingerprint: of the table, the recordings' sizes and times, the task and the seed; if it differs, so does the
            result.
        bytes: estimated size of the shards.
        seed: seed of the clips' order.
        source: source of the table, as returned by `identity.source_of`; None if unknown.
        accept_truncated: whether the decodable part of damaged recordings is kept.
        columns: those of CLIP_COLUMNS that any clip of the table has.
    """

    task: Task
    format: str
    measured: bool
    shards: tuple[Shard, ...]
    absent: tuple[BuildIssue, ...]
    fingerprint: str
    bytes: int
    seed: int = 0
    source: str | None = None
    accept_truncated: bool = False
    columns: tuple[str, ...] = ()

    @property
    def num_clips(self) -> int:
        return sum(len(shard.clips) for shard in self.shards)


def make_plan(
    table: Table,
    seed: int,
    padding: Padding,
    clips_per_shard: int | None,
    format: str,
    source: str | None = None,
    accept_truncated: bool = False,
) -> Plan:
    """Distributes the clips, shuffled, over shards of about `clips_per_shard` (None: of about 64 MB).

    Raises:
        UsageError: two clips with the same id, or no training clip.
    """
    task = replace(table.task, padding=padding)
    clips = sorted(table.clips, key=lambda clip: clip.id)  # the order of a folder's listing is undefined
    for one, other in pairwise(clips):
        if one.id == other.id:
            raise UsageError(f"{task.name}: two clips are named {one.id!r}; name each recording once")
    if not any(clip.split == "train" for clip in clips):
        raise UsageError(f"{task.name}: no clip is for training; assign some in the labels or omit the split")

    kind = FORMATS[format]
    digest = hashlib.sha256(json.dumps([kind.version, task.to_dict(), table.measured, seed, clips_per_shard]).encode())
    if accept_truncated:  # only then, so that builds without it keep their fingerprints
        digest.update(b"accept_truncated")
    columns = tuple(name for name in CLIP_COLUMNS if any(getattr(clip, name) for clip in clips))
    present: dict[str, list[Clip]] = {split: [] for split in SPLITS}
    absent: list[BuildIssue] = []
    for clip in clips:
        size, time, problem = _file_state(clip.path)
        more = "".join(f"\0{name} {getattr(clip, name)}" for name in columns)
        if clip.is_part:
            more += f"\0{clip.start!r} {clip.end!r}"
        row = f"{clip.id}\0{clip.split}\0{clip.labels}\0{clip.path.name}\0{size}\0{time}{more}\n"
        digest.update(row.encode("utf-8", "surrogateescape"))
        if problem:
            absent.append(BuildIssue(str(clip.path), clip.split, "skipped", problem))
        else:
            present[clip.split].append(clip)

    clip_bytes = _segments_per_clip(task, [clip for split in SPLITS for clip in present[split]]) * (
        kind.sample_bytes * task.window + task.num_classes + 64
    )
    per_shard = clips_per_shard or max(1, round(SHARD_BYTES / clip_bytes))
    shards = [shard for split in SPLITS for shard in _distribute(split, present[split], per_shard, seed, kind)]
    needed = round(clip_bytes * sum(map(len, present.values())))
    return Plan(
        task,
        format,
        table.measured,
        tuple(shards),
        tuple(absent),
        digest.hexdigest(),
        needed,
        seed,
        source,
        accept_truncated,
        columns,
    )


def _file_state(path: Path) -> tuple[int, int, str]:
    """A recording's size in bytes, its modification time in ns, and why it cannot be read, or ""."""
    if storage.is_remote(path):
        found = storage.status(path)
        if found is None:
            return -1, 0, "no such file; check the path"
        return found.st_size, found.st_mtime_ns, "" if found.st_size else "empty, 0 bytes; copy it again"
    try:
        status = path.stat()
    except FileNotFoundError:
        return -1, 0, "no such file; check the path"
    except (OSError, ValueError) as error:
        return -1, 0, f"cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
    return status.st_size, status.st_mtime_ns, "" if status.st_size else "empty, 0 bytes; download or copy it again"


def _distribute(split: str, clips: list[Clip], per_shard: int, seed: int, format: Format) -> list[Shard]:
    """Shuffles the clips, so that each shard is a sample of its split, and divides them evenly. A text seed gives the
    same order on any machine.
    """
    shuffled = list(clips)
    random.Random(f"{seed} {split}").shuffle(shuffled)
    count = max(1, len(clips) // per_shard) if clips else 0
    bounds = [len(clips) * number // count for number in range(count + 1)] if count else []
    return [
        Shard(format.shard_name(split, number + 1, count), split, tuple(shuffled[bounds[number] : bounds[number + 1]]))
        for number in range(count)
    ]


def _segments_per_clip(task: Task, clips: list[Clip]) -> float:
    """Exact if clips have a fixed length, else estimated from the headers of evenly spaced recordings."""
    if task.segments_per_clip is not None:
        return task.segments_per_clip
    import soundfile

    counts = []
    for clip in clips[:: max(1, len(clips) // SAMPLED_FILES)]:
        try:
            info = soundfile.info(str(clip.path))
        except (RuntimeError, TypeError, ValueError):
            continue  # the build reports what is wrong with it
        seconds = min(info.duration, 86400, math.inf if clip.end is None else clip.end) - clip.start
        counts.append(max(1, seconds * task.sample_rate // task.window))
    return sum(counts) / len(counts) if counts else 1
