"""TFRecord files in the original's format: names, framing of records, and the writer.

A record is its length (uint64), a checksum of the length, the data, a checksum of the data; all little-endian. The
checksum is the masked CRC-32C (tensorflow/core/lib/io/record_writer.h). The data is described in `wire`.
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import crc32c
import numpy as np

from samplecnn.audio import from_int16
from samplecnn.shards.tfrecord.wire import Span, clip_example, segment_example
from samplecnn.task import Task

VERSION = "tfrecord 1"
HEAD, TAIL = struct.Struct("<QI"), struct.Struct("<I")
FRAME = HEAD.size + TAIL.size  # bytes in addition to the data


def shard_name(split: str, number: int, count: int) -> str:
    """The original's file name of shard `number` (from 1) of `count`."""
    return f"{split}-{number:04d}-{count:04d}.tfrecord"


def masked_crc(data: Any) -> int:
    """TFRecord's checksum: CRC-32C, masked so that data may itself contain checksums."""
    crc = crc32c.crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """Wraps data as a record."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, TAIL.pack(masked_crc(length)), data, TAIL.pack(masked_crc(data))))


class TFRecordWriter:
    """Writes one shard: an Example per segment, or with `whole_clips` a SequenceExample per clip.

    The samples are those of Arrow shards, int16 / 32768, as float32. Use as a context manager.
    """

    def __init__(self, path: str | Path, task: Task, whole_clips: bool) -> None:
        self.path, self.task, self.whole_clips = Path(path), task, whole_clips

    def add(self, id: str, labels: Sequence[int], segments: np.ndarray) -> None:
        """Adds a clip: its class indices and its segments, int16 [n, window]. The format has no field for ids."""
        row = np.zeros(self.task.num_classes, np.uint8)
        row[list(labels)] = 1
        if self.whole_clips:
            self.file.write(frame(clip_example(row.tobytes(), [_floats(segment) for segment in segments])))
            return
        for segment in segments:
            self.file.write(frame(segment_example(row.tobytes(), _floats(segment))))

    def __enter__(self) -> "TFRecordWriter":
        self.file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def _floats(segment: np.ndarray) -> bytes:
    return from_int16(segment).astype("<f4").tobytes()


class Record(NamedTuple):
    """Number of a record in its file, from 0, byte offset of its frame, and span of its data."""

    number: int
    offset: int
    data: Span


class Damage(NamedTuple):
    """A damaged record at byte `offset`: the problem (`what`), and the number of unusable bytes from there (`lost`)."""

    offset: int
    what: str
    lost: int


def records(buffer: Any) -> Iterator[Record | Damage]:
    """The records of a file, found by their headers, whose checksums are verified; the data is not read.

    After a damaged header the next record is expected where the header points, or where it would be if this record were
    as long as the previous one; if it is at neither offset, the rest of the file is lost.
    """
    size, at, number, before = len(buffer), 0, 0, 0
    while at < size:
        problem, length = _header(buffer, at, size)
        if not problem:
            yield Record(number, at, Span(at + HEAD.size, at + HEAD.size + length))
            before, at = length, at + FRAME + length
        else:
            candidates = [at + FRAME + guess for guess in (length, before) if guess]
            after = next(
                (offset for offset in candidates if offset < size and not _header(buffer, offset, size)[0]), size
            )
            yield Damage(at, problem, after - at)
            at = after
        number += 1


def _header(buffer: Any, at: int, size: int) -> tuple[str, int]:
    """The problem of the header at `at`, or "", and the data length that it states."""
    if size - at < FRAME:
        return "the file is cut off", 0
    length, crc = HEAD.unpack_from(buffer, at)
    if masked_crc(buffer[at : at + 8]) != crc:
        return "the checksum of its length is wrong", length
    if length > size - at - FRAME:
        return "the file is cut off", 0
    return "", length


def is_intact(buffer: Any, start: int, end: int) -> bool:
    """Whether a record's data, buffer[start:end], matches the checksum that follows."""
    (crc,) = TAIL.unpack_from(buffer, end)
    return masked_crc(memoryview(buffer)[start:end]) == crc
