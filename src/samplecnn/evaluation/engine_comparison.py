"""How far an engine's answers are from the model's own, clip by clip and in the scores."""

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
    """An engine against the model itself in full precision, over a whole split.

    Args:
        engine, precision: what was compared.
        clips: of the split.
        largest: difference of a probability, of all clips and classes.
        mean: difference of a probability.
        roc_auc, pr_auc: the engine's less the model's, macro averages.
        decided_otherwise: clips of which the engine's classes are others.
    """

    engine: str
    precision: str
    clips: int
    largest: float
    mean: float
    roc_auc: float
    pr_auc: float
    decided_otherwise: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.engine} {self.precision} against the model itself: rocauc {self.roc_auc:+.6f}, "
            f"prauc {self.pr_auc:+.6f}, probabilities differ by {self.largest:.2g} at most and {self.mean:.2g} "
            f"on average, {self.decided_otherwise:,} of {self.clips:,} clips are decided otherwise"
        )


def compare(model: "SampleCNN", engine: "Engine", segments: "Segments", batch_size: int = 32) -> Comparison:
    """Runs a split through an engine and through the model itself, in full precision.

    Args:
        model: that the engine was opened for.
        engine: to be compared.
        segments: a split of a built data set that fits the model.
        batch_size: segments a step.
    """
    plain = predict(model, segments, batch_size)
    assert model.task is not None  # predict has seen to it
    return compare_predictions(plain, predict(model, segments, batch_size, engine=engine), model.task, engine)


def compare_predictions(plain: Predictions, others: Predictions, task: Task, engine: "Engine") -> Comparison:
    """The same from what the model and what the engine said of the same clips."""
    before, after = (score(given.y_true, given.y_prob, task) for given in (plain, others))
    differences = np.abs(plain.y_prob - others.y_prob)
    decisions = (decide(given.y_prob, task) for given in (plain, others))
    return Comparison(
        engine=engine.name,
        precision=engine.precision,
        clips=len(plain.ids),
        largest=float(differences.max()),
        mean=float(differences.mean()),
        roc_auc=after.roc_auc - before.roc_auc,
        pr_auc=after.pr_auc - before.pr_auc,
        decided_otherwise=int(np.not_equal(*decisions).any(axis=1).sum()),
    )
