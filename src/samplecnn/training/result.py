"""The end of a run: test scores, and a last file that they name."""

from dataclasses import dataclass
from pathlib import Path

from samplecnn import model_files
from samplecnn.evaluation import Scores
from samplecnn.interop.keras import h5, unsupported
from samplecnn.models import SampleCNN
from samplecnn.system.log import show
from samplecnn.training.scored import ScoredRun


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Args:
        run: its directory.
        scores: of the test split, with the weights of the last stage; None for a final model, trained on every clip.
        final: the model's file.
    """

    run: Path
    scores: Scores | None
    final: Path


def write_final(model: SampleCNN, run: Path, scores: Scores | None) -> TrainResult:
    """Writes the original's final .h5, with the scores in its name, for a network that Keras can represent."""
    final = run / model_files.WEIGHTS
    if unsupported(model.config) is None:
        name = "all"
        if scores is not None:
            name = f"auc_{scores.roc_auc:.6f}-acc_{scores.accuracy:.6f}-f1_{scores.f1:.6f}"
        final = run / f"final-{name}.h5"
        h5.write(model, final)
    return TrainResult(run, scores, final)


def show_final(result: TrainResult, scored: ScoredRun | None = None) -> TrainResult:
    """Prints the result, also with --quiet; of a final model, the scores of the run that it is like."""
    scores = f"final scores: {result.scores}" if scored is None else f"trained on every clip, like {scored}"
    show(f"{scores}\nfinal model: {result.final}")
    return result
