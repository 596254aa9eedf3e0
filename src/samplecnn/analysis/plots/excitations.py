"""Pictures of excitations: by unit and class, distribution, spread by depth, loudness, clusters of classes."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.excitation_result import Excitations
from samplecnn.analysis.excitation_sums import BINS
from samplecnn.system.plotting import (
    FONT,
    LIGHT,
    SEQUENTIAL,
    SMALL,
    TINY,
    WIDTH,
    diverging,
    drawable,
    new_figure,
    shorten,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # panels per row
MAX_CLASSES = 100  # classes shown, those with the most segments; the title says if there are more


def draw_excitations_units(found: Excitations) -> "Figure":
    """Mean excitation of each unit for each class, minus the unit's mean: one panel per block.

    Units are ordered by the class that excites them most, classes by the clusters of the last block, so that units that
    respond to one class only form a step of a staircase.
    """
    classes = shown_classes(found)
    figure, panels = _panels(found, _panel_height(len(classes)))
    shown = [block.class_mean[classes] - block.mean for block in found.blocks]
    largest = max(float(np.percentile(np.abs(part), 99.5)) for part in shown)
    image = None
    for panel, (axes, block, part) in enumerate(zip(panels, found.blocks, shown, strict=True)):
        strongest = part.argmax(axis=0)
        order = np.lexsort((-part.max(axis=0), strongest))
        image = axes.imshow(
            part[:, order], cmap=diverging(), vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
        )
        _class_rows(axes, found, classes, panel, f"{block.name}: {block.units} units")
        axes.set_xticks([])
        if panel >= len(panels) - COLUMNS:
            axes.set_xlabel("units, by their strongest class", fontsize=SMALL)
    assert image is not None
    _bar_below(figure, panels, image, "mean excitation of the class minus the mean of all segments", "both")
    figure.suptitle(_title(found, "mean excitation of each class", classes), fontsize=FONT, parse_math=False)
    return figure


def draw_excitations_distribution(found: Excitations) -> "Figure":
    """Histogram of the factors for each class (row) and block (panel)."""
    from matplotlib.colors import PowerNorm

    classes = shown_classes(found)
    figure, panels = _panels(found, _panel_height(len(classes)))
    shares = []
    for block in found.blocks:
        counts = block.histogram[classes]
        shares.append(100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    norm = PowerNorm(0.5, 0, max(float(share.max()) for share in shares))
    image = None
    for panel, (axes, block, share) in enumerate(zip(panels, found.blocks, shares, strict=True)):
        extent = (0, 1, len(classes) - 0.5, -0.5)
        image = axes.imshow(share, cmap=SEQUENTIAL, norm=norm, aspect="auto", extent=extent, interpolation="nearest")
        _class_rows(axes, found, classes, panel, f"{block.name}: {block.units} units")
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        if panel >= len(panels) - COLUMNS:
            axes.set_xlabel("excitation", fontsize=SMALL)
    assert image is not None
    _bar_below(figure, panels, image, f"per cent of a class's factors, in bins of {1 / BINS:g}")
    figure.suptitle(_title(found, "distribution of excitations", classes), fontsize=FONT, parse_math=False)
    return figure


def draw_excitations_spread(found: Excitations) -> "Figure":
    """By depth: standard deviation of the class means, and share of each unit's variance between classes."""
    figure = new_figure(6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    x = np.arange(len(found.blocks))
    _boxes(upper, [block.class_std for block in found.blocks])
    upper.plot(x, found.spread, "o-", color=LIGHT.blue, linewidth=1.8)
    upper.set_ylabel("standard deviation\nof the classes' means", fontsize=FONT)
    upper.set_ylim(bottom=0)
    upper.set_title(
        f"{drawable(found.task)}: how far do excitations differ between classes?", fontsize=FONT, parse_math=False
    )
    _boxes(lower, [100 * block.eta_squared for block in found.blocks])
    lower.plot(x, 100 * found.eta_squared, "o-", color=LIGHT.blue, linewidth=1.8)
    lower.axhline(100 * found.chance, color=LIGHT.orange, linewidth=1.4, linestyle=(0, (4, 2)))
    lower.annotate(
        "by chance", (x[-1], 100 * found.chance), (0, 3), textcoords="offset points", ha="right",
        color=LIGHT.orange, fontsize=SMALL,
    )  # fmt: skip
    lower.set_ylabel("variance between classes,\nper cent of all", fontsize=FONT)
    lower.set_ylim(bottom=0)
    lower.set_xticks(x, found.names, rotation=40, ha="right")
    lower.set_xlabel(
        "blue: mean of the block's units; boxes: the middle half of them, lines: the middle 90 %", fontsize=SMALL
    )
    tidy(upper)
    tidy(lower)
    return figure


def draw_excitations_loudness(found: Excitations) -> "Figure":
    """Correlation of each unit with the segments' level: one column of dots per block."""
    figure = new_figure(5.0)
    axes = figure.subplots()
    x = np.arange(len(found.blocks))
    for column, block in enumerate(found.blocks):
        known = np.sort(block.loudness_correlation[~np.isnan(block.loudness_correlation)])
        across = column + 0.34 * np.cos(np.pi * (np.arange(len(known)) * 0.618034 % 1))  # evenly spread, not random
        axes.plot(across, known, ".", color=LIGHT.muted, markersize=4.5, alpha=0.7, markeredgewidth=0)
    axes.plot(x, found.loudness_correlation, "o-", color=LIGHT.orange, linewidth=1.8)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(x, found.names, rotation=40, ha="right")
    axes.set_ylim(-1.02, 1.02)
    axes.set_ylabel("correlation with the segment's level (dB)", fontsize=FONT)
    axes.set_title(f"{drawable(found.task)}: correlation of excitations with loudness", fontsize=FONT, parse_math=False)
    axes.set_xlabel("dots: units; orange: mean of |r| over the block's units", fontsize=SMALL)
    tidy(axes)
    return figure


def draw_excitations_clusters(found: Excitations, block: int | str = -1) -> "Figure":
    """Classes clustered by their mean excitations in a block: the tree, and the pairwise correlation of classes.

    Raises:
        UsageError: fewer than two classes have segments, or there is no such block.
    """
    from scipy.cluster.hierarchy import dendrogram  # type: ignore[import-untyped]

    merges, present = found.linkage(block, MAX_CLASSES)
    one = found.block(block)
    tree = dendrogram(merges, no_plot=True)
    leaves = [present[index] for index in tree["leaves"]]
    centred = one.class_mean[leaves] - one.class_mean[leaves].mean(axis=0)
    centred = centred / np.where(one.std > 0, one.std, 1)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    correlation = (centred / np.where(norms > 0, norms, 1)) @ (centred / np.where(norms > 0, norms, 1)).T
    size = len(leaves)
    cell = min(max(0.2, 4.0 / size), 0.5)  # inches
    figure = new_figure(cell * size + 2.6, max(WIDTH, cell * size + 2.6))
    tops, axes = figure.subplots(2, 1, height_ratios=(1, max(cell * size / 1.3, 1.6)), sharex=True)
    for x, y in zip(tree["icoord"], tree["dcoord"], strict=True):
        tops.plot((np.array(x) - 5) / 10, y, color="black", linewidth=1.1)
    tops.set_yticks([])
    tops.spines[:].set_visible(False)
    tops.tick_params(length=0, labelbottom=False)
    image = axes.imshow(correlation, cmap=diverging(), vmin=-1, vmax=1, aspect="auto")
    names = [shorten(found.classes[number], 24) for number in leaves]
    axes.set_xticks(range(size), names, rotation=90, fontsize=SMALL, parse_math=False)
    axes.set_yticks(range(size), names, fontsize=SMALL, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("correlation of their mean excitations", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(
        _title(found, f"classes by their mean excitations in {one.name}", leaves), fontsize=FONT, parse_math=False
    )
    return figure


def _panels(found: Excitations, height: float) -> tuple["Figure", "list[Axes]"]:
    """One panel per block, COLUMNS per row."""
    rows = math.ceil(len(found.blocks) / COLUMNS)
    figure = new_figure(rows * height + 1.2, WIDTH)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel().tolist()
    for unused in grid[len(found.blocks) :]:
        unused.set_visible(False)
    return figure, grid[: len(found.blocks)]


def _boxes(axes: "Axes", values: list[np.ndarray]) -> None:
    """In the background, for each block: the middle half of its units as a box, the middle 90 % as a line."""
    for x, column in enumerate(values):
        known = column[~np.isnan(column)]
        if len(known):
            low, quarter, three, high = np.percentile(known, (5, 25, 75, 95))
            axes.plot([x, x], [low, high], color=LIGHT.rule, linewidth=1.0, zorder=1)
            axes.bar(x, three - quarter, bottom=quarter, width=0.42, color=LIGHT.grid, zorder=1)


def shown_classes(found: Excitations) -> list[int]:
    """Indices of the classes shown, at most MAX_CLASSES, similar ones adjacent."""
    from scipy.cluster.hierarchy import leaves_list  # type: ignore[import-untyped]

    present = found.present(MAX_CLASSES)
    if len(present) < 3:
        return present
    merges, present = found.linkage(-1, MAX_CLASSES)
    return [present[index] for index in leaves_list(merges)]


def _title(found: Excitations, text: str, classes: list[int]) -> str:
    present = np.count_nonzero(found.counts)
    part = f"\n{len(classes):,} of {present:,} classes: those with the most segments" if len(classes) < present else ""
    return f"{drawable(found.task)}: {text}{part}"


def _panel_height(classes: int) -> float:
    """Height in inches for a name in each row, within limits."""
    return max(1.3, min(0.135 * classes + 0.35, 7.0))


def _class_rows(axes: "Axes", found: Excitations, classes: list[int], panel: int, title: str) -> None:
    named = panel % COLUMNS == 0 and len(classes) <= 52
    names = [shorten(found.classes[number], 18) for number in classes] if named else []
    axes.set_yticks(range(len(classes)) if named else [], names, fontsize=TINY, parse_math=False)
    axes.set_title(title, fontsize=SMALL, parse_math=False)
    axes.tick_params(axis="x", labelsize=SMALL)
    axes.tick_params(axis="y", length=0, pad=1)
    axes.spines[:].set_visible(False)


def _bar_below(figure: "Figure", panels: "list[Axes]", image: Any, label: str, extend: str = "neither") -> None:
    bar = figure.colorbar(image, ax=panels, orientation="horizontal", fraction=0.03, pad=0.02, aspect=40, extend=extend)
    bar.set_label(label, fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
