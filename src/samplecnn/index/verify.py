"""Does this machine still give what an index holds? Some of its recordings are run through the model again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samplecnn.errors import AudioError, UsageError
from samplecnn.index.changes import stamp_of
from samplecnn.index.file_list import Stamp
from samplecnn.index.packing import SCORE_ERROR
from samplecnn.index.reader import Index
from samplecnn.index.settings import Asked
from samplecnn.recordings import counted
from samplecnn.system.native_messages import caught
from samplecnn.system.progress import Progress
from samplecnn.tagging.provenance import model_digest, provenance, scores_digest
from samplecnn.tagging.tag_files import expected_segments
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.tags import Tags

# By how much scores may differ: engines add up in other orders, and bf16 has 8 bits.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.03}


@dataclass
class Verification:
    """What came of running recordings again.

    Args:
        files: that were run; `usable` is how many the index has.
        worst: largest difference of a score.
        differing: files whose scores differ by more than the tolerance, each with what differs.
        gone, changed: files that are not there or have another size or time, and were not run.
        environment: what made the index, and is different now, each "name: then, now".
    """

    usable: int
    files: int = 0
    worst: float = 0.0
    differing: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether scores were compared and none differs."""
        return self.files > 0 and not self.differing

    def lines(self) -> list[str]:
        """For people: what differs, then the outcome."""
        lines = [f"{path}: {what}" for path, what in self.differing]
        lines += [f"{path}: not there any more; update the index" for path in self.gone]
        lines += [f"{path}: has changed since; update the index" for path in self.changed]
        lines += [f"different now: {each}" for each in self.environment]
        skipped = len(self.gone) + len(self.changed)
        left = f", {counted(skipped, 'file', 'files')} could not be compared" if skipped else ""
        ran = f"{self.files:,} of {self.usable:,} files were run again"
        if not self.files:
            return [*lines, f"{ran}{left}"]
        outcome = counted(len(self.differing), "file differs", "files differ") if self.differing else "all agree"
        lines.append(f"{ran}: {outcome}, largest difference of a score {self.worst:.2g}{left}")
        return lines


def open_model(index: Index, engine: str = "auto", files: Sequence[str] = (), device: str | None = None) -> Tagger:
    """A tagger that gives what the index holds.

    Args:
        index: its model and settings are used.
        engine, device: as `Tagger` takes them.
        files: that will be run, to choose the engine.

    Raises:
        UsageError: the model is not there, or is another one.
    """
    settings = index.settings
    Asked(settings.model).check(index.folder, settings, scores_digest(settings.model, model_digest(settings.model)))
    return Tagger(
        settings.model,
        device=device,
        engine=engine,
        precision=settings.precision,
        hop=settings.hop,
        segments=expected_segments(files, settings.task, settings.hop) if files else None,
        accept_truncated=settings.accept_truncated,
        embedding=settings.embedding,
    )


def verify_index(
    index: Index,
    sample: int = 20,
    paths: Sequence[str | Path] = (),
    seed: int | None = None,
    engine: str = "auto",
    device: str | None = None,
) -> Verification:
    """Runs a random sample of an index's recordings through its model again and compares all scores.

    Args:
        index: to verify.
        sample: how many recordings at most.
        paths: only files at or below these.
        seed: of the sample; None: another one every time.
        engine, device: as `Tagger` takes them.

    Raises:
        UsageError: the model is not there, or is another one; no file to verify.
    """
    if sample < 1:
        raise UsageError(f"the number of files must be 1 or more, not {sample}")
    rows = index.select(paths)
    rows = rows[~index.failed[rows]]
    if not len(rows):
        raise UsageError(f"{index.folder}: no files to verify")
    found = Verification(len(rows))
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:sample]).tolist()
    run: list[int] = []
    for row in chosen:
        path, facts = index.paths[row], index.facts(row)
        stamp = stamp_of(path)
        if stamp is None:
            found.gone.append(path)
        elif stamp != Stamp(facts["size"], facts["mtime_ns"]):
            found.changed.append(path)
        else:
            run.append(row)
    files = [index.paths[row] for row in run]
    tagger = open_model(index, engine, files, device)
    found.environment = _environment(index, tagger)
    with caught(), Progress(total=len(files), description="verify", unit="files") as bar:
        for row, (_, outcome) in zip(run, tagger.tag_files(files), strict=True):
            _compare(index, row, outcome, found)
            bar.advance()
    return found


def _compare(index: Index, row: int, outcome: Tags | AudioError, found: Verification) -> None:
    path, stored = index.paths[row], index.outcome(row)
    found.files += 1
    assert isinstance(stored, Tags)
    if isinstance(outcome, AudioError):
        found.differing.append((path, f"cannot be used now ({outcome})"))
        return
    if not np.array_equal(stored.starts, outcome.starts):
        found.differing.append(
            (path, f"{len(outcome.starts):,} windows, not {len(stored.starts):,}; decoded otherwise")
        )
        return
    tolerance = TOLERANCE.get(index.settings.precision, min(TOLERANCE.values()))
    differences = np.abs(stored.over_time - outcome.over_time).max(axis=0)
    whole = np.abs(stored.scores - outcome.scores)
    found.worst = max(found.worst, float(whole.max()), float(differences.max()) - SCORE_ERROR)
    if max(float(whole.max()), float(differences.max()) - SCORE_ERROR) > tolerance:
        worst = int(np.argmax(np.maximum(differences, whole)))
        window = int(np.abs(stored.over_time[:, worst] - outcome.over_time[:, worst]).argmax())
        then, now = stored.over_time[window, worst], outcome.over_time[window, worst]
        at = stored.times[window]
        found.differing.append((path, f"{index.classes[worst]} at {at:.2f} s was {then:.4f} and is {now:.4f}"))


def _environment(index: Index, tagger: Tagger) -> list[str]:
    made_by = index.settings.made_by
    now = provenance(tagger, index.settings.model_sha256)
    names = ("samplecnn", "engine", "decoder")
    return [f"{name}: {made_by[name]}, now {now[name]}" for name in names if made_by.get(name, now[name]) != now[name]]
