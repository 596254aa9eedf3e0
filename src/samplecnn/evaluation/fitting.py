"""`samplecnn eval --fit-thresholds`: calibration and thresholds from validation clips, written into config.json."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn import model_files
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.calibration import (
    Calibration,
    clip_means,
    expected_calibration_error,
    fit_calibration,
)
from samplecnn.evaluation.evaluator import check_fit
from samplecnn.evaluation.metrics import above_threshold
from samplecnn.evaluation.predict import clips_of, segment_probabilities
from samplecnn.evaluation.probabilities import load_on_device
from samplecnn.evaluation.seen_clips import clip_hashes, read_seen
from samplecnn.evaluation.thresholds import ClassThreshold, Goal, fit_thresholds
from samplecnn.shards.folds import open_built_splits
from samplecnn.system.arguments import checked
from samplecnn.system.log import one_line
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments

SHOWN = 5  # classes whose goal is not met, or that have too few clips, that are named


@dataclass(frozen=True)
class Fitted:
    """What was fitted, and what it changes.

    Args:
        goal: of the thresholds.
        dataset: whose validation clips they were fitted to.
        task: the model's, with the thresholds.
        thresholds: of each class.
        calibration: of the logits, on top of what the model had.
        ece: expected calibration error before and after, on validation clips (to which it was fitted) and test clips.
        macro_f1: at the thresholds before and after, on test clips.
    """

    goal: Goal
    dataset: str
    task: Task
    thresholds: list[ClassThreshold]
    calibration: Calibration
    ece: dict[str, tuple[float, float]]
    macro_f1: tuple[float, float]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "goal": str(self.goal),
            "dataset": self.dataset,
            "ece": {split: list(values) for split, values in self.ece.items()},
            "macro_f1": list(self.macro_f1),
            "classes": [row.to_dict() for row in self.thresholds],
        }

    def lines(self) -> list[str]:
        """For people."""
        values = [row.threshold for row in self.thresholds]
        span = f"{min(values):.3f} to {max(values):.3f}" if values else "as they were"
        lines = [
            f"thresholds for {self.goal} on {self.dataset}'s validation clips: {span}",
            *(
                f"expected calibration error on {split} clips: {before:.4f} before, {after:.4f} after"
                for split, (before, after) in self.ece.items()
            ),
            f"macro F1 of test clips at the thresholds: {self.macro_f1[0]:.4f} before, {self.macro_f1[1]:.4f} after",
        ]
        for rows, what in (
            ([row for row in self.thresholds if not row.met], f"{self.goal} is not reached for"),
            ([row for row in self.thresholds if not row.fitted], "too few validation clips, threshold kept, for"),
        ):
            if rows:
                names = ", ".join(one_line(row.name) for row in rows[:SHOWN])
                lines.append(
                    f"{what} {len(rows)} of {len(self.thresholds)} classes: {names}{', …' * (len(rows) > SHOWN)}"
                )
        return lines


@checked
def fit(
    model: str | Path,
    dataset: str,
    data_dir: str | Path = "./data",
    goal: str = "f1",
    batch_size: int = 23,
    num_readers: int = 8,
    device: str | None = None,
    progress: bool = False,
    skip_corrupt: bool = False,
    fold: str | None = None,
) -> Fitted:
    """Calibrates a model, fits the threshold of each class, and writes both into its config.json.

    Weights stay as they are; whoever loads the model gets calibrated probabilities, and a task with thresholds.

    Args:
        model: a run directory, or a .safetensors with its config.json.
        dataset, data_dir, batch_size, num_readers, device, progress, skip_corrupt, fold: as for `evaluate`.
        goal: "f1", the best for each class; "precision=P" or "recall=R", see `thresholds.fit_thresholds`; "none"
            calibrates only.

    Raises:
        UsageError: an unknown goal, a model without config.json, one that does not fit the data set, or a final model,
            trained on every clip.
        SampleCNNError: probabilities that are not finite.
    """
    wanted = Goal.parse(goal)
    model_files.update_description(model, {})  # what cannot be written is found out now
    loaded = load_on_device(model, device)
    task = loaded.task
    assert task is not None
    splits = open_built_splits(dataset, data_dir, fold, ("val", "test"), skip_corrupt)
    for segments in splits.values():
        check_fit(task, segments.task, str(model), str(dataset))
    _refuse_final(model, splits["val"], num_readers)
    options = {"batch_size": batch_size, "progress": progress, "num_readers": num_readers}
    prob = {split: _probabilities(loaded, segments, options) for split, segments in splits.items()}
    clips = {split: clips_of(segments) for split, segments in splits.items()}
    true = {split: part.labels for split, part in clips.items()}
    calibration = fit_calibration(prob["val"], clips["val"].of_segment, true["val"], task)
    before = {split: clip_means(prob[split], clips[split].of_segment) for split in splits}
    after = {split: clip_means(calibration(prob[split], task), clips[split].of_segment) for split in splits}
    found: list[ClassThreshold] = []
    fitted_task = task
    if wanted.measure != "none":
        found = fit_thresholds(true["val"], after["val"], task, wanted, clips["val"].groups)
        fitted_task = replace(task, thresholds=tuple(row.threshold for row in found))
    result = Fitted(
        wanted,
        str(dataset),
        fitted_task,
        found,
        calibration,
        ece={name: _both(true[name], before[name], after[name], task) for name in splits},
        macro_f1=(
            _macro_f1(true["test"], before["test"], task),
            _macro_f1(true["test"], after["test"], fitted_task),
        ),
        warnings=[warning for segments in splits.values() for warning in segments.warnings()],
    )
    model_files.update_description(
        model,
        {
            "task": fitted_task.to_dict(),
            "calibration": _combined(model, calibration),
            "thresholds": result.to_dict(),
        },
    )
    return result


def _refuse_final(model: str | Path, val: "Segments", num_readers: int) -> None:
    """Raises UsageError if the model was trained on these clips: probabilities there are not those of new clips."""
    training, seen = model_files.training_of(model) or {}, read_seen(model)
    if training.get("trained_on") == "all" and seen is not None and seen.overlap(clip_hashes(val, num_readers)):
        run = training.get("scored_by", {}).get("run", "the run that it is like")
        raise UsageError(
            f"{model}: it was trained on all clips, and none are left to fit to; fit {run}, and train with "
            f"--train-on all --like {run} again"
        )


def _probabilities(model: "SampleCNN", segments: "Segments", options: dict[str, Any]) -> np.ndarray:
    """Of all segments of a split, float32 [segments, classes]."""
    prob = np.concatenate(list(segment_probabilities(model, segments, **options)))
    if not np.isfinite(prob).all():
        raise SampleCNNError("the model returns NaN or infinite values; its weights are damaged")
    return prob


def _both(true: np.ndarray, before: np.ndarray, after: np.ndarray, task: Task) -> tuple[float, float]:
    return expected_calibration_error(true, before, task), expected_calibration_error(true, after, task)


def _macro_f1(true: np.ndarray, prob: np.ndarray, task: Task) -> float:
    """Mean F1 over the classes that have clips, each predicted above its threshold."""
    above = above_threshold(prob, task)
    present = true.any(axis=0)
    hits = (true.astype(bool) & above).sum(axis=0)
    both = true.sum(axis=0, dtype=np.int64) + above.sum(axis=0)
    return float((2 * hits[present] / both[present]).mean())


def _combined(model: str | Path, calibration: Calibration) -> dict[str, list[float]]:
    """The calibration on top of the one that config.json has."""
    earlier = model_files.calibration_of(model)
    if earlier is not None:
        calibration = calibration.after(Calibration(*(np.array(earlier[name]) for name in ("scale", "shift"))))
    return {"scale": calibration.scale.tolist(), "shift": calibration.shift.tolist()}
