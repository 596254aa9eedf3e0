"""Pictures of learned filters: the spectra of a layer, the first layer's weights, and the peaks of all layers."""

from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.filters import Filters
from samplecnn.errors import UsageError
from samplecnn.mel import hertz, mel
from samplecnn.system.plotting import FONT, LIGHT, SEQUENTIAL, SMALL, diverging, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGE_ROWS = 600  # height of an image in pixels
FLOOR = -25  # minimum of the colour scale, dB relative to the peak
PEAK_LINE = "#c00000"  # contrasts with every colour of the sequential map, on light and dark pages


def draw_filters(filters: Filters, layer: str) -> "Figure":
    """A layer's spectra side by side, ordered by peak frequency: top on a mel axis, bottom on a linear axis.

    Raises:
        UsageError: a layer that was not analysed.
    """
    if layer not in filters.names:
        raise UsageError(f"no filters of {layer!r}; there are {', '.join(filters.names)}")
    one = filters[layer]
    alive = one.order[: len(one) - one.dead]
    figure = new_figure(8.0)
    upper, lower = figure.subplots(2, 1)
    levels = _decibels(one.spectra[alive]) if len(alive) else np.full((1, len(filters.frequencies)), float(FLOOR))
    image = None
    for axes, scale in ((upper, "mel"), (lower, "linear")):
        image = _spectra(axes, levels, one.peak_hz[alive], filters, scale)
    lower.set_xlabel("filters, ordered by peak frequency", fontsize=FONT)
    assert image is not None
    bar = figure.colorbar(image, ax=[upper, lower], fraction=0.04, pad=0.02, aspect=40)
    bar.set_label("dB relative to each filter's peak", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    ms = 1000 * one.receptive_field / filters.sample_rate
    dead = f", {one.dead} dead ones omitted" if one.dead else ""
    figure.suptitle(
        f"{layer}: spectra of the inputs that excite its {len(one)} filters most{dead}\n"
        f"receptive field: {one.receptive_field:,} samples = {_milliseconds(ms)}",
        fontsize=FONT,
    )
    return figure


def draw_peaks(filters: Filters) -> "Figure":
    """Peak frequencies of every layer's filters in rising order, with lines for uniform spacing in mel and in Hz."""
    figure = new_figure(6.6)
    axes = figure.subplots()
    top = filters.frequencies[-1]
    along = np.linspace(0, 1, 200)
    dashed, dotted = (0, (5, 2)), (0, (1, 1.6))
    axes.plot(along, hertz(along * mel(top)), color=LIGHT.ink, linewidth=1.6, linestyle=dashed, label="uniform in mel")
    axes.plot(along, along * top, color=LIGHT.ink, linewidth=1.4, linestyle=dotted, label="uniform in Hz")
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0, 0.92, max(len(filters.layers), 2)))
    for layer, shade in zip(filters.layers, shades, strict=False):
        peaks = np.sort(layer.peak_hz[~np.isnan(layer.peak_hz)])
        if len(peaks):
            axes.plot((np.arange(len(peaks)) + 0.5) / len(peaks), peaks, color=shade, linewidth=2.0, label=layer.name)
    _frequency_axis(axes, top, "mel")
    axes.set(xlim=(0, 1))
    axes.set_xlabel("fraction of the layer's filters with a lower peak", fontsize=FONT)
    axes.set_title("Peak frequencies of the filters of every layer", fontsize=FONT)
    axes.legend(fontsize=SMALL, frameon=False, loc="upper center", bbox_to_anchor=(0.46, -0.12), ncols=3)
    tidy(axes, "both")
    return figure


def draw_first_layer(filters: Filters) -> "Figure":
    """The filters of the first convolution: weights, and the magnitude of their frequency responses."""
    taps, responses = filters.taps, filters.responses
    order = np.argsort(responses.argmax(axis=1), kind="stable")
    figure = new_figure(7.4)
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 2))
    largest = max(float(np.abs(taps).max()), 1e-12)
    grid = upper.pcolormesh(taps[order].T, cmap=diverging(), vmin=-largest, vmax=largest)
    samples = taps.shape[1]
    shown = range(0, samples, -(-samples // 9))
    upper.set_yticks([sample + 0.5 for sample in shown], [str(sample + 1) for sample in shown], fontsize=SMALL)
    upper.invert_yaxis()
    upper.set_ylabel("sample", fontsize=FONT)
    upper.set_title(f"weights of its {len(taps)} filters", fontsize=FONT)
    bar = figure.colorbar(grid, ax=upper, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=SMALL)
    levels = _decibels(responses[order] / np.maximum(responses[order].max(axis=1, keepdims=True), 1e-12))
    peaks = filters.frequencies[responses[order].argmax(axis=1)]
    image = _spectra(lower, levels, peaks, filters, "linear")
    lower.set_title("frequency responses", fontsize=FONT)
    lower.set_xlabel("filters, ordered by the frequency of their largest response", fontsize=FONT)
    bar = figure.colorbar(image, ax=lower, fraction=0.05, pad=0.02)
    bar.set_label("dB relative to each filter's peak", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(f"conv0: filters of {samples} samples", fontsize=FONT)
    upper.tick_params(labelsize=SMALL)
    return figure


def _milliseconds(ms: float) -> str:
    return f"{ms:.2g} ms" if ms < 10 else f"{ms:,.0f} ms"


def _decibels(magnitudes: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(magnitudes, 10 ** (FLOOR / 20)))


def _spectra(axes: "Axes", levels: np.ndarray, peaks: np.ndarray, filters: Filters, scale: str):  # type: ignore[no-untyped-def]
    """Draws levels in dB [filters, bins] as an image with rows of equal height on a "mel" or "linear" axis."""
    top = filters.frequencies[-1]
    rows = np.linspace(0, mel(top) if scale == "mel" else top, IMAGE_ROWS)
    at = hertz(rows) if scale == "mel" else rows
    picture = np.stack([np.interp(at, filters.frequencies, one) for one in levels], axis=1)
    extent = (0, levels.shape[0], 0, rows[-1])
    image = axes.imshow(
        picture,
        cmap=SEQUENTIAL,
        vmin=FLOOR,
        vmax=0,
        aspect="auto",
        origin="lower",
        extent=extent,
        interpolation="nearest",
    )
    ticks, labels = kilohertz_ticks(top, scale)
    axes.set_yticks(mel(ticks) if scale == "mel" else ticks, labels, fontsize=SMALL)
    x = np.arange(len(peaks)) + 0.5
    axes.plot(x, mel(peaks) if scale == "mel" else peaks, color=PEAK_LINE, linewidth=1.2)
    axes.set_ylabel(f"kHz ({scale} axis)", fontsize=FONT)
    axes.tick_params(labelsize=SMALL)
    axes.spines[:].set_visible(False)
    return image


def _frequency_axis(axes: "Axes", top: float, scale: str) -> None:
    if scale == "mel":
        axes.set_yscale("function", functions=(mel, hertz))
    ticks, labels = kilohertz_ticks(top, scale)
    axes.set_yticks(ticks, labels)
    axes.set_ylim(0, top)
    axes.set_ylabel(f"peak frequency, kHz ({scale} axis)", fontsize=FONT)


def kilohertz_ticks(top: float, scale: str) -> tuple[list[float], list[str]]:
    """Ticks in Hz of a "mel" or "linear" frequency axis up to `top` Hz, and their labels in kHz."""
    if scale == "mel":
        ticks = [f for f in (100, 300, 1000, 2000, 3000, 5000, 8000, 12000, 16000, 24000) if f <= top]
    else:
        step = next(s for s in (100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000) if top / s <= 6)
        ticks = list(np.arange(0, top + 1, step))
    return [float(f) for f in ticks], [f"{f / 1000:g}" for f in ticks]
