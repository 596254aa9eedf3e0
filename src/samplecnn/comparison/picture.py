"""The picture of a comparison: every run as a dot, the mean of a row and its interval."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.comparison.records import NETWORK
from samplecnn.comparison.table import MEASURES, Comparison
from samplecnn.system.plotting import FONT, LIGHT, SMALL, drawable, new_figure, shorten, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_comparison(comparison: Comparison) -> "Figure":
    """Draws the rows from top to bottom: networks blue, baselines orange, published ROC-AUC as a diamond."""
    rows = comparison.rows
    figure = new_figure(max(0.34 * len(rows) + 1.5, 2.4), 8.0)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = LIGHT.blue if row.kind == NETWORK else LIGHT.orange
        below = np.full(len(row.values), place + 0.2)
        axes.plot(row.values, below, "o", ms=4, color=colour, alpha=0.5, mec="none")
        if math.isnan(row.mean):
            continue
        if not math.isnan(row.low):
            axes.plot([row.low, row.high], [place, place], "-", lw=1.6, color=colour, solid_capstyle="butt")
        axes.plot(row.mean, place, "o", ms=6.5, color=colour)
        axes.annotate(
            f"{row.mean:.3f}", (row.mean, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=8
        )
        if row.published is not None and comparison.measure == "roc_auc":
            axes.plot(row.published, place, "D", ms=5, mfc="none", color=LIGHT.ink)
    axes.set_yticks(range(len(rows)), [shorten(row.label, 50) for row in rows], fontsize=SMALL, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.7)
    if not any(row.values for row in rows):
        axes.set_xlim(0, 1)
        axes.text(0.5, 0.5, "no run has finished", transform=axes.transAxes, ha="center", color=LIGHT.muted)
    axes.set_xlabel(f"{MEASURES[comparison.measure]} on test clips", fontsize=SMALL)
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    folds = "" if comparison.folds is None else f", {len(comparison.folds)} folds"
    seeds = f"{len(comparison.seeds)} seed{'' if len(comparison.seeds) == 1 else 's'}"
    title = f"{drawable(Path(comparison.dataset).name)}: means of {seeds}{folds}; lines: 95 % intervals"
    figure.suptitle(title, fontsize=FONT, parse_math=False)
    return figure
