"""A drawing of the architecture: one bar per block, whose width shows the number of features."""

from typing import TYPE_CHECKING

from samplecnn.analysis.summary import LayerSummary, Summary
from samplecnn.models.config import MULTI_LEVELS
from samplecnn.system.plotting import AMBER, FONT, GREEN, LIGHT, PINK, SMALL, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour and label of every kind of layer.
KINDS = {
    "convolution": (LIGHT.blue, "convolution"),
    "log-mel": ("#7a5195", "log-mel frames"),
    "excitation": (AMBER, "excitation"),
    "sum": (LIGHT.rule, "sum"),
    "pool": (GREEN, "max-pooling"),
    "dense": (PINK, "dense"),
}
ROW = 0.52  # inches per block


def draw_summary(summary: Summary) -> "Figure":
    """Blocks from top to bottom; the width of a bar shows the number of features, its stripes the layers.

    To the right of each bar: time steps and features, receptive field and hop, and the share of the arithmetic.
    """
    from matplotlib.patches import Patch

    groups: dict[str, list[LayerSummary]] = {}
    for row in summary.layers:
        groups.setdefault(row.group, []).append(row)
    macs = max(summary.totals["macs"], 1)
    widest = max(row.features for row in summary.layers)
    figure = new_figure(ROW * (len(groups) + 2) + 1.9)
    axes = figure.subplots()
    seconds = summary.samples / summary.sample_rate
    _wave(axes, 0, f"{summary.samples:,} samples = {seconds:.3g} s at {summary.sample_rate:,} Hz")
    for y, (name, rows) in enumerate(groups.items(), start=1):
        last = rows[-1]
        width = max(last.features / widest, 0.06)
        stripe = width / len(rows)
        for index, row in enumerate(rows):
            axes.barh(
                y,
                stripe,
                left=-width / 2 + index * stripe,
                height=0.62,
                color=KINDS[row.kind][0],
                edgecolor="white",
            )
        share = sum(row.macs for row in rows) / macs
        shape = f"{summary.classes:,} classes" if name == "head" else f"{last.time:,} × {last.features:,}"
        field = ""
        if last.receptive_field is not None and last.hop is not None:
            field = f"{_length(summary, last.receptive_field)} / {_length(summary, last.hop)}"
        axes.text(-0.56, y, name, ha="right", va="center", fontsize=FONT)
        axes.text(0.56, y, shape, va="center", fontsize=SMALL)
        axes.text(1.07, y, field, va="center", fontsize=SMALL)
        axes.text(1.86, y, f"{100 * share:.2g} %", va="center", ha="right", fontsize=SMALL)
    heads = ((0.56, "steps × features", "left"), (1.07, "field / hop", "left"), (1.86, "MACs", "right"))
    for x, text, side in heads:
        axes.text(x, 0.45, text, ha=side, va="bottom", fontsize=SMALL, color=LIGHT.muted)
    if summary.architecture["multi"]:  # multi-level: the last blocks also feed the head directly
        for back in range(1, MULTI_LEVELS):
            axes.plot(
                [0.5, 0.53, 0.53, 0.5], [len(groups) - 1 - back] * 2 + [len(groups)] * 2, color=LIGHT.rule, linewidth=1
            )
    axes.set(xlim=(-0.88, 1.88), ylim=(len(groups) + 0.6, -0.75))
    axes.set_axis_off()
    present = {row.kind for row in summary.layers}
    patches = [Patch(color=colour, label=word) for kind, (colour, word) in KINDS.items() if kind in present]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=SMALL, frameon=False)
    totals = summary.totals
    what = summary.architecture["block"] + (", multi-level" if summary.architecture["multi"] else "")
    figure.suptitle(
        f"SampleCNN, {what}: {totals['trainable']:,} trainable weights,\n"
        f"{totals['macs_per_second'] / 1e6:,.0f} million multiply-adds per second of sound",
        fontsize=FONT,
    )
    return figure


def _wave(axes: "Axes", y: float, text: str) -> None:
    import numpy as np

    x = np.linspace(-0.5, 0.5, 400)
    axes.plot(
        x, y + 0.22 * np.sin(44 * x) * np.exp(-8 * (x + 0.15) ** 2) * np.cos(9 * x), color=LIGHT.rule, linewidth=1.2
    )
    axes.text(-0.56, y, "waveform", ha="right", va="center", fontsize=FONT)
    axes.text(0.56, y, text, va="center", fontsize=SMALL)


def _length(summary: Summary, samples: int) -> str:
    """A duration, such as 0.41 ms, 45 ms, 2.7 s."""
    ms = summary.milliseconds(samples)
    return f"{ms:.2g} ms" if ms < 100 else f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2g} s"
