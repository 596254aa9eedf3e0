"""`samplecnn train`, and the original's train.py."""

from typing import Annotated, Any

import typer

from samplecnn.cli.choices import BLOCKS, DATA_SETS, FRONTENDS, POOLINGS, TRAIN_PRECISIONS, choice
from samplecnn.cli.shared import SkipCorrupt, next_command
from samplecnn.errors import UsageError
from samplecnn.extras import require
from samplecnn.training.options import TrainOptions as Default

RESUMABLE = ("data_dir", "device", "num_stages", "max_epochs", "patience")  # the options that a resumed run may change


def train(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help=f"{{{DATA_SETS}}}, a folder of classes, a CSV or Parquet manifest, or a folder of TFRecords.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the run; by default the block, plus _multi.")
    ] = Default.name,
    data_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder of the built data sets.")] = Default.data_dir,
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder for run directories.")] = Default.log_dir,
    block: Annotated[str, choice(of=BLOCKS, help="Building block of the network.")] = Default.block,
    amplifying_ratio: Annotated[
        float,
        typer.Option(
            metavar="N", help="Hidden width of the excitations, as a share of the features; 0: none in rese1, rese2."
        ),
    ] = Default.amplifying_ratio,
    multi: Annotated[bool, typer.Option("--multi", help="Multi-level feature aggregation.")] = Default.multi,
    pool_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Frames that every block pools, 2 or more; the depth follows. [default: 3]"),
    ] = Default.pool_size,
    filter_size: Annotated[
        int | None, typer.Option(metavar="N", help="Frames of the blocks' convolutions. [default: 3]")
    ] = Default.filter_size,
    first_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Width and stride of the first convolution. [default: the pool size]"),
    ] = Default.first_size,
    pooling: Annotated[
        str, choice(of=POOLINGS, help="max: max-pooling; strided: convolutions with a stride in its place.")
    ] = Default.pooling,
    frontend: Annotated[
        str,
        choice(of=FRONTENDS, help="logmel: log-mel frames in place of the first convolution and the first blocks."),
    ] = Default.frontend,
    mels: Annotated[
        int | None, typer.Option(metavar="N", help="Bands of the log-mel frames. [default: 64]")
    ] = Default.mels,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Segments in a batch.")] = Default.batch_size,
    momentum: Annotated[float, typer.Option(metavar="M", help="Momentum of SGD (Nesterov).")] = Default.momentum,
    lr: Annotated[float, typer.Option(metavar="LR", help="Learning rate of the first stage.")] = Default.lr,
    warmup: Annotated[
        int,
        typer.Option(metavar="N", help="Steps over which the learning rate rises from 0; 0, as in the original: none."),
    ] = Default.warmup,
    lr_decay: Annotated[
        float, typer.Option(metavar="DC", help="Factor from one stage's learning rate to the next.")
    ] = Default.lr_decay,
    dropout: Annotated[float, typer.Option(metavar="DO", help="Dropout rate before the last layer.")] = Default.dropout,
    weight_decay: Annotated[
        float,
        typer.Option(
            metavar="WD",
            help="Penalty WD * sum(w^2) on convolution kernels. In the original this option has no effect.",
        ),
    ] = Default.weight_decay,
    num_stages: Annotated[int, typer.Option(metavar="N", help="Number of stages.")] = Default.num_stages,
    patience: Annotated[
        int,
        typer.Option(metavar="N", help="Epochs without a better validation loss after which a stage ends; 0 is as 1."),
    ] = Default.patience,
    num_readers: Annotated[
        int, typer.Option(metavar="N", help="Threads that read batches ahead.")
    ] = Default.num_readers,
    skip_corrupt: SkipCorrupt = Default.skip_corrupt,
    features: Annotated[int, typer.Option(metavar="N", help="Width of the first layers.")] = Default.features,
    max_epochs: Annotated[
        int, typer.Option(metavar="N", help="Epochs after which a stage ends in any case.")
    ] = Default.max_epochs,
    precision: Annotated[
        str,
        choice(
            of=TRAIN_PRECISIONS,
            help="Number format of the arithmetic. auto: bf16 where it is faster, else fp32; tf32: NVIDIA GPUs only.",
        ),
    ] = Default.precision,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, or auto.")] = Default.device,
    compile: Annotated[
        bool, typer.Option("--compile", help="On a GPU: fuse operations with torch.compile and replay CUDA graphs.")
    ] = Default.compile,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the initial values, the order of segments and dropout.")
    ] = Default.seed,
    init_from: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Start from the weights of this model.")
    ] = Default.init_from,
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="FOLD",
            help="One fold of a cross-validation: K/N, the K-th of N drawn folds, or a value of the fold column.",
        ),
    ] = Default.fold,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline/--no-baseline", help="After a training on few clips, report what quick baselines reach."
        ),
    ] = Default.baseline,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            allow_from_autoenv=False,
            help="Continue this run with its own settings; --data-dir and --device may differ, and a larger "
            "--num-stages, --max-epochs or --patience extends it.",
        ),
    ] = None,
) -> None:
    """Train a SampleCNN on a built data set: stages, checkpoints, learning curves, test scores, final model."""
    require("samplecnn train", "train")
    if resume is not None:
        changed = _changed_on_resume(context)
        from samplecnn.training import resume as resume_run

        result = resume_run(resume, **changed)
        next_command("tag", str(result.run), "RECORDING")
        return
    if dataset is None:
        raise UsageError("which data set? samplecnn train DATASET [NAME], or --resume RUN")
    settings = {key: value for key, value in context.params.items() if key in Default.__dataclass_fields__}
    from samplecnn.training import train as train_run

    result = train_run(**settings)
    next_command("tag", str(result.run), "RECORDING")


def _changed_on_resume(context: typer.Context) -> dict[str, Any]:
    """The options given with --resume, which say where things are or extend the run, which knows all others itself.

    Only the command line counts. What a --config file or the environment sets is meant for new runs: the interrupted
    one has recorded what it started with, and continuing it must give the same result wherever that is done.
    """
    given = {
        key: value
        for key, value in context.params.items()
        if key in Default.__dataclass_fields__
        and getattr(context.get_parameter_source(key), "name", "") == "COMMANDLINE"
    }
    others = [f"--{key.replace('_', '-')}" for key in given if key not in RESUMABLE and key not in ("dataset", "name")]
    others += [key.upper() for key in ("dataset", "name") if key in given]
    if others:
        raise UsageError(f"a resumed run keeps its own settings: leave out {', '.join(others)}")
    return given
