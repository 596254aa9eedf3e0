"""A data set: clips per split from its label files, and what has been built from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplecnn.datasets import SPLITS, DatasetInfo
from samplecnn.datasets import describe as describe_labels
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards.build_folder import read_built
from samplecnn.shards.build_report import BuildReport
from samplecnn.shards.formats import FORMATS
from samplecnn.task import Task


@dataclass(frozen=True)
class DataSetDescription:
    """A data set.

    Args:
        name: as used under DATA and in run names.
        labels: content of the label files; None if only shards exist.
        built: the existing shards, by format.
        problems: one line for each format whose shards cannot be used.
    """

    name: str
    labels: DatasetInfo | None
    built: dict[str, BuildReport]
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: str, data_dir: str | Path, label_from: str | None = None) -> "DataSetDescription":
        """Raises UsageError if there is neither a data set nor anything built under this name."""
        from samplecnn.datasets import dataset_name

        name = dataset_name(spec)
        built, problems = {}, []
        for format in FORMATS:
            folder = Path(data_dir) / name / format
            if folder.is_dir():
                try:
                    built[format] = read_built(folder, name)
                except SampleCNNError as error:
                    problems.append(str(error))
        try:
            labels = describe_labels(spec, data_dir, label_from=label_from)
        except UsageError:
            if not built or label_from is not None:
                raise
            labels = None
        return cls(name, labels, built, tuple(problems))

    @property
    def task(self) -> Task | None:
        """The task of the shards, which includes the options of the build; otherwise of the labels, with defaults."""
        for report in self.built.values():
            return report.task
        return None if self.labels is None else self.labels.task

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "dataset",
            "name": self.name,
            "labels": None if self.labels is None else self.labels.to_dict(),
            "built": {
                format: {
                    "folder": str(report.folder),
                    "splits": {split: count._asdict() for split, count in report.splits.items()},
                    "bytes": report.bytes,
                    "task": report.task.to_dict(),
                }
                for format, report in self.built.items()
            },
            "problems": list(self.problems),
        }

    def lines(self) -> list[str]:
        lines = [f"data set      {self.name}"]
        if self.task is not None:
            task = self.task
            lines.append(
                f"task          {task.kind}, {task.num_classes} classes, {task.sample_rate:,} Hz, "
                f"window {task.window:,} samples ({task.window / task.sample_rate:.3g} s)"
            )
        if self.labels is not None:
            lines += _label_lines(self.labels)
        for format, report in self.built.items():
            counts = ", ".join(
                f"{split} {count.clips:,} clips ({count.segments:,} segments)" for split, count in report.splits.items()
            )
            lines.append(f"built         {format}: {counts}; {report.bytes / 1e6:,.1f} MB in {report.folder}")
        if not self.built:
            lines.append("built         no; run samplecnn build")
        return [*lines, *(f"problem       {problem}" for problem in self.problems)]


def _label_lines(labels: DatasetInfo) -> list[str]:
    lines = []
    if labels.clips:
        lines.append(f"clips         {_counts(labels.clips)}; {labels.total:,} in all")
    if labels.expected and labels.expected != labels.clips:
        lines.append(f"published     {_counts(labels.expected)}")
    if labels.missing:
        first = f", e.g. {labels.missing_examples[0]}" if labels.missing_examples else ""
        lines.append(f"recordings    {labels.missing:,} of {labels.total:,} are absent from {labels.raw}{first}")
    elif labels.clips:
        lines.append(f"recordings    complete, in {labels.raw}")
    if labels.problem:
        lines.append(f"problem       {labels.problem}")
    return [*lines, *(f"note          {note}" for note in labels.notes)]


def _counts(clips: dict[str, int]) -> str:
    return ", ".join(f"{split} {clips.get(split, 0):,}" for split in SPLITS)
