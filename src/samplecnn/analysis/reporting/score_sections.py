"""The page's sections about scores: the headline, every class, the confusions or curves, the learning curves."""

import math
from typing import Any

import numpy as np

from samplecnn.analysis.reporting import svg
from samplecnn.analysis.reporting.elements import escape, table
from samplecnn.analysis.reporting.findings import Findings
from samplecnn.evaluation.confusion import confusion_counts, confusion_matrix, most_confused
from samplecnn.evaluation.metrics import ClassScores
from samplecnn.evaluation.precision_recall import class_curves, shown_classes

MAX_NAMED = 5  # classes and confusions in the sentences at the top
# Names on the cards, in order, by kind of task. `accuracy` of a multi-label task is the exact match.
CARDS = {
    "multiclass": {"accuracy": "Accuracy", "macro_f1": "Macro F1", "roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"},
    "multilabel": {"pr_auc": "PR-AUC", "macro_f1": "Macro F1", "roc_auc": "ROC-AUC", "accuracy": "Exact match"},
}


def cards(found: Findings) -> str:
    """The scores of the whole test with their intervals."""
    scores, cells = found.evaluation.scores, []
    for name, label in CARDS[scores.kind].items():
        value, ends = getattr(scores, name), found.intervals.overall[name]
        percent = name == "accuracy"
        cells.append(
            f'<div class="card"><dt>{label}</dt><dd>{figure(value, percent)}'
            f"<small>{interval(ends, percent)}</small></dd></div>"
        )
    cells.append(
        f'<div class="card"><dt>Test clips</dt><dd>{scores.clips:,}<small>{len(scores.per_class)} classes'
        "</small></dd></div>"
    )
    return f'<dl class="cards">{"".join(cells)}</dl>'


def sentences(found: Findings) -> list[str]:
    """The weakest classes, the most frequent confusions, and the classes excluded from the averages."""
    scores, task = found.evaluation.scores, found.evaluation.task
    main = main_score(found)
    rows = [row for row in scores.per_class if row.support and not math.isnan(getattr(row, main))]
    weakest = sorted(rows, key=lambda row: getattr(row, main))[:MAX_NAMED]
    lines = []
    if weakest:
        names = ", ".join(f"{row.name} ({figure(getattr(row, main), main == 'recall')})" for row in weakest)
        lines.append(f"Weakest classes by {'recall' if main == 'recall' else 'PR-AUC'}: {names}.")
    if task.kind == "multiclass":
        counts = confusion_counts(found.evaluation.predictions, task)
        clips = counts.sum(axis=1)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts.ravel(), kind="stable")[:MAX_NAMED]
        pairs = [divmod(int(index), len(counts)) for index in order if counts.ravel()[index]]
        names = ", ".join(
            f"{task.classes[true]} as {task.classes[other]} ({counts[true, other]} of {clips[true]:,})"
            for true, other in pairs
        )
        lines.append(f"Most frequent confusions: {names}." if names else "Every clip is classified correctly.")
    else:
        lines.append(
            f"Exact match: every label of a clip is right at {scores.threshold_text}. "
            f"Mean of the clips' F1: {figure(scores.f1)}."
        )
    if scores.left_out:
        lines.append(f"Excluded from the averages (no clip has them, or every clip): {', '.join(scores.left_out)}.")
    return lines


def per_class(found: Findings) -> str:
    """One row per class, weakest first, with the interval of its main score."""
    task, scores, main = found.evaluation.task, found.evaluation.scores, main_score(found)
    confused = most_confused(found.evaluation.predictions, task) if task.kind == "multiclass" else None
    rows = []
    present = [index for index, row in enumerate(scores.per_class) if row.support]
    order = sorted(present, key=lambda index: _nan_last(getattr(scores.per_class[index], main)))
    for index in order:
        row, ends = scores.per_class[index], found.intervals.per_class
        bounds = tuple(ends[main][index].tolist())
        value = getattr(row, main)
        cells = [
            escape(row.name),
            f"{row.support:,}",
            svg.whisker(value, bounds),  # type: ignore[arg-type]
            f"{figure(value)} <small>{interval(bounds)}</small>",
            *(_other_scores(row, main)),
            f"{figure(row.roc_auc)} <small>{interval(tuple(ends['roc_auc'][index].tolist()))}</small>",
        ]
        rows.append([*cells, *([escape(confused[index])] if confused else [])])
    label = "Recall" if main == "recall" else "PR-AUC"
    others = ["Precision", "F1"] if main == "recall" else ["Precision", "Recall", "F1"]
    last = ["Most often confused with"] if confused else []
    head = ["Class", "Clips", f"{label}, 0 to 1", label, *others, "ROC-AUC", *last]
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
            ends = interval(tuple(found.intervals.per_class["pr_auc"][one.index].tolist()))
            panels.append(svg.precision_recall(one, f"{figure(one.pr_auc)}{f' ({ends})' if ends else ''}"))
    return (
        f'<p class="note">Precision (upwards) over recall at all thresholds, best class first, with the area under '
        f"each curve. Dashed: chance. Dot: at {scores.threshold_text}.{f' Shown: {note}.' if note else ''}"
        f'</p><div class="panels">{"".join(panels)}</div>'
    )


def learning_curves(history: list[dict[str, Any]]) -> str:
    """Loss and validation score by epoch, and the test score at the end of every stage."""
    epochs = [row for row in history if row.get("event") == "epoch"]
    if not epochs:
        return ""
    x = np.arange(1.0, len(epochs) + 1)
    ends = [epoch + 0.5 for epoch in range(1, len(epochs)) if epochs[epoch]["stage"] != epochs[epoch - 1]["stage"]]
    loss = {"training": column(epochs, "train_loss"), "validation": column(epochs, "val_loss")}
    parts = [f"<figure><figcaption>Loss</figcaption>{svg.lines('Loss by epoch', x, loss, ends)}</figure>"]
    for name, label in (("accuracy", "Accuracy"), ("roc_auc", "ROC-AUC")):
        if f"val_{name}" not in epochs[0]:
            continue
        tests = [
            (float(sum(one["stage"] <= row["stage"] for one in epochs)), float(row[name]))
            for row in history
            if row.get("event") == "test" and row.get(name) is not None
        ]
        curves = {"validation": column(epochs, f"val_{name}")}
        chart = svg.lines(f"{label} by epoch", x, curves, ends, {"test": tests} if tests else None)
        parts.append(f"<figure><figcaption>{label}</figcaption>{chart}</figure>")
    return f'<div class="charts">{"".join(parts)}</div>'


def column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    """Values of a key, float64 [rows]; NaN if it is missing or null."""
    return np.array([math.nan if row.get(name) is None else row[name] for row in rows], dtype=float)


def main_score(found: Findings) -> str:
    """The score by which classes are ordered: recall in tasks with one label per clip, else PR-AUC."""
    return "recall" if found.evaluation.task.kind == "multiclass" else "pr_auc"


def figure(value: float, percent: bool = False) -> str:
    """A score as text: 0.912, or 91.2 %."""
    if math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def interval(ends: Any, percent: bool = False) -> str:
    """An interval as text; empty if there is none."""
    low, high = ends
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f} %" if percent else f"{low:.3f} to {high:.3f}"


def percent(share: float) -> str:
    """A share as text: 95 %."""
    return f"{100 * share:g} %"


def _other_scores(row: ClassScores, main: str) -> list[str]:
    names = ("precision", "f1") if main == "recall" else ("precision", "recall", "f1")
    return [figure(getattr(row, name)) for name in names]


def _nan_last(value: float) -> float:
    return 2 if math.isnan(value) else value
