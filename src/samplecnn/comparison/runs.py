"""One run of a comparison: a baseline, or a network that is trained, resumed, or scored once more."""

import contextlib
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.comparison.records import BEGUN, FAILED, FINISHED, NETWORK, Records, RunRecord, recorded_options
from samplecnn.datasets.custom import slug
from samplecnn.errors import SampleCNNError, UsageError, add_remedy
from samplecnn.evaluation.metrics import Scores, score
from samplecnn.shards.folds import open_built_splits
from samplecnn.task import Task
from samplecnn.training.options import TrainOptions

if TYPE_CHECKING:
    from samplecnn.shards import Segments

SAME_COMMAND = "continue with the same command"


@dataclass(frozen=True)
class Job:
    """A run that a comparison needs.

    Args:
        kind: NETWORK, or the name of a baseline.
        label: the combination of options, or the baseline, in words: a row of the table.
        given: options of training that are given; None for a baseline.
        seed: of the run.
        fold: as for `train`.
        data_dir: folder of the built data set.
    """

    kind: str
    label: str
    given: dict[str, Any] | None
    seed: int
    fold: str | None
    data_dir: str

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.label}, seed {self.seed}{fold}"


class Data:
    """The data set of a comparison; of the folds, the last one that was used stays open."""

    def __init__(self, dataset: str, data_dir: str) -> None:
        self.dataset, self.data_dir = dataset, data_dir
        self.fingerprint = ""
        self._training: dict[str | None, tuple[int, Task]] = {}
        self._fold: str | None = None
        self._open: dict[str, Segments] | None = None

    def training_split(self, fold: str | None) -> tuple[int, Task]:
        """Its number of segments, and its task."""
        if fold not in self._training:
            train = self.splits(fold)["train"]
            self._training[fold] = len(train), train.task
        return self._training[fold]

    def splits(self, fold: str | None) -> "dict[str, Segments]":
        if self._open is None or fold != self._fold:
            self._open = open_built_splits(self.dataset, self.data_dir, fold)
            self._fold = fold
            record = self._open["train"].record
            self.fingerprint = "" if record is None else record.fingerprint
        return self._open


def open_builds(dataset: str, data_dirs: Sequence[str], folds: Sequence[str | None]) -> dict[str, Data]:
    """The builds of a data set that a comparison trains on, by their folder. Every fold is opened, and its statistics
    measured, before the first run.

    Raises:
        UsageError: not built, a fold with too few clips, or builds with other test clips.
    """
    builds = {data_dir: Data(dataset, data_dir) for data_dir in data_dirs}
    first, tested = data_dirs[0], dict[str | None, set[str]]()
    for data_dir, data in builds.items():
        for fold in folds:
            data.training_split(fold)
            clips = set(data.splits(fold)["test"].ids)
            if clips != tested.setdefault(fold, clips):
                raise UsageError(
                    f"{data_dir}: its test clips of {dataset} are not those of {first}; build both from the same "
                    "recordings, with the same --seed"
                )
    return builds


def record_for(job: Job, data: Data, records: Records) -> RunRecord:
    """The record of the job's run, a new one if it has not begun."""
    if job.given is None:
        from samplecnn.evaluation.baselines import VERSION

        options = {"seed": job.seed, "fold": job.fold, "features_version": VERSION}
    else:
        from samplecnn.training.start import options_for

        given = {"dataset": data.dataset, **job.given, "seed": job.seed, "fold": job.fold}
        options = recorded_options(options_for(given, *data.training_split(job.fold)).to_dict())
    return records.find(RunRecord(job.kind, options, data.fingerprint))


def execute(job: Job, data: Data, folder: Path, records: Records, num_readers: int) -> RunRecord:
    """Carries out a job unless it is finished, and returns its record.

    A failure is recorded and does not raise; an interruption does, and what has been trained is kept.
    """
    record = record_for(job, data, records)
    if record.status == FINISHED:
        return record
    record.status, record.error = BEGUN, ""
    try:
        if job.kind == NETWORK:
            _train(job, data, folder, record, records)
        else:
            _fit_baseline(job, data, record, num_readers)
    except OSError as error:  # a full disk, which the next run would meet as well
        add_remedy(error, SAME_COMMAND)
        raise
    except Exception as error:
        record.status = FAILED
        record.error = str(error) if isinstance(error, SampleCNNError) else f"{type(error).__name__}: {error}"
    else:
        record.status = FINISHED
    records.save(record)
    return record


def _train(job: Job, data: Data, folder: Path, record: RunRecord, records: Records) -> None:
    from samplecnn.training import TrainResult, resume, train

    assert job.given is not None
    name = f"{slug(job.label)[:60]}-{record.id}"
    records.save(record)
    begun = sorted(path.parent for path in folder.glob(f"*-{name}/checkpoint.pt"))
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the table
        if begun and _is_finished(begun[-1]):  # it was interrupted between its last step and its record
            scores = _scores(begun[-1], data.splits(job.fold)["test"])
            result = TrainResult(begun[-1], scores, begun[-1])
        elif begun:
            result = resume(begun[-1], data.data_dir)
        else:
            settings = {**job.given, "seed": job.seed, "fold": job.fold, "data_dir": data.data_dir}
            result = train(data.dataset, name, **settings, log_dir=str(folder), baseline=False)
    assert result.scores is not None  # it was not trained on every clip
    record.folder, record.scores = result.run.name, _plain(result.scores)
    _describe(result.run, record, job.given.get("device", TrainOptions.device))


def _is_finished(run: Path) -> bool:
    from samplecnn.training.checkpoint import load_checkpoint

    return load_checkpoint(run).state.finished


def _scores(run: Path, test: "Segments") -> Scores:
    from samplecnn.evaluation import predict
    from samplecnn.evaluation.probabilities import load_on_device

    model = load_on_device(run, None)
    assert model.task is not None  # load_on_device has checked it
    found = predict(model, test)
    return score(found.y_true, found.y_prob, model.task)


def _describe(run: Path, record: RunRecord, device: str) -> None:
    """Adds what the run's files tell of its network and its speed, and on what it was trained."""
    from samplecnn.analysis.summary import summarize
    from samplecnn.hardware import choose_device, device_name
    from samplecnn.model_files import load
    from samplecnn.training.logging import read_metrics

    totals = summarize(load(run)).totals
    record.parameters, record.macs = totals["parameters"], totals["macs"]
    epochs = [row for row in read_metrics(run) if row["event"] == "epoch"]
    record.machine = device_name(choose_device(None if device == "auto" else device))
    record.segments_per_second = statistics.median(row["segments_per_second"] for row in epochs)
    record.seconds = epochs[-1]["seconds"]


def _fit_baseline(job: Job, data: Data, record: RunRecord, num_readers: int) -> None:
    from samplecnn.evaluation.baselines import run_baseline

    splits, began = data.splits(job.fold), time.monotonic()
    found = run_baseline(job.kind, [splits["train"], splits["val"]], splits["test"], job.seed, num_readers)
    record.scores = _plain(score(found.y_true, found.y_prob, splits["test"].task))
    record.seconds = time.monotonic() - began


def _plain(scores: Scores) -> dict[str, Any]:
    """The scores of the whole test set, for JSON."""
    return {name: value for name, value in scores.to_dict().items() if name not in ("per_class", "left_out")}
