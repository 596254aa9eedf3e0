"""The folder of a build, from its first shard to its final place. Every step can be interrupted and repeated.

Shards are written to DATA/<name>/<format>.building, where plan.json identifies what is built; a shard is done when its
NAME.json exists. When all are, build.json seals the folder and it is renamed to DATA/<name>/<format>, which is
therefore complete or absent.
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
    optional=["short"],  # earlier versions did not count them
)


class BuildFolder:
    """The folders of one data set's shards: in use, being built, and replaced but not yet deleted."""

    def __init__(self, home: Path, format: str) -> None:
        self.home = home
        self.final, self.building, self.old = home / format, home / f"{format}.building", home / f"{format}.old"

    def recover(self) -> None:
        """Recovers from an interruption between the last two renames: the shards that were to be replaced come back."""
        if not self.old.exists():
            return
        if self.final.exists():
            shutil.rmtree(self.old)
        else:
            self.old.rename(self.final)

    def is_built(self, plan: Plan) -> bool:
        """Whether the shards in use are those of the plan, and complete."""
        built = find_object(self.final / BUILT, BUILT_RULE)
        if not built or built["fingerprint"] != plan.fingerprint:
            return False
        return all(_size(self.final / name) == size for name, size in built["files"].items())

    def is_sealed(self, plan: Plan) -> bool:
        built = find_object(self.building / BUILT, BUILT_RULE)
        return built is not None and built["fingerprint"] == plan.fingerprint

    def begin(self, plan: Plan, force: bool) -> list[str]:
        """Continues a half-built folder of the same plan, else starts one. Returns notes for the user."""
        wanted = {"fingerprint": plan.fingerprint, "force": force}
        notes = []
        if self.building.exists():
            begun = find_object(self.building / PLAN, table_of(anything())) or {}
            if {key: begun.get(key) for key in wanted} == wanted or (self.is_sealed(plan) and not force):
                self._sweep()
                return []
            notes = ["the recordings, labels or options differ from the interrupted build, which starts over"]
            shutil.rmtree(self.building)
        self.building.mkdir()
        write_json(self.building / PLAN, {**wanted, "source": plan.source})
        return notes

    def record_source(self, plan: Plan) -> None:
        """Adds the source to the shards in use: those of an earlier version have none, and recordings can be moved."""
        built = find_object(self.final / BUILT, BUILT_RULE)
        if built is not None and plan.source is not None and built.get("source") != plan.source:
            write_json(self.final / BUILT, {**built, "source": plan.source, "seed": plan.seed})

    def discard_unfinished(self) -> None:
        """Removes what an interrupted rebuild has left next to complete shards."""
        if self.building.exists():
            shutil.rmtree(self.building)

    def waiting(self, plan: Plan) -> list[Shard]:
        """The shards that are still to be built."""
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
        (self.home / REPORT).unlink(missing_ok=True)  # of an earlier build that failed

    def _sweep(self) -> None:
        """Removes what killed processes were writing."""
        for part in self.building.glob(".*.part"):
            part.unlink(missing_ok=True)

    def _counts(self, plan: Plan, shard: Shard) -> dict[str, Any] | None:
        """What the worker noted of a shard; None where it is to be built: no note, a damaged one, or another file."""
        counts = find_object(self.building / f"{shard.name}.json", COUNTS_RULE)
        if counts is None or _size(self.building / shard.name) != counts["bytes"]:
            return None
        fits = (
            counts["split"] == shard.split
            and len(counts["per_class"]) == plan.task.num_classes
            and counts["clips"] <= min(len(shard.clips), counts["segments"])
            and counts["samples"] == counts["segments"] * plan.task.window
            and counts["sum"] ** 2 <= counts["squares"] * counts["samples"]
        )
        return counts if fits else None


def seal(folders: BuildFolder, plan: Plan, table: Table) -> None:
    """Counts, measures and reports what was built, then writes build.json.

    Raises:
        SampleCNNError: no training recording could be used, or all of them are silent where mean and std are measured.
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
        _give_up(folders, issues, f"none of the {splits['train'].skipped:,} training recordings could be used")
    task = plan.task
    if plan.measured:
        mean, std = statistics(train)
        if std == 0:
            _give_up(folders, issues, "all training recordings are silent, nothing can be learned from them")
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
        **_short(shards),
        "notes": _notes(splits, train, table),
        "files": {shard.name: counts["bytes"] for shard, counts in zip(plan.shards, shards, strict=True)},
    }
    write_json(folders.building / BUILT, built)


def check_name(folders: BuildFolder, plan: Plan, force: bool) -> list[str]:
    """Keeps a build from replacing shards of another source that has the same name, unless forced. Returns notes.

    Recordings that have been moved are the same source: the old path is gone, and the fingerprint is the same.

    Raises:
        UsageError: both sources are named.
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
            return [f"replaces what was built from {recorded}"]
        raise UsageError(
            f"{folders.home} is taken by {recorded}, and {plan.source} has the same name: choose another --data-dir "
            "for it, or replace what has been built with --force"
        )
    return []


def _short(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """Clips per split that were filled up; nothing where an earlier version, which did not count, built a part."""
    if not all("short" in counts for counts in shards):
        return {}
    short = {split: sum(counts["short"] for counts in shards if counts["split"] == split) for split in SPLITS}
    return {"short": short}


def statistics(shards: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean and standard deviation of the waveform, from exact integer sums; rounded once, at the end."""
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
    """The consequences of skipped recordings: an empty split, or a class without training clips."""
    notes = [
        f"the {split} split is empty: {CONSEQUENCE[split]}" for split in ("val", "test") if splits[split].clips == 0
    ]
    labelled = {label for clip in table.clips if clip.split == "train" for label in clip.labels}
    built = [sum(counts["per_class"][index] for counts in train) for index in range(table.task.num_classes)]
    lost = [table.task.classes[index] for index in sorted(labelled) if built[index] == 0]
    if lost:
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        notes.append(f"all training clips of {', '.join(lost[:10])}{more} were skipped: it cannot be learned")
    return notes


def _give_up(folders: BuildFolder, issues: list[BuildIssue], why: str) -> None:
    """Leaves the report next to where the shards would be, and nothing half-built."""
    report = folders.home / REPORT
    write_report(report, issues)
    shutil.rmtree(folders.building)
    first = f" (the first: {min(issues).path}: {min(issues).reason})" if issues else ""
    raise SampleCNNError(f"{folders.home}: {why}; {report} lists each with its reason{first}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
