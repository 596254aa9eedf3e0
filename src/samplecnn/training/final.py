"""The final model: trained on every clip of a data set, by the recipe of a run whose scores are known.

Its epochs are those of that run's best weights, since there are no other clips to decide when to stop, nor to score the
model: it has the other run's scores, with the name of that run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.processes import join
from samplecnn.shards import Segments
from samplecnn.system.arguments import checked
from samplecnn.task import Task
from samplecnn.training.checkpoint import Checkpoint, load_checkpoint
from samplecnn.training.data import check_same_data, every_clip, open_splits, with_statistics
from samplecnn.training.options import TrainOptions
from samplecnn.training.result import TrainResult
from samplecnn.training.scored import SCORES, ScoredRun, fitted_to
from samplecnn.training.setup import check_batch, start_run


@checked
def train_on_all(
    like: str | Path,
    data_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    device: str | None = None,
) -> TrainResult:
    """Trains the final model on the training, validation and test clips of a finished run, by the run's recipe.

    Each stage takes the epochs of the run's best weights. There is no validation and no test: the model's config.json
    has the run's scores, and, if they were fitted, its calibration, thresholds and operating point; `evaluate` warns if
    the model is scored on any of these clips.

    Args:
        like: directory of the finished run.
        data_dir: folder of the built data sets, if it has moved.
        log_dir: folder in which the new run directory is made, if another than the run's own.
        device: "cpu", "cuda", "cuda:1" or "auto", if another than before.

    Returns:
        As `train`, without scores.

    Raises:
        UsageError: no such run, or one that is not finished, or fits an output layer only.
        SampleCNNError: a damaged checkpoint, or a data set that is not the one the run was trained on.
    """
    run, processes = Path(like), join()
    checkpoint = load_checkpoint(run, "--like")
    _check_scored(run, checkpoint)
    given: dict[str, Any] = {"data_dir": data_dir, "log_dir": log_dir, "device": device}
    changes = {key: value for key, value in given.items() if value is not None}
    own = TrainOptions.from_dict(checkpoint.options)
    options = replace(own, **{"precision": checkpoint.precision, "name": f"{own.name or own.block}-all", **changes})
    splits = open_splits(options, any_source=True)
    if options.freeze:
        with_statistics(splits, Task.from_dict(checkpoint.task))
    check_same_data(run, checkpoint, splits["train"])
    check_batch(options, processes)
    return start_run(options, {"train": every_clip(splits)}, scored_run(run, checkpoint, splits), processes)


def _check_scored(run: Path, checkpoint: Checkpoint) -> None:
    """Raises UsageError if a run is not finished, or has no scores of its own."""
    if checkpoint.scored is not None:
        raise UsageError(f"{run}: this run was trained on every clip itself, like {checkpoint.scored['run']}")
    if not checkpoint.state.finished:
        raise UsageError(f"{run}: this run is not finished; finish it with samplecnn train --resume {run}")


def scored_run(run: Path, checkpoint: Checkpoint, splits: dict[str, Segments]) -> ScoredRun:
    """What a finished run has decided and reached."""
    tests = [row for row in checkpoint.state.history if row["event"] == "test"]
    best = {row["stage"]: row["epoch"] for row in checkpoint.state.history if row["event"] == "epoch" and row["best"]}
    return ScoredRun(
        run=run.resolve().name,
        epochs=[best[stage + 1] for stage in range(checkpoint.options["num_stages"])],
        scores={name: tests[-1].get(name) for name in SCORES},
        clips={split: segments.num_clips for split, segments in splits.items()},
        fitted=fitted_to(run),
    )
