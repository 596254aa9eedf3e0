"""Excitations over a data set: how every block rescales its features, by class and by loudness.

Kim, Lee, Nam: Comparison and Analysis of SampleCNN Architectures for Audio Classification (IEEE JSTSP 2019). The
squeeze-and-excitation of a block gives every feature ("unit") a factor in (0, 1) for each segment. The segments are
processed in batches and only sums by class and unit are kept, so memory does not grow with the data set.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samplecnn.analysis.excitation_result import Excitations
from samplecnn.analysis.excitation_sums import ExcitationSums, parquet_writer
from samplecnn.audio import standardise
from samplecnn.errors import UsageError
from samplecnn.evaluation.probabilities import full_precision
from samplecnn.models.layers import Excitation
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments

MIN_LEVEL = -100.0  # dBFS, used for silence, which has no level


def excitations(
    model: "SampleCNN",
    segments: "Segments",
    *,
    batch_size: int = 23,
    num_readers: int = 2,
    parquet: str | Path | None = None,
    progress: bool = False,
) -> Excitations:
    """Runs a model over a split and summarises the excitations of every block.

    Args:
        model: a model with squeeze and excitation (se, rese1, rese2) and its task.
        segments: a split of a built data set with the model's classes.
        batch_size: segments per step; the results do not depend on it.
        num_readers: threads that read ahead.
        parquet: path of a file with all values: one row per segment with `id`, `segment`, `labels` (list of class
            names), `loudness_db` and for each block a list of its factors, float32.
        progress: shows a bar on stderr.

    Raises:
        UsageError: a model without excitations or without a task, or an empty split.
    """
    task = model.task
    if task is None:
        raise UsageError("the model has no task; create it as SampleCNN(config, task)")
    modules = excitation_modules(model)
    if not modules:
        raise no_excitations(model)
    if len(segments) == 0:
        raise UsageError(f"data set {segments.task.name}: its {segments.split} split has no segments")
    device = next(model.parameters()).device

    def read(start: int) -> tuple[np.ndarray, np.ndarray]:
        waves = segments.waveforms(np.arange(start, min(start + batch_size, len(segments))))
        return standardise(waves, task), loudness(waves)

    sums = {name: ExcitationSums(len(task.classes), module.ex1.out_features) for name, module in modules.items()}
    levels = np.empty(len(segments), np.float32)
    with ExitStack() as stack:
        factors = stack.enter_context(_recorded_factors(modules))
        stack.enter_context(full_precision(model))
        write = None if parquet is None else stack.enter_context(parquet_writer(Path(parquet), segments, sums))
        bar = stack.enter_context(Progress(len(segments), "excitations", "segments")) if progress else None
        start = 0
        for batch, level in map_ahead(read, range(0, len(segments), batch_size), num_readers):
            rows = slice(start, start + len(batch))
            model.features(torch.from_numpy(batch).to(device))
            labels = np.asarray(segments.labels[rows]).astype(bool)
            for name, values in factors.items():
                sums[name].add(values, labels, level)
            if write:
                write(rows, labels, level, factors)
            levels[rows] = level
            start += len(batch)
            if bar:
                bar.advance(len(batch))
    counts = np.asarray(segments.labels).sum(axis=0, dtype=np.int64)
    blocks = tuple(sums[name].result(name, counts) for name in modules)
    return Excitations(task.classes, blocks, counts, len(segments), levels, segments.task.name)


def loudness(waves: np.ndarray) -> np.ndarray:
    """The level of every waveform, 20 log10 of its RMS, in dB relative to full scale and at least MIN_LEVEL.

    Args:
        waves: float [batch, samples] in [-1, 1].

    Returns:
        float32 [batch].
    """
    rms = np.sqrt(np.mean(np.square(waves, dtype=np.float64), axis=1))
    return np.maximum(20 * np.log10(np.maximum(rms, 1e-12)), MIN_LEVEL).astype(np.float32)


def no_excitations(model: "SampleCNN", name: str = "the model") -> UsageError:
    """The error for a model without excitations."""
    return UsageError(
        f"{name}: its blocks ({model.config.block}) have no excitations; use a model with the blocks se, rese1 or rese2"
    )


def excitation_modules(model: "SampleCNN") -> dict[str, Excitation]:
    """The excitations of a network by block name, first to last; empty for a network without any."""
    return {stage.spec.label: stage.excitation for stage in model.stages if stage.excitation is not None}


@contextmanager
def _recorded_factors(modules: dict[str, Excitation]) -> Iterator[dict[str, np.ndarray]]:
    """Yields a dictionary that each forward pass fills with every block's factors, float32 [batch, units]."""
    recorded: dict[str, np.ndarray] = {}

    def hook_for(name: str) -> Any:
        def hook(module: Excitation, inputs: tuple[torch.Tensor, ...]) -> None:
            recorded[name] = module.factors(inputs[0]).float().cpu().numpy()

        return hook

    handles = [module.register_forward_pre_hook(hook_for(name)) for name, module in modules.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
