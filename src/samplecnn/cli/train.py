"""`samplecnn train`, and the original's train.py."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from samplecnn.errors import UsageError


class Block(StrEnum):
    basic = "basic"
    se = "se"
    res1 = "res1"
    res2 = "res2"
    rese1 = "rese1"
    rese2 = "rese2"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    tf32 = "tf32"
    bf16 = "bf16"


MOVABLE = ("data_dir", "device")  # what a resumed run may have elsewhere than before


def train(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET", help="mtt, scd, dcs, demo, a folder, a CSV/Parquet manifest, or a folder of TFRecords."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the run (default: the block, plus _multi).")
    ] = None,
    data_dir: Annotated[str, typer.Option(metavar="PATH", help="Where the built data sets are.")] = "./data",
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Where run directories go.")] = "./log",
    block: Annotated[Block, typer.Option(help="Building block of the model.")] = Block.se,
    amplifying_ratio: Annotated[
        float, typer.Option(metavar="N", help="Hidden width of the excitations, as a share of the features.")
    ] = 0.125,
    multi: Annotated[bool, typer.Option("--multi", help="Multi-level feature aggregation.")] = False,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Segments a step.")] = 23,
    momentum: Annotated[float, typer.Option(metavar="M", help="Momentum of SGD (Nesterov).")] = 0.9,
    lr: Annotated[float, typer.Option(metavar="LR", help="Learning rate of the first stage.")] = 0.01,
    warmup: Annotated[
        int, typer.Option(metavar="N", help="Steps in which the learning rate rises from 0 (0: at once, the original).")
    ] = 200,
    lr_decay: Annotated[float, typer.Option(metavar="DC", help="Learning-rate factor from stage to stage.")] = 0.2,
    dropout: Annotated[float, typer.Option(metavar="DO", help="Dropout before the last layer.")] = 0.5,
    weight_decay: Annotated[
        float, typer.Option(metavar="WD", help="Penalty WD * sum(w^2) on convolution kernels.")
    ] = 0.0,
    num_stages: Annotated[int, typer.Option(metavar="N", help="Stages of training.")] = 5,
    patience: Annotated[
        int, typer.Option(metavar="N", help="Epochs without a better validation loss that end a stage.")
    ] = 2,
    num_readers: Annotated[int, typer.Option(metavar="N", help="Threads that read batches ahead.")] = 8,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out damaged TFRecords, counted, instead of stopping there.")
    ] = False,
    features: Annotated[int, typer.Option(metavar="N", help="Width of the first layers.")] = 128,
    max_epochs: Annotated[int, typer.Option(metavar="N", help="Epochs that end a stage in any case.")] = 100,
    precision: Annotated[
        Precision,
        typer.Option(help="Arithmetic of the training; auto: bf16 where the hardware has it; tf32: on GPUs."),
    ] = Precision.auto,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, or auto.")] = "auto",
    compile: Annotated[
        bool,
        typer.Option("--compile", help="On a GPU: fused passes (torch.compile), steps played back as CUDA graphs."),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of initial values, order and dropout.")] = 0,
    init_from: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Begin with the weights of this model.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with this interrupted run, with its own settings."),
    ] = None,
) -> None:
    """Train a SampleCNN on a built data set: stages, checkpoints, curves, test scores, final model."""
    if resume is not None:
        moved = _resume_settings(context)
        from samplecnn.training import resume as resume_run

        resume_run(resume, **moved)
        return
    if dataset is None:
        raise UsageError("which data set? samplecnn train DATASET [NAME], or --resume RUN")
    settings = {key: value for key, value in context.params.items() if key not in ("dataset", "name", "resume")}
    from samplecnn.training import train as train_run

    train_run(dataset, name, **{**settings, "block": str(block), "precision": str(precision)})


def _resume_settings(context: typer.Context) -> dict[str, Any]:
    """What was given beside --resume, which must be a matter of place; everything else comes from the run."""
    given = {
        key: value
        for key, value in context.params.items()
        if key != "resume" and getattr(context.get_parameter_source(key), "name", "") == "COMMANDLINE"
    }
    others = [f"--{key.replace('_', '-')}" for key in given if key not in MOVABLE and key not in ("dataset", "name")]
    others += [key.upper() for key in ("dataset", "name") if key in given]
    if others:
        raise UsageError(f"a resumed run keeps its own settings: leave out {', '.join(others)}")
    return given
