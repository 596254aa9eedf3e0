"""Estimates the duration of a run from a few steps on a copy of its network."""

import copy
import time
from itertools import islice

import torch

from samplecnn.hardware import dtype
from samplecnn.system.progress import duration
from samplecnn.training.loop import Run
from samplecnn.training.step import Step, new_optimizer

STEPS = 3  # timed; the first, which may compile kernels, only counts if it is the only one


def forecast(run: Run) -> str:
    """One line with the size of a run whose number of epochs is fixed, and the time it will take on this machine.

    The run itself, and PyTorch's random numbers, stay as they are.
    """
    options, feed, state = run.options, run.feed, run.state
    model = copy.deepcopy(run.model).train()
    model.compute_dtype = dtype(run.precision)
    step, optimizer = Step(model, run.task), new_optimizer(model, options)
    times, ended = [], time.monotonic()
    with torch.random.fork_rng(devices=[] if run.device.type == "cpu" else None):
        for audio, labels, _, _ in islice(feed.epoch(state), STEPS):
            float(step(optimizer, audio, labels, 1e-6))  # waits for the device
            times.append(time.monotonic() - ended)
            ended = time.monotonic()
    epochs = options.max_epochs * options.num_stages if run.scored is None else sum(run.scored.epochs)
    steps = feed.steps * epochs
    seconds = min(times[1:] or times) * max(steps - state.total_steps, 0)
    passes = f"{options.passes} passes" if options.passes > 1 else "one pass"
    return (
        f"recipe {options.recipe}: {options.features} features, {epochs} epoch{_s(epochs)} of {passes} over "
        f"{len(feed.segments):,} segments, {steps:,} step{_s(steps)} of {options.batch_size}: about "
        f"{duration(seconds)} here"
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"
