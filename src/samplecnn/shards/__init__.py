"""Segments on disk: built from recordings once, then read at random in training and evaluation."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.shards.build_report import BuildReport
    from samplecnn.shards.builder import build, build_table
    from samplecnn.shards.segments import Segments

_HOMES = {"Segments": "segments", "build": "builder", "build_table": "builder", "BuildReport": "build_report"}
__all__ = ["BuildReport", "Segments", "build", "build_table", "open_split"]


def open_split(
    spec: str, data_dir: str | Path, split: str, skip_corrupt: bool = False, any_source: bool = False
) -> "Segments":
    """The segments of one split of a data set that is built.

    Args:
        spec: the data set as `build` took it, or its name; or a folder of TFRecords.
        data_dir: the folder that holds it: DATA/<name>/arrow, or else DATA/<name>/tfrecord.
        split: "train", "val" or "test".
        skip_corrupt: leaves out damaged TFRecords instead of failing at the first (see `TFRecordSegments`).
        any_source: also opens shards that were built from another source than `spec`, under the same name.

    Raises:
        UsageError: not built yet, built from another source of the same name, or nothing in this split.
        SampleCNNError: a shard is missing or damaged, or the data set is being replaced.
    """
    from samplecnn.datasets import SPLITS, dataset_name

    if split not in SPLITS:
        raise UsageError(f"split {split!r}: expected {', '.join(SPLITS)}")
    if holds_tfrecords(spec):
        return opened(_checked(Path(spec), "tfrecord", spec, split), "tfrecord", split, skip_corrupt)
    name = dataset_name(spec)
    folder, format = built_folder(spec, data_dir, any_source)
    segments = opened(_checked(folder, format, name, split), format, split, skip_corrupt)
    if len(segments) == 0:
        raise UsageError(_empty(name, split, folder))
    return segments


def built_folder(spec: str, data_dir: str | Path, any_source: bool = False) -> tuple[Path, str]:
    """The folder of a data set's shards, and their format. Args, Raises: as `open_split`, without the split."""
    from samplecnn.datasets import dataset_name
    from samplecnn.shards.identity import check_source, read_record

    name = dataset_name(spec)
    home = Path(data_dir) / name
    for format in ("arrow", "tfrecord"):
        if (home / format).is_dir():
            if not any_source:
                check_source(spec, read_record(home / format), home / format, name)
            return home / format, format
    half = any((home / f"{format}.building").is_dir() for format in ("arrow", "tfrecord"))
    state = "is only half built" if half else "is not built yet"
    raise UsageError(f"{name} {state} (no {home / 'arrow'}): run `samplecnn build {spec} --data-dir {data_dir}`")


def opened(folder: Path, format: str, split: str, skip_corrupt: bool) -> "Segments":
    """The segments in a folder, with the record of its build, which must be the same before and after."""
    from samplecnn.shards.arrow_segments import ArrowSegments
    from samplecnn.shards.identity import check_same_build, folder_stamp, read_record
    from samplecnn.shards.tfrecord.reader import TFRecordSegments

    record = read_record(folder)
    if format == "tfrecord":
        segments: Segments = TFRecordSegments(folder, split, skip_corrupt)
    else:
        segments = ArrowSegments(folder, split)
    check_same_build([record.stamp, folder_stamp(folder)], folder)
    segments.record = record
    return segments


def holds_tfrecords(spec: str) -> bool:
    """Whether a data set is given as a folder of TFRecords."""
    return any(Path(spec).glob("*.tfrecord"))


def _checked(folder: Path, format: str, name: str, split: str) -> Path:
    """The folder, if it holds the split."""
    if not any(folder.glob(f"{split}-*.{format}")) and any(folder.glob(f"*.{format}")):
        raise UsageError(_empty(name, split, folder))
    return folder


def _empty(name: str, split: str, folder: Path) -> str:
    report = folder / "report.csv"
    return f"{name} has no clips in its {split} split" + (
        f"; {report} lists what was skipped" if report.exists() else ""
    )


def __getattr__(name: str) -> Any:
    """Imports late: workers that decode need only a part of this package."""
    if name in _HOMES:
        return getattr(import_module(f"samplecnn.shards.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.shards' has no attribute {name!r}")
