"""Learning rate by stage and step, and how many epochs are still to come."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samplecnn.training.checkpoint import RunState
    from samplecnn.training.options import TrainOptions
    from samplecnn.training.scored import ScoredRun

LR_TIME_DECAY = 1e-6  # the original's SGD(decay=1e-6): lr / (1 + 1e-6 * step), step counted from 0 in every stage


def learning_rate(options: "TrainOptions", state: "RunState", steps: int) -> float:
    """Learning rate of the next step. `steps`: of a stage of `max_epochs`, over which the schedule "cosine" falls to 0.

    In the original's schedule it is the stage's rate, slowly decaying. In the first stage both rise from 0 over the
    steps of the warm-up.

    With the original's initial values the gradient of a kernel is a hundred times the kernel. At the full rate, the
    first step rotates all filters of a layer towards the dominant direction of variation in the first batch, its
    loudness, and it takes thousands of steps until they differ again (docs/training.md has the measurement).
    """
    warming = state.stage == 0 and state.stage_steps < options.warmup
    if options.schedule == "cosine":
        first = options.warmup if state.stage == 0 else 0
        done = (state.stage_steps - first) / max(steps - first, 1)
        rate = stage_rate(options, state.stage) * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
    else:
        rate = stage_rate(options, state.stage) / (1 + LR_TIME_DECAY * state.stage_steps)
    return rate * (state.stage_steps + 1) / options.warmup if warming else rate


def stage_rate(options: "TrainOptions", stage: int) -> float:
    """The learning rate that a stage starts with; stages count from 0."""
    return options.lr * options.lr_decay**stage


def max_bad_epochs(options: "TrainOptions") -> int:
    """Epochs without a better validation loss after which a stage ends.

    That is the patience. A patience of 0 is one of 1: Keras's EarlyStopping counts an epoch before it compares.
    """
    return max(options.patience, 1)


def stage_has_ended(options: "TrainOptions", state: "RunState", scored: "ScoredRun | None" = None) -> bool:
    """Whether a stage has had all its epochs: those of the run that a final model is like, if there is one."""
    if scored is not None:
        return state.epoch >= scored.epochs[state.stage]
    return state.epoch >= options.max_epochs or state.bad_epochs >= max_bad_epochs(options)


def epochs_left(options: "TrainOptions", state: "RunState", scored: "ScoredRun | None" = None) -> tuple[int, int]:
    """The fewest and the most epochs until the run ends, after an epoch has ended.

    A stage ends after `patience` epochs without a better validation loss, at the earliest after 1 + `patience` epochs,
    and at the latest after `max_epochs`.

    Example:
        >>> from samplecnn.training.checkpoint import RunState
        >>> from samplecnn.training.options import TrainOptions
        >>> epochs_left(TrainOptions("demo", num_stages=2, max_epochs=10), RunState(stage=0, epoch=4, bad_epochs=1))
        (4, 16)
    """
    if scored is not None:
        left = sum(scored.epochs[state.stage :]) - state.epoch
        return left, left
    stages = max(options.num_stages - state.stage - 1, 0)
    in_stage = max(options.max_epochs - state.epoch, 0)
    patience = max_bad_epochs(options)
    least = min(max(patience - state.bad_epochs, 0), in_stage)
    ended = least == 0
    return (
        least + stages * min(1 + patience, options.max_epochs),
        (0 if ended else in_stage) + stages * options.max_epochs,
    )
