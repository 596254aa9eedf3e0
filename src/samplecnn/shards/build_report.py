"""The report of a build: counts, and skipped or suspicious recordings with the reasons."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from samplecnn.datasets.base import SPLITS
from samplecnn.errors import SampleCNNError
from samplecnn.parsing import check, choice, file_name, read_bytes, row_of
from samplecnn.system.csv_cells import csv_row, csv_rows
from samplecnn.system.files import written_aside
from samplecnn.system.log import one_line
from samplecnn.system.progress import duration
from samplecnn.task import Task

REPORT = "report.csv"
STATUSES = ("skipped", "kept", "warning")


class BuildIssue(NamedTuple):
    """A recording in the report. `status` is "skipped" (not in the shards), "kept" (only partly in the shards) or
    "warning" (in the shards, but suspicious).
    """

    path: str
    split: str
    status: str
    reason: str


class Count(NamedTuple):
    """Counts of one split: clips and segments in the shards, and skipped recordings."""

    clips: int
    segments: int
    skipped: int


@dataclass(frozen=True)
class BuildReport:
    """The outcome of `build`.

    Args:
        folder: folder of the shards, with report.csv and task.json.
        task: the task, with the measured mean and std.
        splits: counts of "train", "val" and "test".
        issues: skipped recordings and warnings, ordered by path.
        notes: notes for the user: ignored files, an empty split, a class without training clips.
        bytes: size of the shards on disk.
        seconds: duration of this call.
        clips_per_second: clips decoded per second by this call.
        resumed: clips done by an earlier, interrupted call.
        already_built: whether nothing had to be done.
    """

    name: str
    folder: Path
    task: Task
    splits: dict[str, Count]
    issues: tuple[BuildIssue, ...] = ()
    notes: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    clips_per_second: float = 0.0
    resumed: int = 0
    already_built: bool = False
    report: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "report", self.folder / REPORT)

    @property
    def skipped(self) -> list[BuildIssue]:
        return [row for row in self.issues if row.status == "skipped"]

    @property
    def kept(self) -> list[BuildIssue]:
        return [row for row in self.issues if row.status == "kept"]

    @property
    def warnings(self) -> list[BuildIssue]:
        return [row for row in self.issues if row.status == "warning"]

    def lines(self, shown: int = 5) -> list[str]:
        """A summary to print, with the first `shown` recordings of each status."""
        if self.already_built:
            lines = [f"{self.name} is already built (--force rebuilds it): {self.folder}"]
        else:
            pace = f" in {duration(self.seconds)}" + (
                f", {self.clips_per_second:,.0f} clips/s" if self.clips_per_second else ""
            )
            resumed = f" ({self.resumed:,} clips were done before)" if self.resumed else ""
            lines = [f"built {self.name}{pace}{resumed}: {self.folder}"]
        for split, count in self.splits.items():
            skipped = f", {count.skipped:,} skipped" if count.skipped else ""
            lines.append(f"  {split:5}  {count.clips:,} clips, {count.segments:,} segments{skipped}")
        task = self.task
        lines.append(
            f"  {self.bytes / 1e6:,.1f} MB on disk; {task.num_classes} classes, {task.kind}, {task.sample_rate} Hz, "
            f"window {task.window} samples ({task.window / task.sample_rate:.3g} s), "
            f"mean {task.mean:.4g}, std {task.std:.4g}"
        )
        for kind, rows in (("skipped", self.skipped), ("kept", self.kept), ("warning", self.warnings)):
            lines += [one_line(f"  {kind}: {row.path}: {row.reason}") for row in rows[:shown]]
            if len(rows) > shown:
                lines.append(f"  {kind}: and {len(rows) - shown:,} more")
        if self.issues:
            lines.append(f"  all {len(self.issues):,} are listed in {self.report}")
        if self.kept:
            counted = f"{len(self.kept):,} recording{' is' if len(self.kept) == 1 else 's are'}"
            lines.append(f"  note: {counted} in the shards only in part (--accept-truncated)")
        return lines + [f"  note: {note}" for note in self.notes]

    @property
    def clips(self) -> int:
        return sum(count.clips for count in self.splits.values())


def write_report(path: Path, rows: Iterable[BuildIssue]) -> None:
    """Writes a CSV file with the columns path, split, status, reason; only the header if there are no issues."""
    text = "".join(map(csv_row, [BuildIssue._fields, *sorted(rows)]))
    with written_aside(path) as aside:  # keeps the bytes of names that are not UTF-8
        aside.write_bytes(text.encode("utf-8", "surrogateescape"))


def read_report(path: Path) -> list[BuildIssue]:
    """Reads the rows of a report.

    Raises:
        SampleCNNError: a missing file, or an invalid row, with its number.
    """
    remedy = "build again with --force"
    text = read_bytes(path, remedy).decode("utf-8", "surrogateescape")
    rows: list[BuildIssue] = []
    try:
        for number, row in enumerate(csv_rows(io.StringIO(text, newline=""))):
            check(row, ROW if number else _HEADER, f"{path}, row {number + 1}", remedy)
            rows.append(BuildIssue(*row))
    except csv.Error as error:
        raise SampleCNNError(f"{path}, row {len(rows) + 1}: damaged ({error}); {remedy}") from error
    return rows[1:]


_HEADER = row_of(*map(choice, BuildIssue._fields))
ROW = row_of(file_name(), choice(*SPLITS), choice(*STATUSES), file_name())
