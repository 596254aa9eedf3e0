"""Segments on disk: built once from recordings, then read by random access in training and evaluation."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.system.storage import is_remote

if TYPE_CHECKING:
    from samplecnn.shards.build_report import BuildReport
    from samplecnn.shards.builder import build, build_table
    from samplecnn.shards.segments import Segments

_MODULES = {"Segments": "segments", "build": "builder", "build_table": "builder", "BuildReport": "build_report"}
__all__ = ["BuildReport", "Segments", "build", "build_table", "open_split"]


def open_split(
    spec: str, data_dir: str | Path, split: str, skip_corrupt: bool = False, any_source: bool = False
) -> "Segments":
    """Opens the segments of one split of a built data set.

    Args:
        spec: the data set as passed to `build`, or its name; or a folder of TFRecords.
        data_dir: the folder of the data sets: DATA/<name>/arrow, or else DATA/<name>/tfrecord, is open_segments.
        split: "train", "val" or "test".
        skip_corrupt: skips damaged TFRecords instead of failing at the first (see `TFRecordSegments`).
        any_source: also accepts shards that were built from another source than `spec`, under the same name.

    Raises:
        UsageError: not built yet, built from another source of the same name, or an empty split.
        SampleCNNError: a shard is missing or damaged, or the data set is being replaced.
    """
    from samplecnn.datasets import SPLITS, dataset_name

    if split not in SPLITS:
        raise UsageError(f"split {split!r}: expected {', '.join(SPLITS)}")
    if holds_tfrecords(spec):
        return open_segments(_require_split(Path(spec), "tfrecord", spec, split), "tfrecord", split, skip_corrupt)
    name = dataset_name(spec)
    folder, format = built_folder(spec, data_dir, any_source)
    segments = open_segments(_require_split(folder, format, name, split), format, split, skip_corrupt)
    if len(segments) == 0:
        raise UsageError(_empty(name, split, folder))
    return segments


def built_folder(spec: str, data_dir: str | Path, any_source: bool = False) -> tuple[Path, str]:
    """The folder of a data set's shards, and their format. Args, Raises: see `open_split`."""
    from samplecnn.datasets import dataset_name
    from samplecnn.shards.identity import check_source, read_record

    name = dataset_name(spec)
    if is_remote(data_dir):
        from samplecnn.shards.mirror import local_copy

        data_dir = local_copy(data_dir, name)
    home = Path(data_dir) / name
    for format in ("arrow", "tfrecord"):
        if (home / format).is_dir():
            if not any_source:
                check_source(spec, read_record(home / format), home / format, name)
            return home / format, format
    half = any((home / f"{format}.building").is_dir() for format in ("arrow", "tfrecord"))
    state = "is only half built" if half else "is not built yet"
    raise UsageError(f"{name} {state} (no {home / 'arrow'}): run `samplecnn build {spec} --data-dir {data_dir}`")


def open_segments(folder: Path, format: str, split: str, skip_corrupt: bool) -> "Segments":
    """Opens the segments in a folder, with its build record, which must not change meanwhile."""
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
    """Whether a data set is a folder of TFRecords."""
    return any(Path(spec).glob("*.tfrecord"))


def _require_split(folder: Path, format: str, name: str, split: str) -> Path:
    """Returns the folder; raises UsageError if it has no shards of the split."""
    if not any(folder.glob(f"{split}-*.{format}")) and any(folder.glob(f"*.{format}")):
        raise UsageError(_empty(name, split, folder))
    return folder


def _empty(name: str, split: str, folder: Path) -> str:
    report = folder / "report.csv"
    return f"{name} has no clips in its {split} split" + (
        f"; {report} lists what was skipped" if report.exists() else ""
    )


def __getattr__(name: str) -> Any:
    """Imports lazily: decoding workers need only a part of this package."""
    if name in _MODULES:
        return getattr(import_module(f"samplecnn.shards.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.shards' has no attribute {name!r}")
