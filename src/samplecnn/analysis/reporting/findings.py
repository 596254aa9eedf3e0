"""Computes the contents of a report; `page` turns them into HTML."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.explainer import explain
from samplecnn.analysis.explanation import Explanation
from samplecnn.analysis.reporting.mistakes import Mistake, sound_uri, worst_mistakes
from samplecnn.evaluation.evaluator import Evaluation
from samplecnn.evaluation.intervals import DRAWS, Intervals, intervals

if TYPE_CHECKING:
    from samplecnn.analysis.excitation_result import Excitations
    from samplecnn.analysis.filters import Filters
    from samplecnn.analysis.summary import Summary
    from samplecnn.models import SampleCNN
    from samplecnn.shards import Segments


@dataclass(frozen=True)
class Contents:
    """What a report contains.

    Args:
        mistakes: number of worst mistakes to show, with their sound.
        explained: number of these mistakes to explain.
        filters, excitations: whether to analyse the filters and the excitations, the slowest parts.
        filter_steps: steps of gradient ascent for the filters; None for the default.
        draws: bootstrap draws for the confidence intervals.
        seed: seed of the bootstrap and of the filters' initial noise.
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
    """The results that the page shows.

    Args:
        evaluation: scores and predictions.
        intervals: confidence intervals of the scores.
        mistakes: the worst mistakes, with as many `sounds` (data URIs) and `explanations` (None if not explained).
        summary: the network's layers.
        filters, excitations: None if they are not part of the report.
        notes: sentences on sections that the model cannot have.
        history: the run's epochs and tests; empty for a model outside a run directory.
        options: the run's training options.
        run: the run directory.
    """

    evaluation: Evaluation
    intervals: Intervals
    mistakes: list[Mistake]
    sounds: list[str]
    explanations: list[Explanation | None]
    summary: "Summary"
    filters: "Filters | None" = None
    excitations: "Excitations | None" = None
    notes: list[str] = field(default_factory=list)
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
    """Computes a report's findings.

    Args:
        model: the model on its device.
        evaluation: its scores on the test split.
        segments: the test split.
        contents: what the report contains.
        run: the model's run directory; None for a model outside one.
        batch_size: segments per step.
        progress: shows a bar on stderr for each of the slow parts.
    """
    from samplecnn.analysis.excitation import excitation_modules, excitations
    from samplecnn.analysis.filters import STEPS, learn_filters
    from samplecnn.analysis.summary import summarize

    predictions, task = evaluation.predictions, evaluation.task
    mistakes = worst_mistakes(predictions, task, contents.mistakes)
    waves = [clip_wave(segments, mistake.name) for mistake in mistakes]
    explanations: list[Explanation | None] = [None] * len(mistakes)
    for index, (mistake, wave) in enumerate(zip(mistakes[: contents.explained], waves, strict=False)):
        explanation = explain(model, wave, task.sample_rate, tags=mistake.tags, max_windows=2, progress=progress)
        explanations[index] = replace(explanation, name=mistake.name)
    found = Findings(
        evaluation=evaluation,
        intervals=intervals(
            predictions.y_true,
            predictions.y_prob,
            task,
            contents.draws,
            contents.seed,
            progress=progress,
            groups=predictions.groups,
        ),
        mistakes=mistakes,
        sounds=[sound_uri(wave, task.sample_rate) for wave in waves],
        explanations=explanations,
        summary=summarize(model),
        run=run,
    )
    if not excitation_modules(model):
        found.notes.append(f"{model.config.block} blocks have no excitations")
    elif contents.excitations:
        found.excitations = excitations(model, segments, batch_size=batch_size, progress=progress)
    if contents.filters:
        steps = STEPS if contents.filter_steps is None else contents.filter_steps
        found.filters = learn_filters(model, steps=steps, seed=contents.seed, progress=progress)
    if run is not None:
        found.history, found.options = run_records(run)
    return found


def clip_wave(segments: "Segments", name: str) -> np.ndarray:
    """All segments of a clip joined: the model's input as one waveform, float32 [samples]."""
    rows = np.array([row for row, id in enumerate(segments.ids) if id == name])
    return segments.waveforms(rows).reshape(-1)


def run_records(run: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """History and training options from a run directory; empty if the files are missing."""
    from samplecnn.training.checkpoint import CHECKPOINT, load_checkpoint
    from samplecnn.training.logging import METRICS, read_metrics

    history: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    if (run / METRICS).exists():
        history = read_metrics(run)
    if (run / CHECKPOINT).exists():
        checkpoint = load_checkpoint(run)
        options = {**checkpoint.options, "precision": checkpoint.precision}
    return history, options
