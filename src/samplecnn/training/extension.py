"""Extending a run beyond its original bounds: more stages, more epochs in a stage, more patience."""

from pathlib import Path
from typing import Any

from samplecnn import __version__
from samplecnn.errors import OptionError, UsageError
from samplecnn.training.checkpoint import Checkpoint
from samplecnn.training.options import TrainOptions
from samplecnn.training.schedule import max_bad_epochs

EXTENDABLE = ("num_stages", "max_epochs", "patience")


def extended(run: Path, checkpoint: Checkpoint, options: TrainOptions, wanted: dict[str, int]) -> TrainOptions:
    """The options of a run that is resumed, with the larger bounds in `wanted`.

    Sets the checkpoint's state to where training continues, and adds a row to its history. Only the current or last
    stage gets more epochs; earlier stages are not reopened. Apart from that, the result is that of a run started with
    the larger bounds, bit for bit.

    Args:
        run: the run's directory, for messages.
        checkpoint: of the run. It is changed.
        options: of the run.
        wanted: values of EXTENDABLE options.

    Raises:
        OptionError: a value below the run's own.
        UsageError: the run is finished, and nothing is left to train.
    """
    for name, value in wanted.items():
        if value < getattr(options, name):
            own = getattr(options, name)
            raise OptionError(name, f"can only be raised when a run is resumed, which has {own}; not {value}")
    grown = {name: value for name, value in wanted.items() if value > getattr(options, name)}
    if "max_epochs" in grown and options.schedule == "cosine":
        raise OptionError(
            "max_epochs",
            f"cannot be raised in a run whose learning rate falls to 0 over {options.max_epochs} epochs; "
            "start a new run, or raise --num-stages",
        )
    larger, state = TrainOptions(**{**options.to_dict(), **grown}), checkpoint.state
    if state.finished:
        _reopen(run, checkpoint, options, larger, grown)
    if grown:
        row: dict[str, Any] = {
            "event": "extended",
            "stage": state.stage + 1,
            "epoch": state.epoch,
            "total_steps": state.total_steps,
            "samplecnn": __version__,
            **{name: [getattr(options, name), value] for name, value in grown.items()},
        }
        state.history.append(row)
    return larger


def _reopen(
    run: Path, checkpoint: Checkpoint, options: TrainOptions, larger: TrainOptions, grown: dict[str, int]
) -> None:
    """Sets a finished run back to the end of its last epoch."""
    state = checkpoint.state
    if not grown:
        raise UsageError(
            f"{run}: this run is finished; --num-stages, --max-epochs or --patience above its own "
            f"({options.num_stages}, {options.max_epochs}, {options.patience}) extend it, and --init-from {run} starts "
            "a new one with its weights"
        )
    whole = state.stage < options.num_stages  # earlier versions did not keep the last epoch's weights
    more_epochs = whole and state.epoch < larger.max_epochs and state.bad_epochs < max_bad_epochs(larger)
    if not more_epochs and larger.num_stages == options.num_stages:
        reason = (
            f"its last stage ended after {state.epoch} epochs of at most {options.max_epochs}, {state.bad_epochs} "
            f"without a better validation loss of at most {options.patience}"
            if whole
            else "an earlier version finished it, which kept the best weights only"
        )
        given = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in grown.items())
        raise UsageError(f"{run}: {given} leaves nothing to train: {reason}; raise --num-stages ({options.num_stages})")
    if not whole:
        checkpoint.best, checkpoint.optimizer = None, None
    elif state.history and state.history[-1]["event"] == "test":
        state.history.pop()  # the stage ends once more, with the same scores if no epoch is added to it
    state.finished = False
