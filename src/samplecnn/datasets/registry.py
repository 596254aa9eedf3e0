"""The data sets that can be named on the command line, and how a name, folder or manifest becomes a data set.

A new data set is a module with a class that has the attributes of `DataSet`, and one line in `_DATA_SETS`.
Nothing here imports torch, reads a label file or looks for recordings, so that a command line can list the names.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samplecnn.datasets.base import DataSet, Table
from samplecnn.datasets.custom import CustomOptions, slug
from samplecnn.datasets.dcs import Dcase2017
from samplecnn.datasets.folder import Folder
from samplecnn.datasets.generated import Demo
from samplecnn.datasets.manifest import Manifest
from samplecnn.datasets.manifest_reader import endings, is_manifest_name, stem_of
from samplecnn.datasets.mtt import MagnaTagATune
from samplecnn.datasets.scd import SpeechCommands
from samplecnn.errors import UsageError
from samplecnn.task import Task

_DATA_SETS: tuple[DataSet, ...] = (
    MagnaTagATune(),
    SpeechCommands(),
    Dcase2017(),
    Demo(),
)
REGISTRY: dict[str, DataSet] = {dataset.name: dataset for dataset in _DATA_SETS}


ADJUSTABLE = ("sample_rate", "window")  # options of a registered data set; the rest of its task is fixed


@dataclass(frozen=True)
class Source:
    """A data set and the folder of its recordings; what is built from it goes to DATA/<name>.

    Args:
        sample_rate, window: of a registered data set, where they are not its own: Hz, and samples of a segment.
    """

    name: str
    raw: Path
    dataset: DataSet
    sample_rate: int | None = None
    window: int | None = None

    def task(self) -> Task:
        """The task, at the sample rate and window chosen. Raises UsageError where they do not fit it."""
        return self._adjusted(self.dataset.task())

    def table(self) -> Table:
        """Reads the label files. Raises UsageError naming the file and the remedy."""
        table = self.dataset.table(self.raw)
        task = self._adjusted(table.task)
        # Mean and std are those of the waveform at the original's rate; another rate leaves out or adds frequencies.
        return replace(table, task=task, measured=table.measured or task.sample_rate != table.task.sample_rate)

    def _adjusted(self, task: Task) -> Task:
        if self.sample_rate is None and self.window is None:
            return task
        rate = self.sample_rate or task.sample_rate
        window = self.window or round(task.window * rate / task.sample_rate)
        CustomOptions(rate, window, task.clip_seconds)  # checks the ranges, and that a clip holds a window
        statistics = (task.mean, task.std) if rate == task.sample_rate else (0.0, 1.0)
        return replace(task, sample_rate=rate, window=window).with_statistics(*statistics)


def open_dataset(spec: str, data_dir: str | Path, **options: Any) -> Source:
    """Finds a data set by name or path, without reading its labels.

    Args:
        spec: a name in `REGISTRY`, a folder (`Folder`), or a manifest (CSV, Parquet, JSON lines), tried in this order:
            `./scd` is the folder where `scd` is the data set.
        data_dir: holds the registered data sets, each in data_dir/<name>/raw.
        options: fields of `CustomOptions`; for a registered data set only `ADJUSTABLE`. None means not given.

    Raises:
        UsageError: there is no such data set, or it does not take an option.
    """
    name = dataset_name(spec)
    if spec in REGISTRY:
        chosen = {option: value for option, value in options.items() if value is not None}
        fixed = sorted(set(chosen) - set(ADJUSTABLE))
        if fixed:
            raise UsageError(
                f"{fixed[0].replace('_', ' ')} cannot be chosen for {spec}, whose task is fixed but for sample rate "
                "and window; leave the option out, or give a folder or manifest"
            )
        source = Source(name, Path(data_dir) / name / "raw", REGISTRY[spec], **chosen)
        source.task()  # an option that does not fit is an error before the label files are read
        return source
    path = Path(spec).expanduser()
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises where the name is too long)
        return Source(name, path, Folder(name, path, CustomOptions.of(**options)))
    if os.path.isfile(path):  # noqa: PTH113
        if not is_manifest_name(path):
            raise UsageError(f"{path}: neither a folder nor a manifest ({endings()})")
        if options.get("label_from") is not None:
            raise UsageError(f"{path}: --label-from is an option for folders, not for manifests, which have the labels")
        return Source(name, path.parent, Manifest(name, path, CustomOptions.of(**options)))
    raise UsageError(
        f"unknown data set {spec!r}: expected {', '.join(sorted(REGISTRY))}, a folder with one sub-folder per class, "
        "or a CSV, Parquet or JSON lines manifest (path,labels)"
    )


def dataset_name(spec: str) -> str:
    """The name of a data set as used under DATA and in run names: `scd`, `my/Big Sounds/` -> `Big-Sounds`.

    A folder or manifest whose name is that of a registered data set gets `-folder` or `-manifest` added, so that
    the two never share a folder. The recordings need not exist.
    """
    if spec in REGISTRY:
        return spec
    path = Path(spec).expanduser() if spec else None
    if path is not None and path.name in ("", ".."):
        path = path.resolve()
    name = slug(stem_of(path) if is_manifest_name(path) else path.name) if path else ""
    if not name:
        raise UsageError(f"{spec!r} is not the name of a data set; expected {', '.join(sorted(REGISTRY))}, or a path")
    if name.lower() in REGISTRY:
        name += "-manifest" if path and is_manifest_name(path) else "-folder"
    return name
