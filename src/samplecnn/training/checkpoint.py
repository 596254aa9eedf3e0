"""All that a run needs to resume as if it had never been interrupted, in one file that is complete or absent."""

import io
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplecnn.errors import SampleCNNError, UsageError, add_remedy
from samplecnn.interop.third_party.checkpoint import load_file
from samplecnn.models.config import DESCRIPTION as MODEL
from samplecnn.models.config import ModelConfig
from samplecnn.parsing import (
    Rule,
    check,
    choice,
    fields,
    flag,
    list_of,
    number,
    or_null,
    require_file,
    shown,
    table_of,
    text,
    whole,
)
from samplecnn.processes import started_together
from samplecnn.shards.identity import RECORD_RULE
from samplecnn.system.files import write_bytes
from samplecnn.task import DESCRIPTION as TASK
from samplecnn.task import Task
from samplecnn.training.logging import metrics_row
from samplecnn.training.options import PRECISIONS, TrainOptions
from samplecnn.training.scored import RULE as SCORED_RULE

CHECKPOINT = "checkpoint.pt"
FORMAT_VERSION = 1
REMEDY = "start the training again"

# Settings of SGD and AdamW that decide what a step computes; others decide how.
SETTINGS = ("params", "momentum", "dampening", "weight_decay", "nesterov", "betas", "eps", "amsgrad")

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

    For a finished run, the state at the end of its last epoch, so that the last stage can be extended.
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
    average: dict[str, Any] | None = None  # of the weights, if the run has one
    data: dict[str, Any] | None = None  # the BuildRecord of the data set; earlier versions have none
    scored: dict[str, Any] | None = None  # the ScoredRun that a final model is like
    processes: int = 1  # that divided the batches
    background: str | None = None  # hash of the recordings of --background; earlier versions have none


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    values = {
        **{name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__},
        "state": asdict(checkpoint.state),
        "format_version": FORMAT_VERSION,
    }
    memory = io.BytesIO()  # torch's writer replaces the error of a full disk by another
    torch.save(values, memory)
    write_bytes(run / CHECKPOINT, memory.getbuffer())


def resume_call(run: Path) -> str:
    """The command that continues a training as it was started: by torchrun, with as many processes.

    Example:
        >>> resume_call(Path("log/20261122_101500-sounds-se_multi"))
        'samplecnn train --resume log/20261122_101500-sounds-se_multi'
    """
    resumed = f"samplecnn train --resume {shlex.quote(str(run))}"
    if not started_together():
        return resumed
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return f"the torchrun command of this training, on every machine, with -m {resumed}"
    return f"torchrun --nproc-per-node {os.environ['WORLD_SIZE']} -m {resumed}"


def after_disk_error(run: Path, error: OSError) -> None:
    """Notes how to continue a run that could not write; one without a checkpoint, which is of no use, is removed."""
    if (run / CHECKPOINT).exists():
        add_remedy(error, f"continue from the last good checkpoint: {resume_call(run)}")
    else:
        shutil.rmtree(run, ignore_errors=True)


def load_checkpoint(run: Path, option: str = "--resume") -> Checkpoint:
    """Reads a run's checkpoint.

    Args:
        run: its directory.
        option: that names the run, for messages.

    Raises:
        UsageError: there is none.
        SampleCNNError: it cannot be read.
    """
    path = run / CHECKPOINT
    remedy = f"give {option} the run directory of a training"
    if not path.exists():
        raise UsageError(f"{path}: no such checkpoint; {remedy}")
    require_file(path, remedy, UsageError)
    values = load_file(path, mapped=False)
    if not isinstance(values, dict) or not isinstance(values.get("state"), dict):
        raise SampleCNNError(f"{path}: not the checkpoint of a run; {REMEDY}")
    if values.pop("format_version", None) != FORMAT_VERSION:
        raise SampleCNNError(f"{path}: written by another version of samplecnn; resume with that one")
    state = values["state"]
    if "waited" in state:  # its name in earlier versions
        state["bad_epochs"] = state.pop("waited")
    check(values, CONTENTS, f"{path}: damaged", REMEDY)
    with damage_named(path):
        stages = TrainOptions.from_dict(values["options"]).num_stages
        if values.get("scored") is not None and len(values["scored"]["epochs"]) != stages:
            raise ValueError(f"it has not the epochs of {stages} stages")
        ModelConfig.from_dict(values["model"])
        Task.from_dict(values["task"])
        values["state"] = RunState(**state)
        return Checkpoint(**values)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns the errors of values that do not fit each other into one that names the file."""
    try:
        yield
    except (SampleCNNError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise SampleCNNError(f"{path}: damaged ({detail}); {REMEDY}") from error


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Gives a new optimizer the state of a checkpoint.

    Raises:
        ValueError: of other parameters or settings; the rate is set by every step.
    """
    own, groups = optimizer.state_dict()["param_groups"], saved.get("param_groups")
    if not isinstance(groups, list) or len(groups) != len(own) or not isinstance(saved.get("state"), dict):
        raise ValueError("its optimizer is another one")
    for group, wanted in zip(groups, own, strict=True):
        for name in (name for name in SETTINGS if name in wanted):
            if not isinstance(group, dict) or shown(group.get(name)) != shown(wanted[name]):
                raise ValueError(f"its optimizer's {name} is not that of its options")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, held in saved["state"].items():
        if not isinstance(index, int) or not 0 <= index < len(parameters):
            raise ValueError("its optimizer has other parameters than its model")
        for name, value in (held if isinstance(held, dict) else {"": held}).items():
            if name != "step" and value is not None and (_tensor(value, "") or value.shape != parameters[index].shape):
                raise ValueError(f"the momentum of parameter {index} does not have its shape")
            if name == "step" and (_tensor(value, "") or value.shape != ()):
                raise ValueError(f"the number of steps of parameter {index} is not a number")
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})


def _tensor(value: Any, key: str) -> str:
    """The rule of a tensor: dense, and no larger than what is stored for it."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        return f"{key} must be a tensor, not {shown(value)}"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"{key} has the shape {list(value.shape)}, more than the file holds"
    return ""


def _or_infinite(rule: Rule) -> Rule:
    return lambda value, key: "" if value == float("inf") else rule(value, key)


_COUNT = whole(0, 1 << 62)
_STATE = {
    **dict.fromkeys(("stage", "epoch", "step", "stage_steps", "total_steps", "bad_epochs"), _COUNT),
    "loss_sum": number(),
    "best_loss": _or_infinite(number()),
    "seconds": number(0),
    "epoch_seconds": number(0),
    "history": list_of(metrics_row),
    "finished": flag(),
}
CONTENTS = fields(
    {
        "options": table_of(lambda value, key: "", text(100)),
        "model": MODEL,
        "task": TASK,
        "segments": _COUNT,
        "precision": choice(*PRECISIONS),
        "state": fields(_STATE, optional=_STATE),
        "weights": table_of(_tensor, text(1000)),
        "best": or_null(table_of(_tensor, text(1000))),
        "optimizer": or_null(table_of(lambda value, key: "", text(100))),
        "random_state": _tensor,
        "device_random_state": or_null(_tensor),
        "average": or_null(fields({"count": _COUNT, "values": table_of(_tensor, text(1000))})),
        "data": or_null(RECORD_RULE),
        "scored": or_null(SCORED_RULE),
        "processes": whole(1, 1 << 20),
        "background": or_null(text(100)),
    },
    optional=["device_random_state", "average", "data", "scored", "processes", "background"],
)
