"""The per-class scores as a text table, for terminals and pipes."""

import math
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from samplecnn.evaluation.confusion import most_confused
from samplecnn.evaluation.intervals import Intervals
from samplecnn.evaluation.metrics import Scores
from samplecnn.evaluation.predict import Predictions
from samplecnn.evaluation.thresholds import ClassThreshold
from samplecnn.system.log import one_line
from samplecnn.task import Task

if TYPE_CHECKING:
    from rich.table import Table

PIPE_WIDTH = 160  # columns if the output is not a terminal


def print_report(
    scores: Scores,
    task: Task,
    predictions: Predictions | None = None,
    file: IO[str] | None = None,
    intervals: Intervals | None = None,
) -> None:
    """Prints the table of classes, the classes excluded from the averages, and the scores of the whole test.

    Args:
        predictions: if given, the table of a one-label task also shows the wrong class that each class is most often
            predicted as.
        file: the output; None: stdout.
        intervals: of the main scores, shown if given.
    """
    file = file or sys.stdout
    table = _table(("clips", "ROC-AUC", "PR-AUC", "precision", "recall", "F1"))
    confused = most_confused(predictions, task) if predictions is not None and task.kind == "multiclass" else None
    if confused:
        table.add_column("most often confused with", no_wrap=True)
    for index, row in enumerate(scores.per_class):
        numbers = (row.roc_auc, row.pr_auc, row.precision, row.recall, row.f1)
        cells = [one_line(row.name), f"{row.support:,}", *(_cell(value) for value in numbers)]
        table.add_row(*cells, *([one_line(confused[index])] if confused else []))
    _print(table, file)

    print(f"{scores.clips:,} clips, {len(scores.per_class)} classes, {task.threshold_text}", file=file)
    for line in headline(scores):
        print(line, file=file)
    if intervals is not None:
        print(interval_line(scores, intervals), file=file)
    if scores.left_out:
        names = ", ".join(map(one_line, scores.left_out))
        print(f"excluded from the averages (no clip has them, or every clip): {names}", file=file)
    print(f"=> Test scores: {scores}", file=file)


def print_thresholds(rows: Sequence[ClassThreshold], file: IO[str] | None = None) -> None:
    """Prints fitted thresholds with their intervals, and what they reach on the clips that they were fitted to.

    Args:
        rows: of all classes.
        file: the output; None: stdout.
    """
    table = _table(("validation clips", "threshold", "95 % interval", "precision", "recall", "F1"))
    for row in rows:
        interval = f"{row.low:.4f} to {row.high:.4f}" if row.fitted else "–"
        cells = [f"{row.clips:,}", f"{row.threshold:.4f}", interval, *map(_cell, (row.precision, row.recall, row.f1))]
        table.add_row(one_line(row.name), *cells)
    _print(table, file or sys.stdout)


def _table(headings: Sequence[str]) -> "Table":
    """A table with a row for each class."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("class", no_wrap=True, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print(table: "Table", file: IO[str]) -> None:
    from rich.console import Console

    width = None if file.isatty() else PIPE_WIDTH
    Console(file=file, highlight=False, markup=False, emoji=False, width=width).print(table)  # names are plain text


def headline(scores: Scores) -> list[str]:
    """The main scores for the kind of task, and explanations of the names in the last line."""
    if scores.kind == "multilabel":
        return [
            f"PR-AUC {_cell(scores.pr_auc)}, macro F1 {_cell(scores.macro_f1)} (means of the classes)",
            "exact_match: share of clips with every label correct at the threshold; sample_f1: mean of the clips' F1",
        ]
    return [
        f"accuracy {100 * scores.accuracy:.2f} %, macro F1 {_cell(scores.macro_f1)} (most probable class)",
        "precision, recall and F1 of a class: by the most probable class; sample_f1: mean of the clips' F1 at the "
        f"threshold; {100 * scores.exact_match:.2f} % of the clips have their class, and no other, above it",
    ]


def interval_line(scores: Scores, intervals: Intervals) -> str:
    """The intervals of the main scores, and what they are over."""
    first = ("pr_auc", "PR-AUC", 1, "") if scores.kind == "multilabel" else ("accuracy", "accuracy", 100, " %")
    parts = []
    for name, title, factor, unit in (first, ("macro_f1", "macro F1", 1, "")):
        low, high = (end * factor for end in intervals.overall[name])
        digits = 1 if factor == 100 else 3
        parts.append(f"{title} unknown" if math.isnan(low) else f"{title} {low:.{digits}f} to {high:.{digits}f}{unit}")
    over = f"{intervals.units:,} {intervals.unit}"
    return f"{100 * intervals.level:g} % intervals over {over}: {', '.join(parts)}"


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
