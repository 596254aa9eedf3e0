"""What shards were built from, and whether files are still those that were opened.

build.json next to the shards holds a fingerprint (of the recordings, labels and options), the source and the seed.
Shards of earlier versions lack the source; TFRecords of the original have no build.json, and get a fingerprint of their
content.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.parsing import fields, file_name, or_null, read_object, table_of, text, whole

BUILT = "build.json"
SHOWN = 12  # characters of a fingerprint in messages
SAMPLED_BYTES = 1 << 16  # of the start and the end of each file

# What a build.json and a checkpoint hold of it; LATER are keys that earlier versions did not write.
RECORD = {
    "fingerprint": text(200),
    "source": or_null(file_name()),
    "seed": or_null(whole(-(1 << 64), 1 << 64)),
    "short": or_null(table_of(whole(0, 1 << 62))),
}
LATER = ("source", "seed", "short")
RECORD_RULE = fields(RECORD, optional=LATER)

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class BuildRecord:
    """What the shards in a folder were built from.

    Args:
        fingerprint: if it differs, so does what was built.
        source: resolved path of the folder or manifest, or the name of a published data set; None where unknown.
        seed: of the clips' order and the split; None where unknown.
        short: clips per split that were filled up by the task's padding; None where unknown.
        stamp: of the folder when this was read; a rebuilt folder has another.
    """

    fingerprint: str
    source: str | None = None
    seed: int | None = None
    short: dict[str, int] | None = None
    stamp: Stamp = (0, 0, 0)

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.source or 'an unrecorded source'}{seed}, fingerprint {self.fingerprint[:SHOWN]}"

    def to_dict(self) -> dict[str, Any]:
        """What is kept of it in a checkpoint."""
        return {"fingerprint": self.fingerprint, "source": self.source, "seed": self.seed}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BuildRecord":
        """The inverse of `to_dict`. Raises ValueError where it is none."""
        problem = RECORD_RULE(values, "")
        if problem:
            raise ValueError(problem)
        return cls(values["fingerprint"], values.get("source"), values.get("seed"))


def read_record(folder: Path) -> BuildRecord:
    """The record of the shards in a folder, which exists.

    Raises:
        SampleCNNError: a damaged build.json.
    """
    stamp = folder_stamp(folder)
    path = folder / BUILT
    if not path.exists():
        return BuildRecord(_fingerprint(folder), stamp=stamp)
    values = read_object(path, "build again with --force", RECORD_RULE)
    record = BuildRecord.from_dict(values)
    return BuildRecord(record.fingerprint, record.source, record.seed, values.get("short"), stamp)


def stamp_of(status: os.stat_result) -> Stamp:
    """Changes when another file takes a file's name, or it is written to."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def folder_stamp(folder: Path) -> Stamp:
    """Of build.json, which every build writes anew; of the folder where there is none."""
    try:
        return stamp_of((folder / BUILT).stat())
    except FileNotFoundError:
        return stamp_of(folder.stat())


def check_unchanged(path: Path, expected: Stamp, found: os.stat_result) -> None:
    """Raises SampleCNNError where a file that is opened again is not the one that was opened first."""
    if stamp_of(found) == expected:
        return
    if found.st_ino == expected[0] and found.st_size < expected[1]:
        raise SampleCNNError(f"{path}: shorter than when it was opened; build again with --force")
    raise changed_while_in_use(path)


def changed_while_in_use(path: Path) -> SampleCNNError:
    return SampleCNNError(f"{path}: the data set was built again or removed while it was in use; start again")


def check_same_build(stamps: Iterable[Stamp], folder: Path) -> None:
    """Raises SampleCNNError where files that were opened one after the other are of different builds."""
    if len(set(stamps)) > 1:
        raise changed_while_in_use(folder)


def source_of(spec: str) -> str:
    """How the source of a data set is recorded: a published data set by its name, any other by its resolved path."""
    from samplecnn.datasets import REGISTRY

    return spec if spec in REGISTRY else str(Path(spec).expanduser().resolve())


def is_same_source(one: str, other: str) -> bool:
    """Whether two recorded sources are one, also where one file system gives it two paths."""
    if one == other:
        return True
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def names_source(spec: str) -> bool:
    """Whether a data set is given as a path, and not only by the name under which it was built."""
    from samplecnn.datasets import REGISTRY

    if spec in REGISTRY:
        return False
    path = Path(spec).expanduser()
    return path.name != spec or os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a name is too long


def check_source(spec: str, record: BuildRecord, folder: Path, name: str) -> None:
    """Keeps shards that were built from another source of the same name from being used.

    Raises:
        UsageError: they were; both sources are named.
    """
    if record.source is None or not names_source(spec):
        return
    wanted = source_of(spec)
    if not is_same_source(wanted, record.source):
        raise UsageError(
            f"{folder} was built from {record.source}, not from {wanted}; build that into another --data-dir"
            + ("" if os.path.exists(name) else f", or name the data set {name} to use the shards as they are")  # noqa: PTH110
        )


def unrecorded_source(spec: str, record: BuildRecord, folder: Path) -> str | None:
    """A note on shards of an earlier version, whose source cannot be compared; None where there is nothing to note."""
    if record.source is not None or not names_source(spec) or not (folder / BUILT).exists():
        return None
    return (
        f"{folder} does not record what it was built from (earlier versions did not); it is used for {spec}. "
        f"`samplecnn build` with the options it was built with adds the record"
    )


def _fingerprint(folder: Path) -> str:
    """Of names and sizes of the files, and what they start and end with."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.tfrecord"), *folder.glob("*.arrow")]):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{path.name}\0{size}\n".encode("utf-8", "surrogateescape"))
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()
