"""Plots of a test: the confusion matrix of a one-label task; curves and areas by class of a multi-label task."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.evaluation.confusion import ConfusionMatrix, confusion_matrix
from samplecnn.evaluation.metrics import Scores
from samplecnn.evaluation.precision_recall import ClassCurve, class_curves, shown_classes
from samplecnn.evaluation.predict import Predictions
from samplecnn.system.plotting import (
    FONT,
    LIGHT,
    SMALL,
    TINY,
    diverging,
    drawable,
    new_figure,
    save_figure,
    shorten,
    tidy,
)
from samplecnn.task import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHARACTER = 0.075  # width in inches of a letter at 8 points


def save_pictures(predictions: Predictions, scores: Scores, task: Task, folder: str | Path) -> list[Path]:
    """Draws a test's pictures into `folder` as PNG.

    One-label tasks: confusion.png. Multi-label tasks: precision_recall.png (one panel per class, best first) and
    per_class.png (areas as bars).

    Returns:
        Paths of the files.

    Raises:
        OSError: the folder cannot be written.
    """
    if task.kind == "multiclass":
        return [
            save_figure(
                draw_confusion(confusion_matrix(predictions, task), scores, task), Path(folder, "confusion.png")
            )
        ]
    classes, note = shown_classes(scores)
    curves = class_curves(predictions, scores, classes)
    return [
        save_figure(draw_precision_recall(curves, scores, task, note), Path(folder, "precision_recall.png")),
        save_figure(draw_areas(curves, scores, task, note), Path(folder, "per_class.png")),
    ]


def draw_confusion(matrix: ConfusionMatrix, scores: Scores, task: Task) -> "Figure":
    """Rows are true classes, columns the most probable ones. Blue is correct, orange wrong; the intensity shows
    the cell's share of its row."""
    size = len(matrix.names)
    cell = 0.34 if matrix.counted else 0.2  # inches
    side = max(cell * size, 3.2)
    names = [shorten(name, 40) for name in matrix.names]
    label = CHARACTER * max(len(name) for name in names)
    upright = label > side / size
    left, bottom, top, right = label + 0.45, (label if upright else 0.15) + 0.45, 0.75, 0.25
    width, height = left + side + right, bottom + side + top
    # Positioned manually: matplotlib's layout takes minutes with hundreds of texts.
    figure = new_figure(height, width, layout=None)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    axes.imshow(matrix.strength, cmap=diverging(), vmin=-1, vmax=1)
    axes.set_xticks(range(size), names, rotation=90 if upright else 0, fontsize=8, parse_math=False)
    axes.set_yticks(range(size), names, fontsize=8, parse_math=False)
    axes.set_xlabel("most probable class", fontsize=SMALL)
    axes.set_ylabel("true class", fontsize=SMALL)
    title = f"{drawable(task.name)}: accuracy {100 * scores.accuracy:.2f} % of {scores.clips:,} clips"
    figure.text(0.1 / width, 1 - 0.1 / height, title, va="top", fontsize=FONT, parse_math=False)
    legend = "blue: correct, orange: wrong; the intensity shows the share of the row"
    figure.text(0.1 / width, 1 - 0.32 / height, matrix.note or legend, va="top", fontsize=SMALL, color=LIGHT.muted)
    _cell_borders(axes, size)
    if matrix.counted:
        for row, column in zip(*np.nonzero(matrix.counts), strict=True):
            text = str(matrix.counts[row, column])
            colour = LIGHT.over if abs(matrix.strength[row, column]) > 0.5 else LIGHT.ink
            axes.text(column, row, text, ha="center", va="center", fontsize=8 - max(len(text) - 2, 0), color=colour)
    return figure


def draw_precision_recall(curves: list[ClassCurve], scores: Scores, task: Task, note: str = "") -> "Figure":
    """One panel per class: precision over recall at all thresholds, chance as a dashed line, the threshold as a dot."""
    columns = min(max(math.ceil(math.sqrt(len(curves) * 2)), 4), 10)
    rows = math.ceil(len(curves) / columns)
    panel, gap, left, top, bottom = 1.25, (0.2, 0.45), 0.6, 0.95, 0.5
    width, height = left + columns * (panel + gap[0]), top + rows * (panel + gap[1]) - gap[1] + bottom
    figure = new_figure(height, width, layout=None)  # positioned manually, like the confusion matrix
    for index, one in enumerate(curves):
        down, across = divmod(index, columns)
        x, y = left + across * (panel + gap[0]), height - top - panel - down * (panel + gap[1])
        axes = figure.add_axes((x / width, y / height, panel / width, panel / height))
        axes.set_title(f"{shorten(one.name, 24)}\n{_area(one.pr_auc)}", fontsize=TINY, pad=3, parse_math=False)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        ticks = ((0, 0.5, 1), ("0", ".5", "1"))
        axes.set_xticks(*(ticks if index + columns >= len(curves) else ((), ())), fontsize=TINY)
        axes.set_yticks(*(ticks if across == 0 else ((), ())), fontsize=TINY)
        axes.tick_params(length=2)
        axes.axhline(one.chance, color=LIGHT.muted, linewidth=0.8, linestyle=(0, (3, 2)))
        if len(one.recall):
            axes.fill_between(one.recall, one.precision, step="pre", color=LIGHT.blue, alpha=0.12, linewidth=0)
            axes.plot(one.recall, one.precision, color=LIGHT.blue, linewidth=1.1, drawstyle="steps-pre")
            if one.at_threshold is not None:
                axes.plot(*one.at_threshold, "o", color=LIGHT.orange, markersize=3.5, clip_on=False, zorder=3)
    figure.text(0.5, 0.12 / height, "recall", ha="center", fontsize=SMALL)
    figure.text(0.15 / width, 0.5, "precision", va="center", rotation=90, fontsize=SMALL)
    title = (
        f"{drawable(task.name)}: precision over recall at all thresholds, mean area {_area(scores.pr_auc)} "
        f"({scores.clips:,} clips)\ndot: at {task.threshold_text}, dashed: chance{'; ' + note if note else ''}"
    )
    figure.text(0.5, 1 - 0.1 / height, title, ha="center", va="top", fontsize=FONT, parse_math=False)
    return figure


def draw_areas(curves: list[ClassCurve], scores: Scores, task: Task, note: str = "") -> "Figure":
    """PR-AUC of every class as a bar with its chance level, and ROC-AUC as a dot, in the order of `curves`."""
    rows = [scores.per_class[one.index] for one in curves]
    y = np.arange(len(rows))
    figure = new_figure(max(0.19 * len(rows) + 1.7, 2.8), 9.5)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    left.barh(y, np.nan_to_num([row.pr_auc for row in rows]), color=LIGHT.blue, height=0.7)
    chance = [one.chance for one in curves]
    left.vlines(chance, y - 0.42, y + 0.42, color=LIGHT.orange, linewidth=1.6, label="chance")
    for position, row in zip(y, rows, strict=True):
        end = max(np.nan_to_num(row.pr_auc), chance[position])
        left.annotate(
            _area(row.pr_auc), (end, position), xytext=(4, 0), textcoords="offset points", va="center", fontsize=TINY
        )
    names = [f"{shorten(row.name, 40)} ({row.support:,})" for row in rows]
    left.set_yticks(y, names, fontsize=8, parse_math=False)
    left.set(xlim=(0, 1.08), ylim=(len(rows) - 0.4, -0.6))
    left.set_title(f"PR-AUC, mean {_area(scores.pr_auc)}", fontsize=FONT)
    right.plot([row.roc_auc for row in rows], y, "o", color=LIGHT.blue, markersize=4)
    right.axvline(0.5, color=LIGHT.orange, linewidth=1.6)
    worst = min((row.roc_auc for row in rows if not math.isnan(row.roc_auc)), default=0.5)
    right.set_xlim(min(0.48, worst - 0.02), 1.01)
    right.set_title(f"ROC-AUC, mean {_area(scores.roc_auc)}", fontsize=FONT)
    for axes in (left, right):
        tidy(axes, "x")
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", labelsize=8, length=0)
        axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    title = f"{drawable(task.name)}: {scores.clips:,} clips; in brackets the clips of each class"
    title += f"; {note}" if note else ""
    figure.suptitle(title, fontsize=FONT, parse_math=False)
    return figure


def _cell_borders(axes: "Axes", size: int) -> None:
    axes.set_xticks(np.arange(-0.5, size), minor=True)
    axes.set_yticks(np.arange(-0.5, size), minor=True)
    axes.grid(which="minor", color=LIGHT.grid, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _area(value: float) -> str:
    return "no area" if math.isnan(value) else f"{value:.3f}"
