"""All that a report tells, computed; nothing here knows what a page looks like."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.explanation import Explanation, explain
from samplecnn.analysis.reporting.bootstrap import DRAWS, Intervals, intervals
from samplecnn.analysis.reporting.mistakes import Mistake, sound_uri, worst
from samplecnn.errors import SampleCNNError
from samplecnn.evaluation.evaluator import Evaluation

if TYPE_CHECKING:
    from samplecnn.analysis.excitation import Excitations
    from samplecnn.analysis.filters import Filters
    from samplecnn.analysis.summary import Summary
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments


@dataclass(frozen=True)
class Contents:
    """What to put into a report, and how closely to look.

    Args:
        mistakes: of the worst, with their sound.
        explained: of those, how many are taken apart.
        filters, excitations: whether to look into the network; the two that take longest.
        filter_steps: of gradient ascent.
        draws: of the bootstrap.
        seed: of the bootstrap and of the filters' noise.
    """

    mistakes: int = 12
    explained: int = 4
    filters: bool = True
    excitations: bool = True
    filter_steps: int | None = None
    draws: int = DRAWS
    seed: int = 0


@dataclass(eq=False)
class Findings:
    """What was found, for the page."""

    evaluation: Evaluation
    intervals: Intervals
    mistakes: list[Mistake]
    sounds: list[str]
    explanations: list[Explanation | None]
    summary: "Summary"
    filters: "Filters | None" = None
    excitations: "Excitations | None" = None
    left_out: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    run: Path | None = None


def gather(
    model: "SampleCNN",
    evaluation: Evaluation,
    segments: "Segments",
    contents: Contents,
    run: Path | None,
    batch_size: int,
    progress: bool,
) -> Findings:
    """Computes a report's findings, the slow parts with a bar each."""
    from samplecnn.analysis.excitation import excitation_places, excitations
    from samplecnn.analysis.filters import STEPS, learn_filters
    from samplecnn.analysis.summary import summarize

    predictions, task = evaluation.predictions, evaluation.task
    mistakes = worst(predictions, task, contents.mistakes)
    waves = [clip_wave(segments, mistake.name) for mistake in mistakes]
    explanations: list[Explanation | None] = [None] * len(mistakes)
    for place, (mistake, wave) in enumerate(zip(mistakes[: contents.explained], waves, strict=False)):
        taken = explain(model, wave, task.sample_rate, mistake.tags, most_windows=2, progress=progress)
        explanations[place] = replace(taken, name=mistake.name)
    found = Findings(
        evaluation=evaluation,
        intervals=intervals(
            predictions.y_true, predictions.y_prob, task, contents.draws, contents.seed, progress=progress
        ),
        mistakes=mistakes,
        sounds=[sound_uri(wave, task.sample_rate) for wave in waves],
        explanations=explanations,
        summary=summarize(model),
        run=run,
    )
    if not excitation_places(model):
        found.left_out.append(f"excitations: blocks of the kind {model.config.block} have none")
    elif contents.excitations:
        found.excitations = excitations(model, segments, batch_size, progress)
    if contents.filters:
        steps = STEPS if contents.filter_steps is None else contents.filter_steps
        found.filters = learn_filters(model, steps, contents.seed, progress)
    if run is not None:
        found.history, found.options = run_records(run)
    return found


def clip_wave(segments: "Segments", name: str) -> np.ndarray:
    """All segments of a clip, one after the other: what the model heard, float32 [samples]."""
    rows = np.array([row for row, id in enumerate(segments.ids) if id == name])
    return segments.waveforms(rows).reshape(-1)


def run_records(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The history and the training options that a run directory keeps; empty where it keeps none."""
    from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint
    from samplecnn.training.logging import METRICS, read_metrics

    history: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    if (run / METRICS).exists():
        try:
            history = read_metrics(run)
        except ValueError as error:
            raise SampleCNNError(f"{run / METRICS}: damaged ({error}); move it away to do without") from error
    if (run / CHECKPOINT).exists():
        checkpoint = load_checkpoint(run)
        options = {**checkpoint.options, "precision": checkpoint.precision}
    return history, options
