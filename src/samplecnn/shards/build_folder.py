"""The folder of a build, from the first shard to the final rename. Every step can be interrupted and repeated.

Shards are written to DATA/<name>/<format>.building, where plan.json identifies the build; a shard is done when its
NAME.json exists. When all are done, build.json seals the folder and it is renamed to DATA/<name>/<format>, which is
therefore either complete or absent.
"""

import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

from samplecnn.audio import INT16_SCALE
from samplecnn.datasets.base import SPLITS, Table
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.parsing import (
    anything,
    choice,
    fields,
    find_object,
    list_of,
    read_object,
    row_of,
    table_of,
    text,
    whole,
)
from samplecnn.shards.build_report import REPORT, BuildIssue, BuildReport, Count, read_report, write_report
from samplecnn.shards.build_report import ROW as ISSUE_ROW
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.identity import BUILT, LATER, RECORD, is_same_source
from samplecnn.shards.plan import Plan, Shard
from samplecnn.system.files import write_json
from samplecnn.task import MAX_CLASSES, Task

PLAN, TASK = "plan.json", "task.json"
CONSEQUENCE = {"val": "training cannot determine its best epoch without it", "test": "there will be no final scores"}

REMEDY = "build again with --force"
_COUNT = whole(0, 1 << 62)
_SHARD = text(200)
BUILT_RULE = fields(
    {
        **RECORD,
        "splits": fields({split: row_of(_COUNT, _COUNT, _COUNT) for split in SPLITS}),
        "notes": list_of(text(1 << 20)),
        "files": table_of(_COUNT, _SHARD),
    },
    optional=LATER,
)
COUNTS_RULE = fields(
    {
        "split": choice(*SPLITS),
        **dict.fromkeys(("clips", "segments", "samples", "bytes"), _COUNT),
        "per_class": list_of(_COUNT, MAX_CLASSES),
        "sum": whole(-(1 << 200), 1 << 200),  # exact sums of integers, of any length
        "squares": whole(0, 1 << 200),
        "issues": list_of(ISSUE_ROW),
        "short": _COUNT,
    },
    optional=["short"],  # not counted by earlier versions
)


class BuildFolder:
    """The folders of a data set's shards: `final` in use, `building` in progress, `old` replaced but not yet
    deleted.
    """

    def __init__(self, home: Path, format: str) -> None:
        self.home = home
        self.final, self.building, self.old = home / format, home / f"{format}.building", home / f"{format}.old"

    def recover(self) -> None:
        """Recovers from an interruption between the last two renames by restoring the old shards."""
        if not self.old.exists():
            return
        if self.final.exists():
            shutil.rmtree(self.old)
        else:
            self.old.rename(self.final)

    def is_built(self, plan: Plan) -> bool:
        """Whether the shards in use are complete and match the plan."""
        built = find_object(self.final / BUILT, BUILT_RULE)
        if not built or built["fingerprint"] != plan.fingerprint:
            return False
        return all(_size(self.final / name) == size for name, size in built["files"].items())

    def is_sealed(self, plan: Plan) -> bool:
        built = find_object(self.building / BUILT, BUILT_RULE)
        return built is not None and built["fingerprint"] == plan.fingerprint

    def begin(self, plan: Plan, force: bool) -> list[str]:
        """Continues a partial build of the same plan, or starts one. Returns notes for the user."""
        wanted = {"fingerprint": plan.fingerprint, "force": force}
        notes = []
        if self.building.exists():
            earlier = find_object(self.building / PLAN, table_of(anything())) or {}
            if {key: earlier.get(key) for key in wanted} == wanted or (self.is_sealed(plan) and not force):
                self._sweep()
                return []
            notes = ["the recordings, labels or options differ from those of the interrupted build, so it starts over"]
            shutil.rmtree(self.building)
        self.building.mkdir()
        write_json(self.building / PLAN, {**wanted, "source": plan.source})
        return notes

    def record_source(self, plan: Plan) -> None:
        """Updates the source in the record of the shards in use: earlier versions have none, and recordings may be
        moved.
        """
        built = find_object(self.final / BUILT, BUILT_RULE)
        if built is not None and plan.source is not None and built.get("source") != plan.source:
            write_json(self.final / BUILT, {**built, "source": plan.source, "seed": plan.seed})

    def discard_unfinished(self) -> None:
        """Removes the remains of an interrupted rebuild next to complete shards."""
        if self.building.exists():
            shutil.rmtree(self.building)

    def pending(self, plan: Plan) -> list[Shard]:
        """The shards that are not built yet."""
        if self.is_sealed(plan):
            return []
        return [shard for shard in plan.shards if self._counts(plan, shard) is None]

    def counts(self, plan: Plan) -> list[dict[str, Any]]:
        """The workers' counts of each shard."""
        found = [self._counts(plan, shard) for shard in plan.shards]
        return [counts for counts in found if counts is not None]

    def publish(self, plan: Plan) -> None:
        """Renames the sealed folder to its final name."""
        self._sweep()
        for shard in plan.shards:
            (self.building / f"{shard.name}.json").unlink(missing_ok=True)
        (self.building / PLAN).unlink(missing_ok=True)
        if self.final.exists():
            self.final.rename(self.old)
        self.building.rename(self.final)
        if self.old.exists():
            shutil.rmtree(self.old)
        (self.home / REPORT).unlink(missing_ok=True)  # the report of an earlier, failed build

    def _sweep(self) -> None:
        """Removes partial files of killed processes."""
        for part in self.building.glob(".*.part"):
            part.unlink(missing_ok=True)

    def _counts(self, plan: Plan, shard: Shard) -> dict[str, Any] | None:
        """The worker's counts of a shard; None if it must be built: no or damaged counts, or another file."""
        counts = find_object(self.building / f"{shard.name}.json", COUNTS_RULE)
        if counts is None or _size(self.building / shard.name) != counts["bytes"]:
            return None
        valid = (
            counts["split"] == shard.split
            and len(counts["per_class"]) == plan.task.num_classes
            and counts["clips"] <= min(len(shard.clips), counts["segments"])
            and counts["samples"] == counts["segments"] * plan.task.window
            and counts["sum"] ** 2 <= counts["squares"] * counts["samples"]
        )
        return counts if valid else None


def seal(folders: BuildFolder, plan: Plan, table: Table) -> None:
    """Writes report.csv, task.json with the measured mean and std, and build.json.

    Raises:
        SampleCNNError: no training recording could be used, or all are silent, so that mean and std are undefined.
    """
    shards = folders.counts(plan)
    issues = [*plan.absent, *(BuildIssue(*row) for counts in shards for row in counts["issues"])]
    splits = {
        split: Count(
            sum(counts["clips"] for counts in shards if counts["split"] == split),
            sum(counts["segments"] for counts in shards if counts["split"] == split),
            sum(row.split == split and row.status == "skipped" for row in issues),
        )
        for split in SPLITS
    }
    train = [counts for counts in shards if counts["split"] == "train"]
    if splits["train"].clips == 0:
        _fail(folders, issues, f"none of the {splits['train'].skipped:,} training recordings could be used")
    task = plan.task
    if plan.measured:
        mean, std = statistics(train)
        if std == 0:
            _fail(folders, issues, "all training recordings are silent")
        task = task.with_statistics(mean, std)
        for shard in plan.shards:
            FORMATS[plan.format].set_statistics(folders.building / shard.name, task)
    write_report(folders.building / REPORT, issues)
    write_json(folders.building / TASK, task.to_dict())
    built = {
        "fingerprint": plan.fingerprint,
        "source": plan.source,
        "seed": plan.seed,
        "splits": splits,
        **_padded_clips(shards),
        "notes": _notes(splits, train, table),
        "files": {shard.name: counts["bytes"] for shard, counts in zip(plan.shards, shards, strict=True)},
    }
    write_json(folders.building / BUILT, built)


def check_name(folders: BuildFolder, plan: Plan, force: bool) -> list[str]:
    """Refuses to replace shards of another source with the same name, unless forced. Returns notes.

    Moved recordings are the same source: the old path does not exist any more, and the fingerprint is the same.

    Raises:
        UsageError: the name is taken; the message gives both sources.
    """
    if plan.source is None:
        return []
    others = [folders.home / format / BUILT for format in FORMATS if format != plan.format]
    for record in (folders.final / BUILT, folders.building / PLAN, *others):
        found = find_object(record, table_of(anything())) or {}
        recorded = found.get("source")
        if not isinstance(recorded, str) or is_same_source(recorded, plan.source):
            continue
        if found.get("fingerprint") == plan.fingerprint and not Path(recorded).exists():
            continue
        if force:
            return [f"replaced shards that were built from {recorded}"]
        raise UsageError(
            f"{folders.home} was built from {recorded}, and {plan.source} has the same name; use another --data-dir "
            "for it, or replace the shards with --force"
        )
    return []


def _padded_clips(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Number of padded clips per split; empty if an earlier version, which did not count them, built a part."""
    if not all("short" in counts for counts in shards):
        return {}
    short = {split: sum(counts["short"] for counts in shards if counts["split"] == split) for split in SPLITS}
    return {"short": short}


def statistics(shards: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean and standard deviation of the waveform from exact integer sums, rounded once at the end."""
    samples = sum(counts["samples"] for counts in shards)
    mean = Fraction(sum(counts["sum"] for counts in shards), samples)
    variance = Fraction(sum(counts["squares"] for counts in shards), samples) - mean**2
    return float(mean / INT16_SCALE), math.sqrt(variance / INT16_SCALE**2)


def read_built(folder: Path, name: str, **more: Any) -> BuildReport:
    """The report of the shards in use."""
    built = read_object(folder / BUILT, REMEDY, BUILT_RULE)
    task = Task.read(folder / TASK, REMEDY)
    more["notes"] = tuple(dict.fromkeys([*more.get("notes", ()), *built["notes"]]))
    return BuildReport(
        name=name,
        folder=folder,
        task=task,
        splits={split: Count(*built["splits"][split]) for split in SPLITS},
        issues=tuple(read_report(folder / REPORT)),
        bytes=sum(built["files"].values()),
        **more,
    )


def _notes(splits: dict[str, Count], train: list[dict[str, Any]], table: Table) -> list[str]:
    """Notes on consequences of skipped recordings: an empty split, or a class without training clips."""
    notes = [
        f"the {split} split is empty: {CONSEQUENCE[split]}" for split in ("val", "test") if splits[split].clips == 0
    ]
    labelled = {label for clip in table.clips if clip.split == "train" for label in clip.labels}
    built = [sum(counts["per_class"][index] for counts in train) for index in range(table.task.num_classes)]
    lost = [table.task.classes[index] for index in sorted(labelled) if built[index] == 0]
    if lost:
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        notes.append(f"all training clips of {', '.join(lost[:10])}{more} were skipped, so it cannot be learned")
    return notes


def _fail(folders: BuildFolder, issues: list[BuildIssue], why: str) -> None:
    """Writes the report to the data set's folder, removes the partial build and raises SampleCNNError."""
    report = folders.home / REPORT
    write_report(report, issues)
    shutil.rmtree(folders.building)
    first = f" (the first: {min(issues).path}: {min(issues).reason})" if issues else ""
    raise SampleCNNError(f"{folders.home}: {why}; {report} lists the reasons{first}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
