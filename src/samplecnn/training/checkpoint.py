"""All that a run needs to resume as if it had never been interrupted, in one file that is complete or absent."""

import io
import shlex
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system.files import write_bytes

CHECKPOINT = "checkpoint.pt"
FORMAT_VERSION = 1

Weights = dict[str, Tensor]


@dataclass
class RunState:
    """The position of a run, and its history.

    `step` counts the batches done in this epoch, `total_steps` those of the run. `best_loss` is the stage's.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    stage_steps: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0  # of this epoch, over its segments so far
    best_loss: float = float("inf")
    bad_epochs: int = 0  # epochs without a better validation loss
    seconds: float = 0.0  # training time, over all processes
    epoch_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of metrics.jsonl
    finished: bool = False


@dataclass
class Checkpoint:
    """A run state with everything it refers to.

    Of a finished run it is that of the last epoch's end, so that the last stage can get more epochs.
    """

    options: dict[str, Any]
    model: dict[str, Any]  # the ModelConfig
    task: dict[str, Any]
    segments: int  # of the training split, to detect another data set under the same name
    precision: str
    state: RunState
    weights: Weights
    best: Weights | None
    optimizer: dict[str, Any] | None  # None: a new one
    random_state: Tensor
    device_random_state: Tensor | None = None
    data: dict[str, Any] | None = None  # the BuildRecord of the data set; earlier versions have none


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    values = {
        **{name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__},
        "state": asdict(checkpoint.state),
        "format_version": FORMAT_VERSION,
    }
    memory = io.BytesIO()  # torch's writer replaces the error of a full disk by another
    torch.save(values, memory)
    write_bytes(run / CHECKPOINT, memory.getbuffer())


def after_disk_error(run: Path) -> str:
    """How to continue a run that could not write; one without a checkpoint is removed, for nothing in it is of use."""
    if (run / CHECKPOINT).exists():
        return f"the last good checkpoint is kept: samplecnn train --resume {shlex.quote(str(run))}"
    shutil.rmtree(run, ignore_errors=True)
    return f"nothing was saved yet; {run} is removed"


def load_checkpoint(run: Path) -> Checkpoint:
    """Reads a run's checkpoint.

    Raises:
        UsageError: there is none.
        SampleCNNError: it cannot be read.
    """
    path = run / CHECKPOINT
    if not path.exists():
        raise UsageError(f"{path}: no checkpoint to resume from; give --resume the run directory of a training")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if values.pop("format_version") != FORMAT_VERSION:
            raise SampleCNNError(f"{path}: written by another version of samplecnn; resume with that one")
        state = values["state"]
        if "waited" in state:  # its name in earlier versions
            state["bad_epochs"] = state.pop("waited")
        values["state"] = RunState(**state)
        return Checkpoint(**values)
    except SampleCNNError:
        raise
    except Exception as error:  # what torch.load raises depends on the damage
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SampleCNNError(f"{path}: damaged ({detail}); start the training again") from error
