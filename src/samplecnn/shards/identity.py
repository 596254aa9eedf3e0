"""Identity of shards: what they were built from, and whether open files have been replaced.

build.json next to the shards contains a fingerprint (of the recordings, labels and options), the source and the seed.
Shards of earlier versions lack the source. For TFRecords of the original, which have no build.json, the fingerprint is
computed from their content.
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
SAMPLED_BYTES = 1 << 16  # bytes hashed at the start and at the end of each file

# Fields in build.json and in checkpoints; earlier versions did not write those in LATER.
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
    """Identity of the shards in a folder.

    Args:
        fingerprint: differs if the content differs.
        source: resolved path of the folder or manifest, or the name of a published data set; None if unknown.
        seed: seed of the clips' order and the split; None if unknown.
        short: clips per split that were extended by the task's padding; None if unknown.
        stamp: stamp of the folder when the record was read; a rebuilt folder has another one.
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
        """The fields that a checkpoint contains."""
        return {"fingerprint": self.fingerprint, "source": self.source, "seed": self.seed}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BuildRecord":
        """The inverse of `to_dict`. Raises ValueError for invalid values."""
        problem = RECORD_RULE(values, "")
        if problem:
            raise ValueError(problem)
        return cls(values["fingerprint"], values.get("source"), values.get("seed"))


def read_record(folder: Path) -> BuildRecord:
    """Reads the record of the shards in an existing folder.

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
    """Changes when a file is replaced or modified."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def folder_stamp(folder: Path) -> Stamp:
    """The stamp of build.json, which every build rewrites; without it, the stamp of the folder."""
    try:
        return stamp_of((folder / BUILT).stat())
    except FileNotFoundError:
        return stamp_of(folder.stat())


def check_unchanged(path: Path, expected: Stamp, found: os.stat_result) -> None:
    """Raises SampleCNNError if a file differs from the one that was opened first."""
    if stamp_of(found) == expected:
        return
    if found.st_ino == expected[0] and found.st_size < expected[1]:
        raise SampleCNNError(f"{path}: shorter than when it was opened; build again with --force")
    raise changed_while_in_use(path)


def changed_while_in_use(path: Path) -> SampleCNNError:
    return SampleCNNError(f"{path}: the data set was built again or removed while it was in use; start again")


def check_same_build(stamps: Iterable[Stamp], folder: Path) -> None:
    """Raises SampleCNNError if files belong to different builds."""
    if len(set(stamps)) > 1:
        raise changed_while_in_use(folder)


def source_of(spec: str) -> str:
    """The recorded source of a data set: the name of a published data set, else the resolved path."""
    from samplecnn.datasets import REGISTRY

    return spec if spec in REGISTRY else str(Path(spec).expanduser().resolve())


def is_same_source(one: str, other: str) -> bool:
    """Whether two recorded sources are the same, also if one is given by two paths."""
    if one == other:
        return True
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def names_source(spec: str) -> bool:
    """Whether a data set is given as a path rather than by the name under which it was built."""
    from samplecnn.datasets import REGISTRY

    if spec in REGISTRY:
        return False
    path = Path(spec).expanduser()
    return path.name != spec or os.path.exists(path)  # noqa: PTH110 - Path.exists raises for names that are too long


def check_source(spec: str, record: BuildRecord, folder: Path, name: str) -> None:
    """Refuses shards that were built from another source with the same name.

    Raises:
        UsageError: another source; the message gives both.
    """
    if record.source is None or not names_source(spec):
        return
    wanted = source_of(spec)
    if not is_same_source(wanted, record.source):
        raise UsageError(
            f"{folder} was built from {record.source}, not from {wanted}; build that into another --data-dir"
            + ("" if os.path.exists(name) else f", or pass {name} as the data set to use these shards")  # noqa: PTH110
        )


def unrecorded_source(spec: str, record: BuildRecord, folder: Path) -> str | None:
    """A note on shards of an earlier version, whose source cannot be compared; None if there is nothing to note."""
    if record.source is not None or not names_source(spec) or not (folder / BUILT).exists():
        return None
    return (
        f"{folder} was built by an earlier version, which did not record the source; it is used for {spec}. "
        f"`samplecnn build` with the same options adds the source"
    )


def _fingerprint(folder: Path) -> str:
    """Hash of the files' names, sizes, and first and last bytes."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.tfrecord"), *folder.glob("*.arrow")]):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{path.name}\0{size}\n".encode("utf-8", "surrogateescape"))
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()
