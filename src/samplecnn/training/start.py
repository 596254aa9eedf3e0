"""What a run begins with: its data, its directory, and, on request, the weights of a trained model."""

import time
from datetime import datetime
from pathlib import Path

import torch

from samplecnn import saved
from samplecnn.datasets import SPLITS
from samplecnn.errors import UsageError
from samplecnn.models import BLOCKS, SampleCNN
from samplecnn.shards import Segments, open_split
from samplecnn.training.options import TrainOptions


def initial_weights(model: SampleCNN, source: str) -> str:
    """Copies the weights of `source` wherever name and shape agree; the last layer only for the very same classes.

    Returns:
        One line that says what was copied and what stays fresh.

    Raises:
        UsageError: `source` is another architecture.
    """
    other = saved.load(source)
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
