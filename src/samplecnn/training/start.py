"""Inputs of a new run: its directory, network, initial weights, background recordings."""

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samplecnn import model_files
from samplecnn.audio import decode
from samplecnn.errors import OptionError, UsageError
from samplecnn.hardware import choose_device
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN, without_excitation
from samplecnn.models.config import MULTI_LEVELS
from samplecnn.models.fitting import config_for_window
from samplecnn.recordings import Scan
from samplecnn.task import Task
from samplecnn.training import depth
from samplecnn.training.augmentation import crop_length
from samplecnn.training.head import task_on
from samplecnn.training.options import ARCHITECTURE, TrainOptions, resolved
from samplecnn.training.precision import training_precision


def options_for(given: dict[str, Any], segments: int, task: Task) -> TrainOptions:
    """The given settings, completed by the recipe and what suits the data set.

    Args:
        given, segments: as for `resolved`.
        task: of the data set. Where its window gives too few blocks, a recipe's `multi` does not apply.

    Raises:
        UsageError: as `resolved` and `config_of`.
    """
    options = resolved(given, segments)
    if options.multi and given.get("multi") is None and options.init_from is None:
        single = replace(options, multi=False)
        return options if config_of(single, task).num_blocks >= MULTI_LEVELS else single
    return options


def config_of(options: TrainOptions, task: Task) -> ModelConfig:
    """The network of a run.

    Raises:
        UsageError: options that no network can have, or a window that is too short for it.
    """
    return config_for_window(
        crop_length(options, task.window),
        task.sample_rate,
        block=options.block if options.amplifying_ratio else without_excitation(options.block),
        num_classes=task.num_classes,
        **{name: getattr(options, name) for name in ARCHITECTURE},
    )


def check_start(options: TrainOptions, task: Task) -> None:
    """Raises, without training anything, what a run with these options would raise when it starts.

    Args:
        options: of the run.
        task: of the data set.
    """
    if options.head_only:
        task_on(model_files.load(str(options.init_from)), task, str(options.init_from))
        return
    config, device = config_of(options, task), choose_device(None if options.device == "auto" else options.device)
    if options.precision != "auto":
        training_precision(options.precision, device)
    check_background(options)
    if options.init_from is not None:
        with torch.random.fork_rng(devices=[]):
            model = SampleCNN(config, task)
        depth.freeze(model, options)
        initial_weights(model, model_files.load(options.init_from), options.init_from)


def background_of(options: TrainOptions, task: Task) -> np.ndarray | None:
    """The recordings of --background, concatenated: float32 [samples] at the task's rate; None without the option.

    Raises:
        OptionError: no such folder or file, no recordings, or less than a window in all.
        AudioError: a recording that cannot be decoded.
    """
    if options.background is None:
        return None
    check_background(options)
    path = Path(options.background)
    paths = list(Scan().recordings(path)) if path.is_dir() else [str(path)]
    waves = [decode(recording, task.sample_rate) for recording in paths]
    wave = np.concatenate([np.zeros(0, np.float32), *waves])
    if len(wave) < task.window:
        found, needed = (count / task.sample_rate for count in (len(wave), task.window))
        raise OptionError("background", f"{path} holds {found:.1f} s of audio; at least {needed:.1f} s are needed")
    return wave


def check_background(options: TrainOptions) -> None:
    """Raises OptionError if the recordings of --background are not there."""
    if options.background is not None and not Path(options.background).exists():
        raise OptionError("background", f"{options.background} does not exist; give a folder of recordings, or a file")


def initial_weights(model: SampleCNN, other: SampleCNN, source: str) -> str:
    """Copies the weights of `other` wherever name and shape agree; the last layer only for identical classes.

    Args:
        model: receives them; what is frozen in it must be in `other`.
        other: the trained network.
        source: its name, for messages.

    Returns:
        A line that says which layers keep their initial values, and one on another sample rate.

    Raises:
        UsageError: `other` is another architecture.
    """
    ours, theirs = model.config, other.config
    if theirs.block not in BLOCKS:
        raise UsageError(f"--init-from {source}: its block {theirs.block} cannot be trained; use another model")
    if theirs.tail:
        raise UsageError(
            f"--init-from {source}: its layer between the last block and the head cannot be trained; convert the "
            "encoder alone (samplecnn convert --encoder-only)"
        )
    if ours.logmel != theirs.logmel:
        frames = {True: "the waveform", False: "log-mel frames"}
        raise UsageError(
            f"--init-from {source}: its first layer takes {frames[theirs.logmel is None]}, this run's "
            f"{frames[ours.logmel is None]}; rate, frames and mels must be the same"
        )
    for option in ("block", "features", "pool_size", "filter_size", "first_size", "pooling"):
        wanted, given = getattr(theirs, option), getattr(ours, option)
        if wanted != given:
            flag = f"--{option.replace('_', '-')}"
            raise UsageError(
                f"--init-from {source}: it has {flag} {_shown(wanted)}, this run {_shown(given)}; leave {flag} out"
            )
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    rates = [network.task.sample_rate for network in (other, model) if network.task is not None]
    if frozen and len(set(rates)) > 1:
        raise UsageError(
            f"--freeze: {source} takes audio at {rates[0]:,} Hz, and the data set is built at {rates[1]:,} Hz; build "
            f"it with --sample-rate {rates[0]}"
        )
    same_classes = model.task is not None and other.task is not None and model.task.classes == other.task.classes
    values, copied, fresh = model.state_dict(), set(), []
    with torch.no_grad():
        for name, value in other.state_dict().items():
            same_shape = name in values and values[name].shape == value.shape
            if same_shape and (same_classes or not name.startswith("logit.")):
                values[name].copy_(value)
                copied.add(name)
            else:
                fresh.append(name.rsplit(".", 1)[0])
    missing = [name.rsplit(".", 1)[0] for name in frozen if name not in copied]
    if missing:
        raise UsageError(
            f"--init-from {source}: it has no {missing[0]} of this network's size, which --freeze would not train "
            f"(it has {theirs.num_blocks} blocks, this run {ours.num_blocks}); freeze fewer blocks, or build the data "
            "set with that model's window"
        )
    left = ", ".join(dict.fromkeys(fresh)) or "nothing"
    # A first convolution with padding 1 gets the waveform shifted by one sample, which makes no difference to training.
    line = f"weights from {source}; fresh: {left}"
    if len(set(rates)) > 1:
        line += (
            f"\nthey were trained at {rates[0]:,} Hz, and the data set is built at {rates[1]:,} Hz, at which filters "
            f"respond to other frequencies; build it with --sample-rate {rates[0]} to avoid that"
        )
    return line


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
