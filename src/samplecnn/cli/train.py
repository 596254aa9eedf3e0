"""`samplecnn train`, and the original's train.py."""

from typing import Annotated, Any

import typer

from samplecnn.cli.choices import (
    BLOCKS,
    DATA_SETS,
    FRONTENDS,
    MIXINGS,
    OPTIMIZERS,
    POOLINGS,
    RECIPES,
    SCHEDULES,
    TRAIN_PRECISIONS,
    by_recipe,
    choice,
)
from samplecnn.cli.shared import SkipCorrupt, next_command, require_pytorch
from samplecnn.errors import OptionError, UsageError
from samplecnn.training.options import TrainOptions as Default

# Options that may differ when a run is resumed, or repeated with --like.
RESUMABLE = ("data_dir", "device", "num_stages", "max_epochs", "patience")
LIKE = ("data_dir", "log_dir", "device")


def _of_network(metavar: str, help: str, default: object) -> Any:
    """An option whose default is `default`, or what the model of --init-from has; arguments as for `by_recipe`."""
    help = f"{help} [default: {default}]"
    return choice(of=metavar, help=help) if ":" in metavar else typer.Option(help=help, metavar=metavar)


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
    recipe: Annotated[
        str | None,
        choice(
            of=RECIPES,
            help="Defaults of the options below. original: the paper's procedure; modern: augmentation, AdamW over one "
            "cosine cycle, averaged weights. [default: original for mtt, scd and dcs, else modern]",
        ),
    ] = None,
    data_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder of the built data sets.")] = Default.data_dir,
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder for run directories.")] = Default.log_dir,
    block: Annotated[str | None, _of_network(BLOCKS, "Building block of the network.", Default.block)] = None,
    amplifying_ratio: Annotated[
        float | None,
        _of_network(
            "N",
            "Hidden width of the excitations, as a share of the features; 0: none in rese1, rese2.",
            Default.amplifying_ratio,
        ),
    ] = None,
    multi: Annotated[
        bool | None, by_recipe("multi", "", "The classifier sees the last three blocks (multi-level aggregation).")
    ] = None,
    pool_size: Annotated[
        int | None, _of_network("N", "Frames that every block pools, 2 or more; the depth follows.", 3)
    ] = None,
    filter_size: Annotated[int | None, _of_network("N", "Frames of the blocks' convolutions.", 3)] = None,
    first_size: Annotated[
        int | None, _of_network("N", "Width and stride of the first convolution.", "the pool size")
    ] = None,
    pooling: Annotated[
        str | None,
        _of_network(POOLINGS, "max: max-pooling; strided: convolutions with a stride in its place.", Default.pooling),
    ] = None,
    frontend: Annotated[
        str | None,
        _of_network(
            FRONTENDS,
            "logmel: log-mel frames in place of the first convolution and the first blocks.",
            Default.frontend,
        ),
    ] = None,
    mels: Annotated[int | None, _of_network("N", "Bands of the log-mel frames.", 64)] = None,
    batch_size: Annotated[int | None, by_recipe("batch_size", "N", "Segments per batch.")] = None,
    optimizer: Annotated[str | None, by_recipe("optimizer", OPTIMIZERS, "Optimizer.")] = None,
    momentum: Annotated[float | None, by_recipe("momentum", "M", "Momentum (Nesterov), or AdamW's first beta.")] = None,
    lr: Annotated[float | None, by_recipe("lr", "LR", "Learning rate of the first stage.")] = None,
    schedule: Annotated[
        str | None,
        by_recipe("schedule", SCHEDULES, "Of the rate in a stage: constant, or falling to 0 over --max-epochs."),
    ] = None,
    warmup: Annotated[
        int | None, by_recipe("warmup", "N", "Steps over which the learning rate rises from 0; in the paper none.")
    ] = None,
    lr_decay: Annotated[
        float | None, by_recipe("lr_decay", "DC", "Factor from one stage's learning rate to the next.")
    ] = None,
    dropout: Annotated[float | None, by_recipe("dropout", "DO", "Dropout rate before the last layer.")] = None,
    weight_decay: Annotated[
        float | None,
        by_recipe(
            "weight_decay",
            "WD",
            "SGD: penalty WD * sum(w^2) on convolution kernels (the original has none); AdamW: decoupled decay.",
        ),
    ] = None,
    num_stages: Annotated[int | None, by_recipe("num_stages", "N", "Number of stages.")] = None,
    patience: Annotated[
        int | None,
        by_recipe("patience", "N", "Epochs without a better validation loss after which a stage ends; 0 is as 1."),
    ] = None,
    num_readers: Annotated[
        int, typer.Option(metavar="N", help="Threads that read batches ahead.")
    ] = Default.num_readers,
    skip_corrupt: SkipCorrupt = Default.skip_corrupt,
    features: Annotated[int | None, by_recipe("features", "N", "Width of the first layers.")] = None,
    max_epochs: Annotated[
        int | None, by_recipe("max_epochs", "N", "Epochs after which a stage ends in any case.")
    ] = None,
    passes: Annotated[int | None, by_recipe("passes", "N", "Passes over the data in an epoch.")] = None,
    average: Annotated[
        float | None,
        by_recipe("average", "N", "Time constant, in epochs, of the averaged weights that are kept; 0: none."),
    ] = None,
    norm_update: Annotated[
        float | None, by_recipe("norm_update", "P", "Share of each batch in the batch norms' running averages.")
    ] = None,
    norm_estimate: Annotated[
        int | None,
        by_recipe("norm_estimate", "N", "Segments for the batch norms' statistics before validation; 0: running."),
    ] = None,
    label_smoothing: Annotated[
        float | None, by_recipe("label_smoothing", "P", "Share of the labels that is spread over all classes.")
    ] = None,
    class_weights: Annotated[
        bool | None, by_recipe("class_weights", "", "Weigh classes by 1 / sqrt(frequency).")
    ] = None,
    crop: Annotated[
        float | None,
        by_recipe("crop", "P", "Train on crops of this share of a window, from anywhere in a clip; 0: whole segments."),
    ] = None,
    shift: Annotated[float | None, by_recipe("shift", "P", "Maximum shift in time, as a share of the window.")] = None,
    speed: Annotated[float | None, by_recipe("speed", "N", "Maximum change of speed and pitch, in octaves.")] = None,
    gain: Annotated[float | None, by_recipe("gain", "DB", "Maximum change of level.")] = None,
    polarity: Annotated[bool | None, by_recipe("polarity", "", "Invert the polarity of half of the segments.")] = None,
    filter: Annotated[
        float | None, by_recipe("filter", "DB", "Maximum deviation of random frequency responses.")
    ] = None,
    noise: Annotated[float | None, by_recipe("noise", "P", "Share of segments to which noise is added.")] = None,
    reverb: Annotated[float | None, by_recipe("reverb", "SECONDS", "Longest reverberation, in random rooms.")] = None,
    background: Annotated[
        str | None, by_recipe("background", "PATH", "Recordings that are mixed with segments: a folder or a file.")
    ] = None,
    mask: Annotated[float | None, by_recipe("mask", "P", "Maximum share of a window that is set to zero.")] = None,
    mixing: Annotated[str | None, by_recipe("mixing", MIXINGS, "Train on sums of two segments.")] = None,
    mixing_share: Annotated[float | None, by_recipe("mixing_share", "P", "Share of segments that are mixed.")] = None,
    precision: Annotated[
        str,
        choice(
            of=TRAIN_PRECISIONS,
            help="Number format of the arithmetic. auto: bf16 if it is faster, else fp32; tf32: NVIDIA GPUs only.",
        ),
    ] = Default.precision,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps (Apple), or auto.")
    ] = Default.device,
    compile: Annotated[
        bool, typer.Option("--compile", help="On a GPU: fuse operations with torch.compile.")
    ] = Default.compile,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the initial values, the order of segments and dropout.")
    ] = Default.seed,
    init_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the weights of this model; block and sizes are its own unless they are given.",
        ),
    ] = Default.init_from,
    freeze: Annotated[
        str,
        typer.Option(
            metavar="N|all",
            help="Blocks, counted from the input, that are not trained, nor is the first layer; needs --init-from.",
        ),
    ] = str(Default.freeze),
    depth_rate: Annotated[
        float,
        typer.Option(
            metavar="F", help="Ratio of learning rates from the classifier through the blocks down to the first layer."
        ),
    ] = Default.depth_rate,
    head_only: Annotated[
        bool,
        typer.Option(
            "--head-only",
            help="Fit a new output layer on the network of --init-from, which stays as it is: logistic regression on "
            "its last hidden layer, in seconds.",
        ),
    ] = Default.head_only,
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
    train_on: Annotated[
        str,
        typer.Option(
            metavar="train|all",
            allow_from_autoenv=False,
            help="all, with --like RUN: train the final model on every clip, also those that have scored RUN.",
        ),
    ] = "train",
    like: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            allow_from_autoenv=False,
            help="With --train-on all: the finished run whose settings and epochs are used, and whose scores are kept.",
        ),
    ] = None,
) -> None:
    """Train a SampleCNN on a built data set: stages, checkpoints, learning curves, test scores, final model."""
    require_pytorch("samplecnn train", trains=True)
    if train_on not in ("train", "all"):
        raise OptionError("train_on", f"must be train or all, not {train_on}")
    if (train_on == "all") != (like is not None):
        raise UsageError("the final model takes --train-on all and --like RUN, a finished run with scores")
    if like is not None:
        if resume is not None:
            raise UsageError("--like starts a new run; leave out --resume")
        changed = _changed(context, "the final model keeps the settings of the run it is like", LIKE)
        from samplecnn.training import train_on_all

        _finish(str(train_on_all(like, **changed).run))
        return
    if resume is not None:
        changed = _changed(context, "a resumed run keeps its own settings", RESUMABLE)
        from samplecnn.training import resume as resume_run

        _finish(str(resume_run(resume, **changed).run))
        return
    if dataset is None:
        raise UsageError("missing argument DATASET; usage: samplecnn train DATASET [NAME], or --resume RUN")
    settings = {key: value for key, value in context.params.items() if key in Default.__dataclass_fields__}
    from samplecnn.training import train as train_run

    _finish(str(train_run(**settings).run))


def _finish(run: str) -> None:
    from samplecnn.processes import leave

    next_command("tag", run, "RECORDING")
    leave()


def _changed(context: typer.Context, rule: str, allowed: tuple[str, ...]) -> dict[str, Any]:
    """The options given on the command line for a run with the settings of an earlier run.

    A --config file and the environment apply to new runs: the earlier run has recorded its settings, and continuing or
    repeating it must give the same result regardless of them.

    Raises:
        UsageError: an option that is not allowed; `rule` is the reason.
    """
    given = {
        key: value
        for key, value in context.params.items()
        if key in Default.__dataclass_fields__
        and getattr(context.get_parameter_source(key), "name", "") == "COMMANDLINE"
    }
    others = [f"--{key.replace('_', '-')}" for key in given if key not in allowed and key not in ("dataset", "name")]
    others += [key.upper() for key in ("dataset", "name") if key in given]
    if others:
        raise UsageError(f"{rule}: omit {', '.join(others)}")
    return given
