"""samplecnn eval DATASET MODEL: how good a model is on the test set."""

from typing import Annotated

import typer

from samplecnn.cli.shared import Built, Device, Engine, Model, Precision


def evaluate_command(
    dataset: Built,
    model: Model,
    data_dir: Annotated[str, typer.Option(help="The folder of the built data sets.")] = "./data",
    batch_size: Annotated[int, typer.Option(min=1, help="Segments a step; the scores do not depend on it.")] = 23,
    num_readers: Annotated[int, typer.Option(min=1, help="Threads that read ahead.")] = 8,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out damaged TFRecords, counted, instead of stopping there.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the scores and the per-class table as JSON.")
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Where the pictures go: a confusion matrix, or precision and recall of every class. "
            "If not given: test-DATASET in the model's run directory, if it lies in one.",
        ),
    ] = None,
    device: Device = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help="What runs the model: auto for the fastest; if not given, the model itself, in fp32."),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of the engine (torch if none is given): auto is what the machine does fast."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also test the model itself, in fp32, and tell how the engine differs from it."),
    ] = False,
) -> None:
    """Score a model on a data set's test clips: ROC-AUC, PR-AUC, accuracy, F1, and a table of all classes."""
    from samplecnn.evaluation.run_eval import run_eval

    chosen, kind = engine and engine.value, precision and precision.value
    run_eval(
        dataset, model, data_dir, batch_size, num_readers, json, pictures, device, skip_corrupt, chosen, kind, compare
    )
