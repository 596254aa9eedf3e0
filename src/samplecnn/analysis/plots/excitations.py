"""Excitations as pictures: by unit and class, their distribution, their spread by depth, loudness, and clusters."""

import math
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.excitation import BINS, Excitations
from samplecnn.analysis.plots.style import BLUE, COLOURS, FONT, GREY, HEAT, ORANGE, SMALL, WIDTH, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 5  # classes with a colour of their own
COLUMNS = 2


def draw_excitations_units(found: Excitations) -> "Figure":
    """The mean excitation of every unit for every class, a panel for each block, units by their mean over all.

    The few classes that differ most from the others in the last block have a colour; the rest are grey.
    """
    present = np.flatnonzero(found.counts)
    last = found.blocks[-1].class_mean[present]
    far = np.linalg.norm(last - last.mean(axis=0), axis=1)
    chosen = present[np.argsort(-far, kind="stable")[:SHOWN]]
    figure, panels = _panels(found, 2.0)
    for axes, block in zip(panels, found.blocks, strict=True):
        order = np.argsort(block.mean, kind="stable")
        places = np.arange(block.units)
        for number in present:
            if number not in chosen:
                axes.plot(places, block.class_mean[number, order], color="#c3c9cf", linewidth=0.5)
        for number, colour in zip(chosen, COLOURS, strict=False):
            axes.plot(places, block.class_mean[number, order], color=colour, linewidth=1.0)
        axes.set(xlim=(0, max(block.units - 1, 1)), ylim=(0, 1))
        axes.set_title(f"{block.name}: {block.units} units", fontsize=SMALL)
        tidy(axes)
    lines = [_line(colour, found.classes[number]) for number, colour in zip(chosen, COLOURS, strict=False)]
    lines += [_line("#c3c9cf", "other classes")] if len(present) > len(chosen) else []
    figure.legend(handles=lines, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    figure.supxlabel("units of the block, by their mean excitation", fontsize=FONT)
    figure.supylabel("mean excitation of a class", fontsize=FONT)
    figure.suptitle(f"{found.task}: how every class excites the units of every block", fontsize=FONT)
    return figure


def draw_excitations_distribution(found: Excitations) -> "Figure":
    """How often a factor of each size occurs, for every class (a row) and block (a panel)."""
    present = np.flatnonzero(found.counts)
    figure, panels = _panels(found, max(1.6, min(0.16 * len(present) + 0.7, 7)))
    image = None
    shares = [
        block.histogram[present] / np.maximum(block.histogram[present].sum(axis=1, keepdims=True), 1)
        for block in found.blocks
    ]
    largest = max(float(share.max()) for share in shares)
    from matplotlib.colors import PowerNorm

    for place, (axes, block, share) in enumerate(zip(panels, found.blocks, shares, strict=True)):
        image = axes.imshow(
            100 * share,
            cmap=HEAT,
            norm=PowerNorm(0.5, 0, 100 * largest),
            aspect="auto",
            extent=(0, 1, len(present) - 0.5, -0.5),
            interpolation="nearest",
        )
        named = place % COLUMNS == 0 and len(present) <= 45
        names = [found.classes[number][:16] for number in present] if named else []
        axes.set_yticks(range(len(present)) if named else [], names, fontsize=min(SMALL, 7.5), parse_math=False)
        axes.set_title(f"{block.name}: {block.units} units", fontsize=SMALL)
        axes.tick_params(axis="x", labelsize=SMALL)
        axes.spines[:].set_visible(False)
    assert image is not None
    bar = figure.colorbar(image, ax=panels, orientation="horizontal", fraction=0.03, pad=0.02, aspect=40)
    bar.set_label(f"per cent of a class's factors, in steps of {1 / BINS:g}", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.supxlabel("excitation", fontsize=FONT)
    figure.suptitle(f"{found.task}: how excitations are distributed, by class and block", fontsize=FONT)
    return figure


def draw_excitations_spread(found: Excitations) -> "Figure":
    """By depth: how far the classes' means lie apart, and how much of a unit's variance that makes."""
    figure = new_figure(6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    places = np.arange(len(found.blocks))
    _boxes(upper, [block.class_std for block in found.blocks])
    upper.plot(places, found.spread, "o-", color=BLUE, linewidth=1.8, label="mean of the units")
    upper.set_ylabel("standard deviation\nof the classes' means", fontsize=FONT)
    upper.set_ylim(bottom=0)
    upper.set_title(f"{found.task}: do excitations tell the classes apart?", fontsize=FONT)
    upper.legend(fontsize=SMALL, frameon=False, loc="upper left")
    _boxes(lower, [100 * block.between for block in found.blocks])
    lower.plot(places, 100 * found.between, "o-", color=BLUE, linewidth=1.8)
    lower.axhline(100 * found.chance, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)))
    lower.annotate(
        "by chance", (places[-1], 100 * found.chance), (0, 3), textcoords="offset points", ha="right", color=ORANGE,
        fontsize=SMALL,
    )  # fmt: skip
    lower.set_ylabel("variance between classes,\nper cent of all", fontsize=FONT)
    lower.set_ylim(bottom=0)
    lower.set_xticks(places, found.names, rotation=40, ha="right")
    lower.set_xlabel("from the waveform to the classes; boxes: half of the block's units, lines: 90 %", fontsize=SMALL)
    tidy(upper)
    tidy(lower)
    return figure


def draw_excitations_loudness(found: Excitations) -> "Figure":
    """The correlation of every unit with the segments' level, a column of dots for each block."""
    figure = new_figure(5.0)
    axes = figure.subplots()
    places = np.arange(len(found.blocks))
    for place, block in enumerate(found.blocks):
        known = np.sort(block.loudness_correlation[~np.isnan(block.loudness_correlation)])
        across = place + 0.34 * np.cos(np.pi * (np.arange(len(known)) * 0.618034 % 1))  # spread evenly, not at random
        axes.plot(across, known, ".", color=GREY, markersize=2.5, alpha=0.75, markeredgewidth=0)
    axes.plot(places, found.loudness_correlation, "o-", color=BLUE, linewidth=1.8, label="mean size |r|")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(places, found.names, rotation=40, ha="right")
    axes.set_ylim(-1.02, 1.02)
    axes.set_ylabel("correlation with the segment's level (dB)", fontsize=FONT)
    axes.set_title(f"{found.task}: do excitations follow loudness?  a dot is a unit", fontsize=FONT)
    axes.legend(fontsize=SMALL, frameon=False, loc="lower right")
    tidy(axes)
    return figure


def draw_excitations_clusters(found: Excitations, block: int | str = -1) -> "Figure":
    """Classes clustered by their mean excitations in a block: the tree, and how alike each two are.

    Raises:
        UsageError: fewer than two classes have segments, or there is no such block.
    """
    from scipy.cluster.hierarchy import dendrogram  # type: ignore[import-untyped]

    merges, present = found.linkage(block)
    one = found.block(block)
    tree = dendrogram(merges, no_plot=True)
    leaves = [present[index] for index in tree["leaves"]]
    centred = one.class_mean[leaves] - one.class_mean[leaves].mean(axis=0)
    centred = centred / np.where(one.std > 0, one.std, 1)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    alike = (centred / np.where(norms > 0, norms, 1)) @ (centred / np.where(norms > 0, norms, 1)).T
    size = len(leaves)
    cell = min(max(0.24, 4.0 / size), 0.5)
    figure = new_figure(cell * size + 2.6, max(WIDTH, cell * size + 2.6))
    tops, axes = figure.subplots(2, 1, height_ratios=(1, max(cell * size / 1.3, 1.6)), sharex=True)
    for x, y in zip(tree["icoord"], tree["dcoord"], strict=True):
        tops.plot((np.array(x) - 5) / 10, y, color="black", linewidth=1.1)
    tops.set_yticks([])
    tops.spines[:].set_visible(False)
    tops.tick_params(length=0, labelbottom=False)
    image = axes.imshow(alike, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    names = [found.classes[number][:24] for number in leaves]
    font = SMALL if size <= 60 else max(72 * cell * 0.7, 3)
    axes.set_xticks(range(size), names, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(range(size), names, fontsize=font, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("correlation of their mean excitations", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(f"{found.task}: classes that excite {one.name} alike", fontsize=FONT)
    return figure


def _panels(found: Excitations, height: float) -> tuple["Figure", "list[Axes]"]:
    """A panel for every block, two side by side."""
    rows = math.ceil(len(found.blocks) / COLUMNS)
    figure = new_figure(rows * height + 1.2, WIDTH)
    grid = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).ravel().tolist()
    for unused in grid[len(found.blocks) :]:
        unused.set_visible(False)
    return figure, grid[: len(found.blocks)]


def _boxes(axes: "Axes", values: list[np.ndarray]) -> None:
    """Behind each block's mean: the middle half of its units, and the middle 90 %."""
    for place, column in enumerate(values):
        known = column[~np.isnan(column)]
        if len(known):
            low, quarter, three, high = np.percentile(known, (5, 25, 75, 95))
            axes.plot([place, place], [low, high], color=GREY, linewidth=1.0, zorder=1)
            axes.bar(place, three - quarter, bottom=quarter, width=0.42, color="#cfd8e3", zorder=1)


def _line(colour: str, name: str):  # type: ignore[no-untyped-def]
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=2, label=name.replace("$", r"\$"))
