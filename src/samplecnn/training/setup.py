"""Start of a run, or its continuation from the last checkpoint: run directory, initial weights."""

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from samplecnn import model_files
from samplecnn.datasets.custom import slug
from samplecnn.errors import OptionError, UsageError
from samplecnn.evaluation.baselines import baseline_remark
from samplecnn.hardware import choose_device
from samplecnn.interop.keras import unsupported
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN, without_excitation
from samplecnn.models.fitting import config_for_window
from samplecnn.system.arguments import checked
from samplecnn.training.checkpoint import CHECKPOINT, RunState, damage_named, load_checkpoint, restore_optimizer
from samplecnn.training.data import check_same_data, open_splits, record_of, seen_clips
from samplecnn.training.extension import extended
from samplecnn.training.loop import Run, TrainResult, log
from samplecnn.training.options import ARCHITECTURE, TrainOptions
from samplecnn.training.precision import training_precision


@checked
def train(
    dataset: str,
    name: str | None = None,
    *,
    data_dir: str | Path = TrainOptions.data_dir,
    log_dir: str | Path = TrainOptions.log_dir,
    block: str = TrainOptions.block,
    amplifying_ratio: float = TrainOptions.amplifying_ratio,
    multi: bool = TrainOptions.multi,
    pool_size: int | None = TrainOptions.pool_size,
    filter_size: int | None = TrainOptions.filter_size,
    first_size: int | None = TrainOptions.first_size,
    pooling: str = TrainOptions.pooling,
    frontend: str = TrainOptions.frontend,
    mels: int | None = TrainOptions.mels,
    batch_size: int = TrainOptions.batch_size,
    momentum: float = TrainOptions.momentum,
    lr: float = TrainOptions.lr,
    warmup: int = TrainOptions.warmup,
    lr_decay: float = TrainOptions.lr_decay,
    dropout: float = TrainOptions.dropout,
    weight_decay: float = TrainOptions.weight_decay,
    num_stages: int = TrainOptions.num_stages,
    patience: int = TrainOptions.patience,
    num_readers: int = TrainOptions.num_readers,
    skip_corrupt: bool = TrainOptions.skip_corrupt,
    features: int = TrainOptions.features,
    max_epochs: int = TrainOptions.max_epochs,
    precision: str = TrainOptions.precision,
    device: str = TrainOptions.device,
    compile: bool = TrainOptions.compile,
    seed: int = TrainOptions.seed,
    init_from: str | Path | None = TrainOptions.init_from,
    fold: str | None = TrainOptions.fold,
    baseline: bool = TrainOptions.baseline,
) -> TrainResult:
    """Trains a SampleCNN on a built data set.

    Args:
        dataset: mtt, scd, dcs, demo, a folder or a manifest, as `samplecnn.build` took it; or a folder of TFRecords.
        name: of the run, part of its directory's name; None takes the block, with "_multi" where it applies.
        data_dir: folder of the built data sets.
        log_dir: folder in which the run directory is made.
        block: building block of the network: basic, se, res1, res2, rese1 or rese2.
        amplifying_ratio: hidden width of the excitations, as a share of the features; with 0, rese1 and rese2 have no
            excitations: they are res1 and res2.
        multi: multi-level feature aggregation: the last three blocks feed the classifier.
        pool_size: frames that every block pools, at least 2; None: 3. Window and pool size decide the number of blocks.
        filter_size: frames of the blocks' convolutions; None: 3. With a pool size of m too, the m^n models of SMC 2017.
        first_size: samples of the first convolution, its width and stride; None: the pool size.
        pooling: "max", or "strided": the last convolution of every block has a stride instead.
        frontend: "waveform", or "logmel": log-mel frames every 10 ms or so, in place of the first convolution and the
            blocks that bring the waveform to their rate; the other blocks stay as they are.
        mels: bands of the log-mel frames; None: 64.
        batch_size: segments in a batch.
        momentum: of SGD with Nesterov momentum, from 0 to below 1.
        lr: learning rate of the first stage.
        warmup: steps over which the first stage's learning rate rises from 0; the original has none.
        lr_decay: factor from one stage's learning rate to the next.
        dropout: share of the last hidden layer's features that is dropped, from 0 to below 1.
        weight_decay: wd in the penalty wd * sum(w ** 2) on convolution kernels, which the losses that decide the best
            epoch do not include; in the original the option has no effect.
        num_stages: number of stages.
        patience: epochs without a better validation loss after which a stage ends; 0 is the same as 1.
        num_readers: threads that read batches ahead.
        skip_corrupt: skips damaged TFRecords instead of stopping at the first.
        features: width of the first layers.
        max_epochs: epochs after which a stage ends in any case.
        precision: "fp32"; "bf16"; "tf32" on NVIDIA GPUs; "auto" takes bf16 where it is faster.
        device: "cpu", "cuda", "cuda:1"; "auto" takes a GPU where there is one.
        compile: on a GPU, fuses operations with torch.compile and replays steps as CUDA graphs.
        seed: of the initial values, the order of the segments and dropout.
        init_from: a model to take initial weights from: a run directory, a .safetensors or an .h5 file.
        fold: of a cross-validation, in place of the splits that the data set was built with: "2/5" is the second of
            five drawn folds, anything else a value of the data set's fold column.
        baseline: after a training on few clips, reports what quick baselines reach on the validation clips.

    Returns:
        The run directory, the test scores of the last stage and the final model file.

    Raises:
        UsageError: an unknown or unusable option, a data set that is not built, an empty split.
        SampleCNNError: the loss is no longer finite; the last good checkpoint is kept.

    Example:
        >>> import contextlib, io, tempfile, samplecnn
        >>> from samplecnn.datasets.generated import generate
        >>> data = tempfile.mkdtemp()
        >>> _ = generate(f"{data}/demo/raw", clips_per_class=4)  # 40 recordings of a second each
        >>> _ = samplecnn.build("demo", data, workers=1, progress=False)
        >>> with contextlib.redirect_stdout(io.StringIO()):  # the progress of each epoch
        ...     result = samplecnn.train(
        ...         "demo", data_dir=data, log_dir=f"{data}/log", block="basic", features=4, num_stages=1, max_epochs=1
        ...     )
        >>> result.final.exists(), 0 <= result.scores.roc_auc <= 1
        (True, True)
        >>> samplecnn.train("demo", epochs=3)
        Traceback (most recent call last):
        ...
        samplecnn.errors.UsageError: train has no option 'epochs'; did you mean max_epochs?
    """
    options = TrainOptions(**locals())  # the arguments are the fields, which a test keeps so
    splits = open_splits(options)
    task = splits["train"].task
    config = config_for_window(
        task.window,
        task.sample_rate,
        block=options.block if options.amplifying_ratio else without_excitation(options.block),
        num_classes=task.num_classes,
        **{name: getattr(options, name) for name in ARCHITECTURE},
    )
    problem = unsupported(config)
    if problem is not None:  # said now, not when the run is over
        log(f"Keras cannot represent {problem}: the run ends with model.safetensors, without an .h5 file")
    torch_device = choose_device(None if options.device == "auto" else options.device)
    chosen = training_precision(options.precision, torch_device)
    torch.manual_seed(options.seed)
    model = SampleCNN(config, task)
    if options.init_from is not None:
        log(initial_weights(model, options.init_from))
    data, seen = record_of(splits["train"]), seen_clips(options, splits)
    run = new_run(Path(options.log_dir), f"{slug(task.name)}-{options.name or config.signature}")
    return fitted(Run(run, options, model, splits, torch_device, chosen, RunState(), data, seen.save(run)))


@checked
def resume(
    run: str | Path,
    data_dir: str | Path | None = None,
    device: str | None = None,
    *,
    num_stages: int | None = None,
    max_epochs: int | None = None,
    patience: int | None = None,
) -> TrainResult:
    """Continues an interrupted run from its last checkpoint, with the settings it was started with, or extends a run.

    On a CPU with the same number of threads the result is the same, bit for bit, as that of a run that was never
    interrupted, or that had the larger bounds from its start; of stages that have ended for good, all stay as they are.

    Args:
        run: its directory.
        data_dir: folder of the built data sets, if it has moved.
        device: "cpu", "cuda", "cuda:1" or "auto", if another than before.
        num_stages, max_epochs, patience: larger bounds than the run's own, also of a run that is finished: more stages,
            more epochs in its current or last stage.

    Returns:
        As `train`.

    Raises:
        UsageError: no checkpoint there, or nothing is left to train.
        SampleCNNError: a damaged checkpoint, or a data set that is not the one the run was started with.
    """
    run = Path(run)
    checkpoint = load_checkpoint(run)
    given: dict[str, Any] = {"data_dir": data_dir, "device": device}
    changes = {key: value for key, value in given.items() if value is not None}
    options = replace(TrainOptions.from_dict(checkpoint.options), **changes)
    bounds = {"num_stages": num_stages, "max_epochs": max_epochs, "patience": patience}
    wanted = {name: value for name, value in bounds.items() if value is not None}
    options = extended(run, checkpoint, options, wanted)
    splits = open_splits(options, any_source=True)
    task, data = splits["train"].task, record_of(splits["train"])
    check_same_data(run, checkpoint, splits["train"])
    torch_device = choose_device(None if options.device == "auto" else options.device)
    with damage_named(run / CHECKPOINT):
        model = SampleCNN(ModelConfig.from_dict(checkpoint.model), task)
        if checkpoint.best is not None:
            model.load_state_dict(checkpoint.best)
        model.load_state_dict(checkpoint.weights)
    seen = seen_clips(options, splits, run).save(run)
    continued = Run(run, options, model, splits, torch_device, checkpoint.precision, checkpoint.state, data, seen)
    continued.best = checkpoint.best
    with damage_named(run / CHECKPOINT):
        if checkpoint.optimizer is not None:
            restore_optimizer(continued.optimizer, checkpoint.optimizer)
        torch.set_rng_state(checkpoint.random_state)
        if torch_device.type == "cuda" and checkpoint.device_random_state is not None:
            torch.cuda.set_rng_state(checkpoint.device_random_state, torch_device)
    grown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wanted.items())
    log(
        f"resuming {run} at stage {checkpoint.state.stage + 1}, epoch {checkpoint.state.epoch + 1}"
        + (f", extended to {grown}" if grown else "")
    )
    return fitted(continued)


def fitted(run: Run) -> TrainResult:
    """The result of a run, and, where it was asked for, a line on quick baselines."""
    result = run.fit()
    if run.options.baseline:
        remark = baseline_remark(run.model, run.splits, run.options.num_readers, run.options.batch_size)
        if remark:
            log(remark)
    return result


def initial_weights(model: SampleCNN, source: str) -> str:
    """Copies the weights of `source` wherever name and shape agree; the last layer only for identical classes.

    Returns:
        One line that says what was copied and which layers keep their initial values.

    Raises:
        UsageError: `source` is another architecture.
    """
    other = model_files.load(source)
    ours, theirs = model.config, other.config
    if theirs.block not in BLOCKS:
        raise UsageError(f"--init-from {source}: its block {theirs.block} cannot be trained on; take another model")
    if theirs.tail:
        raise UsageError(
            f"--init-from {source}: its layer between the last block and the head cannot be trained on; convert the "
            "encoder alone (samplecnn convert --encoder-only)"
        )
    if ours.logmel != theirs.logmel:
        frames = {True: "the waveform", False: "log-mel frames"}
        raise UsageError(
            f"--init-from {source}: its first layer sees {frames[theirs.logmel is None]}, this run's "
            f"{frames[ours.logmel is None]}; rate, frames and mels must be the same"
        )
    for option in ("block", "features", "pool_size", "filter_size", "first_size", "pooling"):
        wanted, given = getattr(theirs, option), getattr(ours, option)
        if wanted != given:
            name = option.replace("_", " ")
            flag = f"--{name.replace(' ', '-')}"
            raise UsageError(
                f"--init-from {source}: its {name} is {_shown(wanted)}, this run's {_shown(given)}; "
                + (f"leave {flag} out" if wanted is None else f"pass {flag} {wanted}")
            )
    same_classes = model.task is not None and other.task is not None and model.task.classes == other.task.classes
    values, fresh = model.state_dict(), []
    with torch.no_grad():
        for name, value in other.state_dict().items():
            same_shape = name in values and values[name].shape == value.shape
            if same_shape and (same_classes or not name.startswith("logit.")):
                values[name].copy_(value)
            else:
                fresh.append(name.rsplit(".", 1)[0])
    left = ", ".join(dict.fromkeys(fresh)) or "nothing"
    # A first convolution with padding 1 sees the waveform shifted by one sample, which makes no difference to training.
    return f"weights from {source}; fresh: {left}"


def _shown(value: Any) -> str:
    return "the default" if value is None else str(value)


def new_run(log_dir: Path, name: str) -> Path:
    """Makes a new run directory, named by the time as the original's are.

    Raises:
        OptionError: `log_dir` cannot be a folder.
    """
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        problem = "a link to something that does not exist" if log_dir.is_symlink() else "not a folder"
        raise OptionError("log_dir", f"{log_dir} is {problem}; choose another folder") from error
    while True:
        run = log_dir / f"{datetime.now():%Y%m%d_%H%M%S}-{name}"
        try:
            run.mkdir()
            return run
        except FileExistsError:  # another run was started in this second
            time.sleep(0.5)
