"""Excitations over a data set: how every block rescales its features, by class and by loudness (JSTSP 2019).

The squeeze-and-excitation of a block gives every feature ("unit") a factor in (0, 1) for each segment. They pass by in
batches: what is kept are sums for each class and unit, so memory does not grow with the data set.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from samplecnn.analysis.excitation_result import BlockExcitations, Excitations
from samplecnn.analysis.excitation_sums import BINS, Sums, writer
from samplecnn.audio import standardise
from samplecnn.errors import UsageError
from samplecnn.evaluation.probabilities import full_precision
from samplecnn.models.layers import Excitation
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments

__all__ = ["BINS", "BlockExcitations", "Excitations", "excitation_places", "excitations", "loudness", "no_excitations"]

SILENCE = -100.0  # dBFS that count as silence: digital zeros have no level


def excitations(
    model: "SampleCNN",
    segments: "Segments",
    batch_size: int = 23,
    progress: bool = False,
    parquet: str | Path | None = None,
    num_readers: int = 2,
) -> Excitations:
    """Runs a model over a split and sums up the excitations of every block.

    Args:
        model: with squeeze and excitation (se, rese1, rese2) and its task.
        segments: a split of a built data set with the model's classes.
        batch_size: segments a step; the figures do not depend on it.
        progress: shows a bar on stderr.
        parquet: file for all values: a row for each segment with `id`, `segment`, `labels` (list of class names),
            `loudness_db` and for each block a list of its factors, float32.
        num_readers: threads that read ahead.

    Raises:
        UsageError: a model without excitations or without a task, or an empty split.
    """
    task = model.task
    if task is None:
        raise UsageError("the model does not know its classes; give it a task: SampleCNN(config, task)")
    places = excitation_places(model)
    if not places:
        raise no_excitations(model)
    if len(segments) == 0:
        raise UsageError(f"data set {segments.task.name}: its {segments.split} split holds no segments")
    device = next(model.parameters()).device

    def read(start: int) -> tuple[np.ndarray, np.ndarray]:
        waves = segments.waveforms(np.arange(start, min(start + batch_size, len(segments))))
        return standardise(waves, task), loudness(waves)

    sums = {name: Sums(len(task.classes), place.ex1.out_features) for name, place in places.items()}
    levels = np.empty(len(segments), np.float32)
    with ExitStack() as stack:
        caught = stack.enter_context(_caught(places))
        stack.enter_context(full_precision(model))
        write = None if parquet is None else stack.enter_context(writer(Path(parquet), segments, sums))
        bar = stack.enter_context(Progress(len(segments), "excitations", "segments")) if progress else None
        start = 0
        for batch, level in map_ahead(read, range(0, len(segments), batch_size), num_readers):
            rows = slice(start, start + len(batch))
            model.features(torch.from_numpy(batch).to(device))
            labels = np.asarray(segments.labels[rows]).astype(bool)
            for name, values in caught.items():
                sums[name].add(values, labels, level)
            if write:
                write(rows, labels, level, caught)
            levels[rows] = level
            start += len(batch)
            if bar:
                bar.advance(len(batch))
    counts = np.asarray(segments.labels).sum(axis=0, dtype=np.int64)
    blocks = tuple(sums[name].result(name, counts) for name in places)
    return Excitations(task.classes, blocks, counts, len(segments), levels, segments.task.name)


def loudness(waves: np.ndarray) -> np.ndarray:
    """Of every row of float [batch, samples] the level, 20 log10 of its RMS: dB below full scale, SILENCE or more."""
    rms = np.sqrt(np.mean(np.square(waves, dtype=np.float64), axis=1))
    return np.maximum(20 * np.log10(np.maximum(rms, 1e-12)), SILENCE).astype(np.float32)


def no_excitations(model: "SampleCNN", name: str = "the model") -> UsageError:
    """The error for a model that has none."""
    return UsageError(
        f"{name}: its blocks ({model.config.block}) have no excitations; give a model of the blocks se, rese1 or rese2"
    )


def excitation_places(model: "SampleCNN") -> dict[str, Excitation]:
    """The excitations of a network by the name of their block, first to last; none for most blocks' kinds."""
    named = [
        ("stem", model.stem),
        *((f"block{i}", block) for i, block in enumerate(model.blocks)),
        ("tail", model.tail),
    ]
    found = ((name, getattr(module, "excitation", None)) for name, module in named)
    return {name: place for name, place in found if isinstance(place, Excitation)}


@contextmanager
def _caught(places: dict[str, Excitation]) -> Iterator[dict[str, np.ndarray]]:
    """A dictionary that every run of the network fills with each block's factors, float32 [batch, units]."""
    caught: dict[str, np.ndarray] = {}

    def hook(name: str) -> Any:
        def note(module: Excitation, inputs: tuple[torch.Tensor, ...]) -> None:
            caught[name] = module.factors(inputs[0]).float().cpu().numpy()

        return note

    handles = [place.register_forward_pre_hook(hook(name)) for name, place in places.items()]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()
