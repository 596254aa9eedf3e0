"""Differences in probabilities and scores between an inference engine and the model itself."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.evaluation.metrics import decide, score
from samplecnn.evaluation.predict import Predictions, predict
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.inference import Engine
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments


@dataclass(frozen=True)
class Comparison:
    """An engine compared with the model itself in full precision, over a whole split.

    Args:
        engine, precision: the engine compared, and its precision.
        clips: number of clips in the split.
        max_difference: largest absolute difference of a probability over all clips and classes.
        mean_difference: mean absolute difference of a probability.
        roc_auc, pr_auc: macro averages, the engine's minus the model's.
        predicted_differently: number of clips with different predicted classes.
    """

    engine: str
    precision: str
    clips: int
    max_difference: float
    mean_difference: float
    roc_auc: float
    pr_auc: float
    predicted_differently: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.precision} against the model itself: rocauc {self.roc_auc:+.6f}, "
            f"prauc {self.pr_auc:+.6f}, probabilities differ by {self.max_difference:.2g} at most and "
            f"{self.mean_difference:.2g} on average, {self.predicted_differently:,} of {self.clips:,} clips are "
            "predicted differently"
        )


def compare(model: "SampleCNN", engine: "Engine", segments: "Segments", batch_size: int = 32) -> Comparison:
    """Runs a split through an engine and through the model itself in full precision.

    Args:
        model: the model that the engine was opened for.
        engine: the engine to compare with it.
        segments: a split of a built data set that fits the model.
        batch_size: segments per step.
    """
    reference = predict(model, segments, batch_size)
    assert model.task is not None  # predict has checked it
    return compare_predictions(reference, predict(model, segments, batch_size, engine=engine), model.task, engine)


def compare_predictions(reference: Predictions, other: Predictions, task: Task, engine: "Engine") -> Comparison:
    """`compare` from predictions for the same clips: the model's (`reference`) and the engine's (`other`)."""
    before, after = (score(predicted.y_true, predicted.y_prob, task) for predicted in (reference, other))
    differences = np.abs(reference.y_prob - other.y_prob)
    decisions = (decide(predicted.y_prob, task) for predicted in (reference, other))
    return Comparison(
        engine=engine.name,
        precision=engine.precision,
        clips=len(reference.ids),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        roc_auc=after.roc_auc - before.roc_auc,
        pr_auc=after.pr_auc - before.pr_auc,
        predicted_differently=int(np.not_equal(*decisions).any(axis=1).sum()),
    )
