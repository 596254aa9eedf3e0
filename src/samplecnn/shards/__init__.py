"""How segments lie on disk: built from recordings once, read through memory maps ever after."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.shards.arrow import Segments
    from samplecnn.shards.builder import build, build_table
    from samplecnn.shards.report import BuildReport

_HOMES = {"Segments": "arrow", "build": "builder", "build_table": "builder", "BuildReport": "report"}
__all__ = ["BuildReport", "Segments", "build", "build_table", "open_split"]


def open_split(spec: str, data_dir: str | Path, split: str) -> "Segments":
    """The segments of one split of a data set that is built.

    Args:
        spec: the data set as `build` took it, or its name.
        data_dir: the folder that holds it.
        split: "train", "val" or "test".

    Raises:
        UsageError: not built yet, or nothing in this split.
        SampleCNNError: a shard is missing or damaged.
    """
    from samplecnn.datasets import SPLITS, dataset_name
    from samplecnn.shards.arrow import Segments

    if split not in SPLITS:
        raise UsageError(f"split {split!r}: expected {', '.join(SPLITS)}")
    name = dataset_name(spec)
    folder = Path(data_dir) / name / "arrow"
    command = f"samplecnn build {spec} --data-dir {data_dir}"
    if not folder.is_dir():
        half = (Path(data_dir) / name / "arrow.building").is_dir()
        state = "is only half built" if half else "is not built yet"
        raise UsageError(f"{name} {state} (no {folder}): run `{command}`")
    empty = f"{name} has no clips in its {split} split; {folder / 'report.csv'} lists what was skipped"
    if not any(folder.glob(f"{split}-*.arrow")) and any(folder.glob("*.arrow")):
        raise UsageError(empty)
    segments = Segments(folder, split)
    if len(segments) == 0:
        raise UsageError(empty)
    return segments


def __getattr__(name: str) -> Any:
    """Imports late: the workers that decode need but a part of this package."""
    if name in _HOMES:
        return getattr(import_module(f"samplecnn.shards.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.shards' has no attribute {name!r}")
