"""The per-class report for people: a table that reads as well in a pipe as on a terminal."""

import math
import sys
from typing import IO

import numpy as np

from samplecnn.evaluation.metrics import Scores, decide
from samplecnn.evaluation.predict import Predictions
from samplecnn.task import Task

PIPE_WIDTH = 160  # columns where there is no terminal to measure


def print_report(
    scores: Scores, task: Task, predictions: Predictions | None = None, file: IO[str] | None = None
) -> None:
    """Prints the table of classes, what was left out of the averages, and the four scores in one line.

    Args:
        predictions: where given, a one-label task's table also tells which class each one is most often taken for.
        file: stdout where None.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    file = file or sys.stdout
    console = Console(file=file, highlight=False, width=None if file.isatty() else PIPE_WIDTH)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("class", no_wrap=True, overflow="fold")
    for heading in ("clips", "ROC-AUC", "PR-AUC", "precision", "recall", "F1"):
        table.add_column(heading, justify="right", no_wrap=True)
    taken = _taken_for(predictions, task) if predictions is not None and task.kind == "multiclass" else None
    if taken:
        table.add_column("most often taken for", no_wrap=True)
    for index, row in enumerate(scores.per_class):
        numbers = (row.roc_auc, row.pr_auc, row.precision, row.recall, row.f1)
        cells = [row.name, f"{row.support:,}", *(_cell(value) for value in numbers)]
        table.add_row(*cells, *([taken[index]] if taken else []))
    console.print(table)

    print(f"{scores.clips:,} clips, {len(scores.per_class)} classes, threshold {scores.threshold:g}", file=file)
    if scores.kind == "multiclass":
        print(
            "precision, recall and F1 of a class: by the most probable class; "
            f"all labels right at the threshold (exact match): {scores.exact_match:.6f}",
            file=file,
        )
    if scores.left_out:
        print(f"left out of the averages (no clip has them, or every clip): {', '.join(scores.left_out)}", file=file)
    print(f"=> Test scores: {scores}", file=file)


def confusion(predictions: Predictions, task: Task) -> np.ndarray:
    """Clips of class i whose most probable class is j, int64 [classes, classes]; for tasks with one label a clip."""
    return predictions.y_true.astype(np.int64).T @ decide(predictions.y_prob, task).astype(np.int64)


def _taken_for(predictions: Predictions, task: Task) -> list[str]:
    """Of every class, the wrong class that its clips are given most often, with the share of its clips."""
    counts = confusion(predictions, task)
    clips = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    most = counts.argmax(axis=1)
    return [
        f"{task.classes[other]} ({100 * counts[index, other] / clips[index]:.0f} %)" if counts[index, other] else ""
        for index, other in enumerate(most)
    ]


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
