"""A build's folder from half-built to in place. Every step may be cut off by a kill and done again.

Shards grow in DATA/<name>/<format>.building, where plan.json tells of what; a shard is done when its NAME.json lies
beside it. When all are, build.json seals the folder and it is renamed to DATA/<name>/<format>, which is so whole or
absent.
"""

import json
import math
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

from samplecnn.audio import INT16_SCALE
from samplecnn.datasets.base import SPLITS, Table
from samplecnn.errors import SampleCNNError
from samplecnn.shards.build_report import REPORT, BuildReport, Count, Unusual, read_report, write_report
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.plan import Plan, Shard
from samplecnn.system.files import write_json
from samplecnn.task import Task

PLAN, BUILT, TASK = "plan.json", "build.json", "task.json"
CONSEQUENCE = {"val": "training cannot tell its best epoch without it", "test": "there will be no final scores"}


class Places:
    """The folders of one data set: the shards' place, where they grow, and where replaced ones wait for their end."""

    def __init__(self, home: Path, format: str) -> None:
        self.home = home
        self.final, self.building, self.old = home / format, home / f"{format}.building", home / f"{format}.old"

    def recover(self) -> None:
        """Undoes what a kill between the last two renames leaves: the shards that were to be replaced come back."""
        if not self.old.exists():
            return
        if self.final.exists():
            shutil.rmtree(self.old)
        else:
            self.old.rename(self.final)

    def is_built(self, plan: Plan) -> bool:
        """Whether the shards in place are those of the plan, and all there."""
        built = _read(self.final / BUILT)
        if not built or built["fingerprint"] != plan.fingerprint:
            return False
        return all(_size(self.final / name) == size for name, size in built["files"].items())

    def is_sealed(self, plan: Plan) -> bool:
        built = _read(self.building / BUILT)
        return bool(built) and built["fingerprint"] == plan.fingerprint

    def begin(self, plan: Plan, force: bool) -> list[str]:
        """Takes up a half-built folder of the same plan, else starts one. Returns what to tell of it."""
        wanted = {"fingerprint": plan.fingerprint, "force": force}
        notes = []
        if self.building.exists():
            if _read(self.building / PLAN) == wanted or (self.is_sealed(plan) and not force):
                self._sweep()
                return []
            notes = ["the recordings, labels or options are not those of the interrupted build: it starts over"]
            shutil.rmtree(self.building)
        self.building.mkdir()
        write_json(self.building / PLAN, wanted)
        return notes

    def waiting(self, plan: Plan) -> list[Shard]:
        """The shards that are still to be built."""
        if self.is_sealed(plan):
            return []
        return [shard for shard in plan.shards if self._counts(shard) is None]

    def counts(self, plan: Plan) -> list[dict[str, Any]]:
        """What the workers noted of each shard."""
        found = [self._counts(shard) for shard in plan.shards]
        return [counts for counts in found if counts is not None]

    def publish(self, plan: Plan) -> None:
        """Puts the sealed folder in its place."""
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

    def _counts(self, shard: Shard) -> dict[str, Any] | None:
        counts = _read(self.building / f"{shard.name}.json")
        return counts if counts and _size(self.building / shard.name) == counts["bytes"] else None


def seal(places: Places, plan: Plan, table: Table) -> None:
    """Counts, measures and reports what was built, then writes build.json.

    Raises:
        SampleCNNError: no training recording could be used, or all of them are silent where mean and std are measured.
    """
    shards = places.counts(plan)
    unusual = [*plan.absent, *(Unusual(*row) for counts in shards for row in counts["unusual"])]
    splits = {
        split: Count(
            sum(counts["clips"] for counts in shards if counts["split"] == split),
            sum(counts["segments"] for counts in shards if counts["split"] == split),
            sum(row.split == split and row.status == "skipped" for row in unusual),
        )
        for split in SPLITS
    }
    train = [counts for counts in shards if counts["split"] == "train"]
    if splits["train"].clips == 0:
        _give_up(places, unusual, f"none of the {splits['train'].skipped:,} training recordings could be used")
    task = plan.task
    if plan.measured:
        mean, std = statistics(train)
        if std == 0:
            _give_up(places, unusual, "all training recordings are silent, nothing can be learnt from them")
        task = task.with_statistics(mean, std)
        for shard in plan.shards:
            FORMATS[plan.format].set_statistics(places.building / shard.name, task)
    write_report(places.building / REPORT, unusual)
    write_json(places.building / TASK, task.to_dict())
    built = {
        "fingerprint": plan.fingerprint,
        "splits": splits,
        "notes": _notes(splits, train, table),
        "files": {shard.name: counts["bytes"] for shard, counts in zip(plan.shards, shards, strict=True)},
    }
    write_json(places.building / BUILT, built)


def statistics(shards: list[dict[str, Any]]) -> tuple[float, float]:
    """Mean and standard deviation of the waveform, from exact integer sums; rounded once, at the end."""
    samples = sum(counts["samples"] for counts in shards)
    mean = Fraction(sum(counts["sum"] for counts in shards), samples)
    variance = Fraction(sum(counts["squares"] for counts in shards), samples) - mean**2
    return float(mean / INT16_SCALE), math.sqrt(variance / INT16_SCALE**2)


def read_built(folder: Path, name: str, **more: Any) -> BuildReport:
    """The report of the shards in place."""
    built = _read(folder / BUILT)
    task = _read(folder / TASK)
    if built is None or task is None:
        raise SampleCNNError(f"{folder}: damaged; build again with --force")
    more["notes"] = tuple(dict.fromkeys([*more.get("notes", ()), *built["notes"]]))
    return BuildReport(
        name=name,
        folder=folder,
        task=Task.from_dict(task),
        splits={split: Count(*count) for split, count in built["splits"].items()},
        unusual=tuple(read_report(folder / REPORT)),
        bytes=sum(built["files"].values()),
        **more,
    )


def _notes(splits: dict[str, Count], train: list[dict[str, Any]], table: Table) -> list[str]:
    """What came of skipped recordings: a split or a class that lost all it had."""
    notes = [
        f"the {split} split is empty: {CONSEQUENCE[split]}" for split in ("val", "test") if splits[split].clips == 0
    ]
    labelled = {label for clip in table.clips if clip.split == "train" for label in clip.labels}
    built = [sum(counts["per_class"][index] for counts in train) for index in range(table.task.num_classes)]
    lost = [table.task.classes[index] for index in sorted(labelled) if built[index] == 0]
    if lost:
        more = f" and {len(lost) - 10} more" if len(lost) > 10 else ""
        notes.append(f"all training clips of {', '.join(lost[:10])}{more} were skipped: it cannot be learnt")
    return notes


def _give_up(places: Places, unusual: list[Unusual], why: str) -> None:
    """Leaves the report beside where the shards would be, and nothing half-built."""
    report = places.home / REPORT
    write_report(report, unusual)
    shutil.rmtree(places.building)
    first = f" (the first: {min(unusual).path}: {min(unusual).reason})" if unusual else ""
    raise SampleCNNError(f"{places.home}: {why}; {report} lists each with its reason{first}")


def _read(path: Path) -> Any:
    """A JSON file's content; None where it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
