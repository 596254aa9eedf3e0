"""How a model was trained, as config.json next to its weights has it."""

from typing import Any

from samplecnn import __version__
from samplecnn.training.options import TrainOptions
from samplecnn.training.scored import ScoredRun

# Options that do not change what a model learns, and are not recorded with it.
NOT_RECORDED = ("name", "data_dir", "log_dir", "num_readers", "device", "baseline")


def recorded(options: TrainOptions) -> dict[str, Any]:
    """The options that decide what a model learns."""
    return {name: value for name, value in options.to_dict().items() if name not in NOT_RECORDED}


def training_record(
    options: TrainOptions,
    precision: str,
    history: list[dict[str, Any]],
    segments: int,
    data: dict[str, Any],
    scored: ScoredRun | None = None,
) -> dict[str, Any]:
    """The record of the best weights so far.

    Args:
        options: of the run.
        precision: of its steps.
        history: the rows of metrics.jsonl.
        segments: of the training split.
        data: what the weights depend on, see `SeenClips.save`.
        scored: the run that a final model is like, whose scores are not the model's own.
    """
    best = [row for row in history if row["event"] == "epoch" and row["best"]][-1]
    extensions = [row for row in history if row["event"] == "extended"]
    return {
        "samplecnn": __version__,
        "stage": best["stage"],
        "epoch": best["epoch"],
        "steps": best["total_steps"],
        **({} if best["val_loss"] is None else {"val_loss": best["val_loss"]}),
        "segments": segments,
        "options": {**recorded(options), "precision": precision},
        "data": data,
        **({"extended": extensions} if extensions else {}),
        **({} if scored is None else {"trained_on": "all", "scored_by": scored.record()}),
    }
