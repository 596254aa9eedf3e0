"""The page's sections about scores: the figures, every class, what is taken for what, the learning curves."""

import math
from html import escape
from typing import Any

import numpy as np

from samplecnn.analysis.reporting import svg
from samplecnn.analysis.reporting.gather import Findings
from samplecnn.analysis.reporting.pictures import table
from samplecnn.evaluation.confusion import confusion_counts, confusion_matrix, most_confused
from samplecnn.evaluation.metrics import ClassScores
from samplecnn.evaluation.precision_recall import class_curves, shown_classes

NAMED = 5  # classes and confusions that the words at the head tell
SCORES = {"accuracy": "Accuracy", "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "f1": "F1"}


def cards(found: Findings) -> str:
    """The scores of the whole test, with their intervals."""
    scores, cells = found.evaluation.scores, []
    for name, shown in SCORES.items():
        value, ends = getattr(scores, name), found.intervals.overall[name]
        percent = name == "accuracy"
        cells.append(
            f'<div class="card"><dt>{shown}</dt><dd>{figure(value, percent)}'
            f"<small>{interval(ends, percent)}</small></dd></div>"
        )
    cells.append(f'<div class="card"><dt>Test clips</dt><dd>{scores.clips:,}<small>{len(scores.per_class)} classes')
    cells[-1] += "</small></dd></div>"
    return f'<dl class="cards">{"".join(cells)}</dl>'


def in_words(found: Findings) -> list[str]:
    """What a reader in a hurry should know of the classes: the weakest, and what is taken for what."""
    scores, task = found.evaluation.scores, found.evaluation.task
    main = main_score(found)
    rows = [row for row in scores.per_class if row.support and not math.isnan(getattr(row, main))]
    weakest = sorted(rows, key=lambda row: getattr(row, main))[:NAMED]
    words = []
    if weakest:
        said = ", ".join(f"{row.name} ({figure(getattr(row, main), main == 'recall')})" for row in weakest)
        measure = "share of its clips found" if main == "recall" else "PR-AUC"
        words.append(f"Weakest classes by {measure}: {said}.")
    if task.kind == "multiclass":
        counts = confusion_counts(found.evaluation.predictions, task)
        clips = counts.sum(axis=1)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts.ravel(), kind="stable")[:NAMED]
        pairs = [divmod(int(place), len(counts)) for place in order if counts.ravel()[place]]
        said = ", ".join(
            f"{task.classes[true]} for {task.classes[other]} ({counts[true, other]} of {clips[true]:,})"
            for true, other in pairs
        )
        words.append(f"Most often mistaken: {said}." if said else "No clip is taken for another class.")
    if scores.left_out:
        words.append(f"Left out of the averages, since no clip has them or every clip: {', '.join(scores.left_out)}.")
    return words


def per_class(found: Findings) -> str:
    """A row for every class, weakest first, with the interval of its main score."""
    task, scores, main = found.evaluation.task, found.evaluation.scores, main_score(found)
    taken = most_confused(found.evaluation.predictions, found.evaluation.task) if task.kind == "multiclass" else None
    rows = []
    present = [index for index, row in enumerate(scores.per_class) if row.support]
    order = sorted(present, key=lambda index: _or_last(getattr(scores.per_class[index], main)))
    for index in order:
        row, ends = scores.per_class[index], found.intervals.per_class
        bounds = tuple(ends[main][index].tolist())
        value = getattr(row, main)
        cells = [
            escape(row.name),
            f"{row.support:,}",
            svg.whisker(value, bounds),  # type: ignore[arg-type]
            f"{figure(value)} <small>{interval(bounds)}</small>",
            *(_others(row, main)),
            f"{figure(row.roc_auc)} <small>{interval(tuple(ends['roc_auc'][index].tolist()))}</small>",
        ]
        rows.append([*cells, *([escape(taken[index])] if taken else [])])
    shown = "Recall" if main == "recall" else "PR-AUC"
    others = ["Precision", "F1"] if main == "recall" else ["Precision", "Recall", "F1"]
    head = [
        "Class",
        "Clips",
        f"{shown}, 0 to 1",
        shown,
        *others,
        "ROC-AUC",
        *(["Most often taken for"] if taken else []),
    ]
    caption = f"Scores of every class with test clips, weakest first, with {percent(found.intervals.level)} intervals"
    return table(head, rows, caption)


def charts(found: Findings) -> str:
    """The confusion matrix of a one-label task, the precision-recall curves of a multi-label one."""
    evaluation = found.evaluation
    predictions, task, scores = evaluation.predictions, evaluation.task, evaluation.scores
    if task.kind == "multiclass":
        matrix = confusion_matrix(predictions, task)
        note = f" Shown: {matrix.note}." if matrix.note else ""
        return (
            '<p class="note">Rows are the true class, columns the most probable one. Blue: right; orange: wrong, '
            f"the stronger the larger the share of the row. Point at a cell for its numbers.{note}</p>"
            f'<div class="wide" tabindex="0" role="region" aria-label="Confusion matrix">{svg.confusion(matrix)}</div>'
        )
    classes, note = shown_classes(scores)
    panels = []
    for one in class_curves(predictions, scores, classes):
        if len(one.recall):
            ends = tuple(found.intervals.per_class["pr_auc"][one.index].tolist())
            panels.append(svg.precision_recall(one, f"{figure(one.pr_auc)} ({interval(ends)})"))
    return (
        f'<p class="note">Precision (upwards) over recall at all thresholds, best class first, with the area under '
        f"each curve. Dashed: chance. Dot: at the threshold {scores.threshold:g}.{f' Shown: {note}.' if note else ''}"
        f'</p><div class="panels">{"".join(panels)}</div>'
    )


def learning_curves(history: list[dict[str, Any]]) -> str:
    """Loss and validation score by epoch, and the test's score at every stage's end."""
    epochs = [row for row in history if row.get("event") == "epoch"]
    if not epochs:
        return ""
    x = np.arange(1.0, len(epochs) + 1)
    ends = [place + 0.5 for place in range(1, len(epochs)) if epochs[place]["stage"] != epochs[place - 1]["stage"]]
    loss = {"training": column(epochs, "train_loss"), "validation": column(epochs, "val_loss")}
    parts = [f"<figure><figcaption>Loss</figcaption>{svg.lines('Loss by epoch', x, loss, ends)}</figure>"]
    for name, shown in (("accuracy", "Accuracy"), ("roc_auc", "ROC-AUC")):
        if f"val_{name}" not in epochs[0]:
            continue
        tests = [
            (float(sum(one["stage"] <= row["stage"] for one in epochs)), float(row[name]))
            for row in history
            if row.get("event") == "test" and row.get(name) is not None
        ]
        curves = {"validation": column(epochs, f"val_{name}")}
        chart = svg.lines(f"{shown} by epoch", x, curves, ends, {"test": tests} if tests else None)
        parts.append(f"<figure><figcaption>{shown}</figcaption>{chart}</figure>")
    return f'<div class="charts">{"".join(parts)}</div>'


def column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    """Values of a key, NaN where it is missing or null."""
    return np.array([math.nan if row.get(name) is None else row[name] for row in rows], dtype=float)


def main_score(found: Findings) -> str:
    """The score that tells classes apart: recall where a clip has one label, else PR-AUC."""
    return "recall" if found.evaluation.task.kind == "multiclass" else "pr_auc"


def figure(value: float, percent: bool = False) -> str:
    if math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def interval(ends: Any, percent: bool = False) -> str:
    low, high = ends
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f} %" if percent else f"{low:.3f} to {high:.3f}"


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def _others(row: ClassScores, main: str) -> list[str]:
    names = ("precision", "f1") if main == "recall" else ("precision", "recall", "f1")
    return [figure(getattr(row, name)) for name in names]


def _or_last(value: float, last: float = 2) -> float:
    return last if math.isnan(value) else value
