"""Pictures of a test: the confusion matrix of a one-label task, precision and recall of a many-label one."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.evaluation.metrics import Scores
from samplecnn.evaluation.predict import Predictions
from samplecnn.evaluation.score_table import confusion
from samplecnn.system.files import written_aside
from samplecnn.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTED = 60  # classes up to which every cell of the confusion matrix shows its count
SCALE, LABELS = (0, 0.5, 1), ("0", ".5", "1")
BLUE, GREY, ORANGE = "#1f5fa8", "#9aa4af", "#d9822b"


def save_pictures(predictions: Predictions, scores: Scores, task: Task, folder: str | Path) -> list[Path]:
    """Draws a test's pictures into `folder` as PNG and returns their paths.

    One-label tasks: confusion.png. Many-label tasks: precision_recall.png (a small panel for every class, best first)
    and per_class.png (areas as bars). Raises OSError where the folder cannot be written.
    """
    folder = Path(folder)
    if task.kind == "multiclass":
        figures = {"confusion.png": confusion_matrix(predictions, scores, task)}
    else:
        figures = {
            "precision_recall.png": precision_recall(predictions, scores, task),
            "per_class.png": per_class_bars(scores, task),
        }
    for name, figure in figures.items():
        with written_aside(folder / name) as aside:
            figure.savefig(aside, format="png")
    return [folder / name for name in figures]


def confusion_matrix(predictions: Predictions, scores: Scores, task: Task) -> "Figure":
    """Counts in every cell, coloured by the share of their row: what the clips of each class were taken for."""
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    counts = confusion(predictions, task)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = task.num_classes
    cell = 0.34 if size <= COUNTED else max(20 / size, 0.05)
    side = max(cell * size, 3.2)
    names = [_shorten(name, 40) for name in task.classes]
    label = 0.075 * max(len(name) for name in names)  # inches of the longest class name
    upright = label > side / size
    left, bottom, top, right = label + 0.45, (label if upright else 0.15) + 0.45, 0.4, 1.0
    width, height = left + side + right, bottom + side + top
    figure = Figure(figsize=(width, height), dpi=130)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(0.6, 0, 1))  # lifts the few per cent of a confusion
    font = 8.0 if size <= COUNTED else max(72 * cell * 0.8, 2.5)
    axes.set_xticks(range(size), names, rotation=90 if upright else 0, fontsize=font, parse_math=False)
    axes.set_yticks(range(size), names, fontsize=font, parse_math=False)
    axes.set_xlabel("most probable class")
    axes.set_ylabel("true class")
    axes.set_title(f"{task.name}: accuracy {100 * scores.accuracy:.2f} % of {scores.clips:,} clips", fontsize=11)
    axes.tick_params(length=0)
    _grid(axes, size)
    if size <= COUNTED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            text = str(counts[row, column])
            colour = "white" if share[row, column] > 0.4 else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=8 - max(len(text) - 2, 0), color=colour)
    tall = min(side, 3.5)
    place = (left + side + 0.25, bottom + (side - tall) / 2)
    bar = figure.colorbar(
        image, cax=figure.add_axes((place[0] / width, place[1] / height, 0.15 / width, tall / height))
    )
    bar.set_label("share of the true class's clips", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def precision_recall(predictions: Predictions, scores: Scores, task: Task) -> "Figure":
    """Small panels, best class first: the curve over all thresholds, chance as a line, the threshold as a dot."""
    from matplotlib.figure import Figure

    order = _best_first(scores)
    columns = min(max(math.ceil(math.sqrt(len(order) * 2)), 4), 10)
    rows = math.ceil(len(order) / columns)
    # Placed by hand, in inches: matplotlib's own layout takes minutes where there are hundreds of panels or texts.
    panel, gap, left, top, bottom = 1.25, (0.2, 0.45), 0.6, 0.95, 0.5
    width, height = left + columns * (panel + gap[0]), top + rows * (panel + gap[1]) - gap[1] + bottom
    figure = Figure(figsize=(width, height), dpi=min(130, 60000 / height))  # a side holds fewer than 65,536 pixels
    for place, index in enumerate(order):
        row = scores.per_class[index]
        down, across = divmod(place, columns)
        x, y = left + across * (panel + gap[0]), height - top - panel - down * (panel + gap[1])
        axes = figure.add_axes((x / width, y / height, panel / width, panel / height))
        axes.set_title(f"{_shorten(row.name, 24)}\n{_area(row.pr_auc)}", fontsize=7, pad=3, parse_math=False)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        lowest = place + columns >= len(order)
        axes.set_xticks(*((SCALE, LABELS) if lowest else ((), ())), fontsize=7)
        axes.set_yticks(*((SCALE, LABELS) if across == 0 else ((), ())), fontsize=7)
        axes.tick_params(length=2)
        axes.axhline(row.support / scores.clips, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
        if not math.isnan(row.pr_auc):
            precision, recall = curve(predictions.y_true[:, index], predictions.y_prob[:, index])
            axes.fill_between(recall, precision, step="pre", color=BLUE, alpha=0.12, linewidth=0)
            axes.plot(recall, precision, color=BLUE, linewidth=1.1, drawstyle="steps-pre")
            if row.precision or row.recall:
                axes.plot(row.recall, row.precision, "o", color=ORANGE, markersize=3.5, clip_on=False, zorder=3)
    figure.text(0.5, 0.12 / height, "recall", ha="center", fontsize=9)
    figure.text(0.15 / width, 0.5, "precision", va="center", rotation=90, fontsize=9)
    figure.text(
        0.5,
        1 - 0.1 / height,
        f"{task.name}: precision and recall over all thresholds, mean area {_area(scores.pr_auc)} "
        f"({scores.clips:,} clips)\ndot: at threshold {task.threshold:g}    dashed: chance",
        ha="center",
        va="top",
        fontsize=10,
    )
    return figure


def per_class_bars(scores: Scores, task: Task) -> "Figure":
    """PR-AUC of every class as a bar beside its chance level, ROC-AUC beside it, best first."""
    from matplotlib.figure import Figure

    order = _best_first(scores)
    rows = [scores.per_class[index] for index in order]
    places = np.arange(len(rows))
    height = 0.19 * len(rows) + 1.4
    figure = Figure(figsize=(9.5, max(height, 2.6)), dpi=min(130, 60000 / height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    left.barh(places, np.nan_to_num([row.pr_auc for row in rows]), color=BLUE, height=0.7)
    chance = [row.support / scores.clips for row in rows]
    left.vlines(chance, places - 0.42, places + 0.42, color=ORANGE, linewidth=1.6, label="chance")
    for place, row in zip(places, rows, strict=True):
        left.annotate(
            "no area" if math.isnan(row.pr_auc) else f"{row.pr_auc:.3f}",
            (max(np.nan_to_num(row.pr_auc), chance[place]), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    left.set_yticks(
        places, [f"{_shorten(row.name, 40)} ({row.support:,})" for row in rows], fontsize=8, parse_math=False
    )
    left.set(xlim=(0, 1.08), ylim=(len(rows) - 0.4, -0.6))
    left.set_title(f"PR-AUC, mean {_area(scores.pr_auc)}", fontsize=10)
    left.legend(fontsize=8, loc="lower right", frameon=False)
    right.plot([row.roc_auc for row in rows], places, "o", color=BLUE, markersize=4)
    right.axvline(0.5, color=ORANGE, linewidth=1.6)
    worst = min((row.roc_auc for row in rows if not math.isnan(row.roc_auc)), default=0.5)
    right.set_xlim(min(0.48, worst - 0.02), 1.01)
    right.set_title(f"ROC-AUC, mean {_area(scores.roc_auc)}", fontsize=10)
    for axes in (left, right):
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(f"{task.name}: {scores.clips:,} clips; in brackets the clips of each class", fontsize=10)
    return figure


def curve(true: np.ndarray, prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall at every threshold, from the strictest on; begins at recall 0."""
    order = np.argsort(-prob, kind="stable")
    last = np.append(np.flatnonzero(np.diff(prob[order])), len(prob) - 1)  # equal probabilities enter together
    hits = np.cumsum(true[order].astype(bool))[last]
    precision, recall = hits / (last + 1), hits / max(hits[-1], 1)
    return np.append(precision[0], precision), np.append(0.0, recall)


def _best_first(scores: Scores) -> list[int]:
    areas = np.nan_to_num([row.pr_auc for row in scores.per_class], nan=-1.0)
    return np.argsort(-areas, kind="stable").tolist()


def _grid(axes: Any, size: int) -> None:
    """White lines between the cells."""
    axes.set_xticks(np.arange(-0.5, size), minor=True)
    axes.set_yticks(np.arange(-0.5, size), minor=True)
    axes.grid(which="minor", color="#dfe5ec", linewidth=0.6 if size <= COUNTED else 0.15)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)


def _shorten(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _area(value: float) -> str:
    return "no area" if math.isnan(value) else f"{value:.3f}"
