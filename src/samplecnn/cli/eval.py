"""samplecnn eval DATASET MODEL: scores on the test split."""

from typing import Annotated

import typer

from samplecnn.cli.choices import ENGINES, PRECISIONS, choice
from samplecnn.cli.shared import BatchSize, Built, DataDir, Device, Model, NumReaders, SkipCorrupt, require_pytorch


def evaluate_command(
    dataset: Built,
    model: Model,
    data_dir: DataDir = "./data",
    batch_size: BatchSize = 23,
    num_readers: NumReaders = 8,
    skip_corrupt: SkipCorrupt = False,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the scores and the per-class table as JSON.")
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the plots: a confusion matrix, or precision and recall of every class. "
            "By default test-DATASET in the model's run directory, if it is in one.",
        ),
    ] = None,
    device: Device = None,
    engine: Annotated[
        str | None,
        choice(
            of=f"auto+{ENGINES}",
            help="Inference engine; auto: the fastest. By default the PyTorch model itself, in fp32.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        choice(of=PRECISIONS, help="Precision of the engine (torch if none is given); auto: bf16 if it is faster."),
    ] = None,
    fit_thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="GOAL",
            help="First calibrate the model and fit each class's threshold to validation clips, for GOAL f1, "
            "precision=P or recall=R (none: calibrate only); both are written to the model's config.json "
            "and used wherever it is loaded.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also evaluate the PyTorch model in fp32, and report the differences."),
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(metavar="FOLD", help="Use the test clips of this fold of a cross-validation; see train --fold."),
    ] = None,
) -> None:
    """Score a model on a data set's test clips: ROC-AUC, PR-AUC, accuracy, F1, and a table of all classes."""
    require_pytorch("samplecnn eval")
    from samplecnn.evaluation.run_eval import run_eval

    run_eval(
        dataset,
        model,
        data_dir,
        batch_size,
        num_readers,
        json,
        pictures,
        device,
        skip_corrupt,
        engine,
        precision,
        compare,
        fold,
        fit_thresholds,
    )
