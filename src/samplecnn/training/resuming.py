"""Continuing a run from its last checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from samplecnn.errors import UsageError
from samplecnn.hardware import set_random_state
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.processes import join
from samplecnn.system.arguments import checked
from samplecnn.task import Task
from samplecnn.training.checkpoint import CHECKPOINT, damage_named, load_checkpoint, restore_optimizer
from samplecnn.training.data import (
    check_same_background,
    check_same_data,
    every_clip,
    open_splits,
    record_of,
    seen_clips,
    with_statistics,
)
from samplecnn.training.depth import freeze
from samplecnn.training.extension import extended
from samplecnn.training.logging import log
from samplecnn.training.loop import Run
from samplecnn.training.options import TrainOptions
from samplecnn.training.result import TrainResult
from samplecnn.training.scored import ScoredRun
from samplecnn.training.setup import check_batch, run_to_end
from samplecnn.training.start import background_of


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
    With torchrun, that holds for the same number of processes. Any other number divides the same batches, with a result
    that agrees up to rounding.

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
    run, processes = Path(run), join()
    checkpoint = load_checkpoint(run)
    given: dict[str, Any] = {"data_dir": data_dir, "device": device}
    changes = {key: value for key, value in given.items() if value is not None}
    options = replace(TrainOptions.from_dict(checkpoint.options), **changes)
    bounds = {"num_stages": num_stages, "max_epochs": max_epochs, "patience": patience}
    wanted = {name: value for name, value in bounds.items() if value is not None}
    scored = None if checkpoint.scored is None else ScoredRun(**checkpoint.scored)
    if scored is not None and wanted:
        raise UsageError(f"{run}: {scored.run} decides the epochs of this run; extend that, and train on all again")
    options = extended(run, checkpoint, options, wanted)
    check_batch(options, processes)
    splits = open_splits(options, any_source=True)
    if scored is not None:
        splits = {"train": every_clip(splits)}
    if options.freeze:
        with_statistics(splits, Task.from_dict(checkpoint.task))
    task, data = splits["train"].task, record_of(splits["train"])
    check_same_data(run, checkpoint, splits["train"])
    torch_device = processes.device(options.device)
    with damage_named(run / CHECKPOINT):
        model = SampleCNN(ModelConfig.from_dict(checkpoint.model), task)
        freeze(model, options)
        if checkpoint.best is not None:
            model.load_state_dict(checkpoint.best)
        model.load_state_dict(checkpoint.weights)
    seen = processes.once(lambda: seen_clips(options, splits, run).save(run))
    recordings = background_of(options, task)
    check_same_background(run, checkpoint, recordings)
    continued = Run(
        run,
        options,
        model,
        splits,
        torch_device,
        checkpoint.precision,
        checkpoint.state,
        data,
        seen,
        recordings,
        scored,
        processes,
    )
    continued.best = checkpoint.best
    with damage_named(run / CHECKPOINT):
        if checkpoint.average is not None and continued.average is not None:
            continued.average.load_state(checkpoint.average)
        if checkpoint.optimizer is not None:
            restore_optimizer(continued.optimizer, checkpoint.optimizer)
        torch.set_rng_state(checkpoint.random_state)
        set_random_state(torch_device, checkpoint.device_random_state)
    grown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wanted.items())
    log(
        f"resuming {run} at stage {checkpoint.state.stage + 1}, epoch {checkpoint.state.epoch + 1}"
        + (f", extended to {grown}" if grown else "")
    )
    if checkpoint.processes != processes.count:
        log(
            f"the run had {checkpoint.processes} processes, now {processes.count}: they divide the same batches, and "
            "the result is the same up to rounding, not bit for bit"
        )
    return run_to_end(continued)
