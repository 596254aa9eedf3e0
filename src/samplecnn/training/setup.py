"""How a run begins, or goes on from its last checkpoint: its data, its directory, its weights."""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from samplecnn import model_files
from samplecnn.datasets import SPLITS
from samplecnn.datasets.custom import slug
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.hardware import choose_device
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN, blocks_for_window
from samplecnn.shards import Segments, open_split
from samplecnn.task import Task
from samplecnn.training.checkpoint import RunState, load_checkpoint
from samplecnn.training.loop import Run, TrainResult, say
from samplecnn.training.options import TrainOptions
from samplecnn.training.precision import training_precision


def train(dataset: str, name: str | None = None, **settings: Any) -> TrainResult:
    """Trains a SampleCNN on a built data set.

    Args:
        dataset: mtt, scd, dcs, demo, a folder or a manifest; or a folder of TFRecords.
        name: of the run, part of its directory's name; None takes the block's.
        settings: the other fields of `TrainOptions`.

    Raises:
        UsageError: settings out of range, a data set that is not built, an empty split.
        SampleCNNError: the loss is no longer a number; the last good checkpoint is kept.
    """
    options = TrainOptions(dataset=dataset, name=name, **settings)
    splits = open_splits(options)
    task = splits["train"].task
    config = ModelConfig(
        block=options.block,
        multi=options.multi,
        num_blocks=blocks_for_window(task.window),
        num_classes=task.num_classes,
        features=options.features,
        amplifying_ratio=options.amplifying_ratio,
        dropout=options.dropout,
    )
    if config.unsupported_by_keras is not None:  # the run could not be saved as the original's .h5 in the end
        raise UsageError(f"--block {options.block} is not one to train; choose one of {', '.join(BLOCKS)}")
    device = choose_device(None if options.device == "auto" else options.device)
    precision = training_precision(options.precision, device)
    torch.manual_seed(options.seed)
    model = SampleCNN(config, task)
    if options.init_from is not None:
        say(initial_weights(model, options.init_from))
    run = new_run(Path(options.log_dir), f"{slug(task.name)}-{options.name or config.signature}")
    return Run(run, options, model, splits, device, precision, RunState()).finish()


def resume(run: str | Path, data_dir: str | None = None, device: str | None = None) -> TrainResult:
    """Goes on with an interrupted run from its last checkpoint, with the settings it was started with.

    Args:
        run: its directory.
        data_dir: where the shards are now, if they were moved.
        device: if another than before.

    Raises:
        UsageError: no checkpoint there, or the run is finished.
        SampleCNNError: a damaged checkpoint, or a data set that is not the one the run began with.
    """
    run = Path(run)
    checkpoint = load_checkpoint(run)
    if checkpoint.state.finished:
        raise UsageError(f"{run}: this run is finished; start a new one with --init-from {run} to train it further")
    changes = {key: value for key, value in (("data_dir", data_dir), ("device", device)) if value is not None}
    options = TrainOptions(**{**checkpoint.options, **changes})
    splits = open_splits(options)
    task = splits["train"].task
    if task != Task.from_dict(checkpoint.task) or len(splits["train"]) != checkpoint.segments:
        raise SampleCNNError(f"{run}: the data set {options.dataset} was built anew since; start a new run")
    chosen = choose_device(None if options.device == "auto" else options.device)
    model = SampleCNN(ModelConfig.from_dict(checkpoint.model), task)
    model.load_state_dict(checkpoint.weights)
    ready = Run(run, options, model, splits, chosen, checkpoint.precision, checkpoint.state)
    ready.best = checkpoint.best
    ready.optimizer.load_state_dict(checkpoint.optimizer)
    torch.set_rng_state(checkpoint.random_state)
    if chosen.type == "cuda" and checkpoint.device_random_state is not None:
        torch.cuda.set_rng_state(checkpoint.device_random_state, chosen)
    say(f"resuming {run} at stage {checkpoint.state.stage + 1}, epoch {checkpoint.state.epoch + 1}")
    return ready.finish()


def initial_weights(model: SampleCNN, source: str) -> str:
    """Copies the weights of `source` wherever name and shape agree; the last layer only for the very same classes.

    Returns:
        One line that says what was copied and what stays fresh.

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
    for option in ("block", "features"):
        if getattr(ours, option) != getattr(theirs, option):
            raise UsageError(
                f"--init-from {source}: its {option} is {getattr(theirs, option)}, this run's {getattr(ours, option)}; "
                f"pass --{option} {getattr(theirs, option)}"
            )
    same_classes = model.task is not None and other.task is not None and model.task.classes == other.task.classes
    values, fresh = model.state_dict(), []
    with torch.no_grad():
        for name, value in other.state_dict().items():
            fits = name in values and values[name].shape == value.shape
            if fits and (same_classes or not name.startswith("logit.")):
                values[name].copy_(value)
            else:
                fresh.append(name.rsplit(".", 1)[0])
    left = ", ".join(dict.fromkeys(fresh)) or "nothing"
    # Centred threes see what ours see of a waveform one sample earlier: nothing that a training would notice.
    return f"weights from {source}; fresh: {left}"


def open_splits(options: TrainOptions) -> dict[str, Segments]:
    """The three splits of a built data set; scores need two clips at least.

    Raises:
        UsageError: not built, or too little in a split.
    """
    splits = {split: open_split(options.dataset, options.data_dir, split, options.skip_corrupt) for split in SPLITS}
    for split, segments in splits.items():
        clips = len(set(segments.ids))
        if clips < 2:
            raise UsageError(
                f"data set {options.dataset}: {clips} clip in its {split} split; training needs at least 2 in each of "
                "train, val and test"
            )
    return splits


def new_run(log_dir: Path, name: str) -> Path:
    """A run directory of its own, named by the time as the original's are."""
    while True:
        run = log_dir / f"{datetime.now():%Y%m%d_%H%M%S}-{name}"
        try:
            run.mkdir(parents=True)
            return run
        except FileExistsError:  # another run began in this second
            time.sleep(0.5)
