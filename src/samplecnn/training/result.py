"""The end of a run: test scores, and a last file that they name."""

from dataclasses import dataclass
from pathlib import Path

from samplecnn import model_files
from samplecnn.evaluation import Scores
from samplecnn.interop.keras import h5, unsupported
from samplecnn.models import SampleCNN
from samplecnn.system.log import show


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its directory, the test scores of the last stage and the final file."""

    run: Path
    scores: Scores
    final: Path


def write_final(model: SampleCNN, run: Path, scores: Scores) -> TrainResult:
    """Writes the original's final .h5, with the scores in its name, for a network that Keras can represent."""
    final = run / model_files.WEIGHTS
    if unsupported(model.config) is None:
        final = run / f"final-auc_{scores.roc_auc:.6f}-acc_{scores.accuracy:.6f}-f1_{scores.f1:.6f}.h5"
        h5.write(model, final)
    return TrainResult(run, scores, final)


def show_final(result: TrainResult) -> TrainResult:
    """Prints the result, also with --quiet."""
    show(f"final scores: {result.scores}\nfinal model: {result.final}")
    return result
