"""Plots an explanation: waveform, spectrogram, and the attributions of each tag, on one time axis."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.explained_window import ExplainedWindow
from samplecnn.analysis.explanation import Explanation
from samplecnn.mel import mel, mel_spectrogram
from samplecnn.system.plotting import LIGHT, SMALL, TINY, Theme, diverging, drawable, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DYNAMIC_RANGE = 70.0  # dB shown in the spectrogram
TICKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz
SMOOTHING = 3.0  # moments: full width at half maximum of the filter that smooths the gradients


def draw_explanation(explanation: Explanation, theme: Theme = LIGHT) -> "Figure":
    """One picture of all explained windows and all tags.

    Top to bottom: each tag's score over the whole recording (if there are several windows), the waveform, the
    spectrogram; then for each tag the attribution of each moment (integrated gradients, filled) and the decrease of the
    logit without the moment (line), a map of the attributions over time and frequency, and to its right the decrease of
    the logit without each band. Consecutive windows are drawn as one span; a gap in time is a gap in the picture.
    """
    spans = _spans(explanation.windows)
    several = len(explanation.recording_tags.starts) > 1
    heights = [0.7] * several + [0.6, 1.3] + [0.8, 1.2] * len(explanation.tags)
    widths = [sum(window.seconds for window in span) for span in spans]
    widths = [max(width, 0.1 * sum(widths)) for width in widths]
    figure = new_figure(sum(heights) * 0.95 + 1.2, 9.5, theme, layout=None)
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03, hspace=0, wspace=0.02)
    grid = figure.add_gridspec(
        len(heights), len(spans) + 1, height_ratios=heights, width_ratios=[*widths, 0.16 * sum(widths)]
    )
    first = 1 if several else 0
    if several:
        _overview(_axes(figure, grid[0, :-1], theme), explanation, theme)
    scale = _Scale.of(explanation)
    for column, span in enumerate(spans):
        cells = [grid[row, column] for row in range(first, len(heights))]
        _span(figure, cells, explanation, span, scale, column == 0, theme)
    _legend(_axes(figure, grid[first : first + 2, -1], theme), theme)
    for index in range(len(explanation.tags)):
        bars = _axes(figure, grid[first + 3 + 2 * index, -1], theme)
        _bands(bars, explanation, index, index == len(explanation.tags) - 1, theme)
    figure.suptitle(_title(explanation), fontsize=11, color=theme.ink, parse_math=False)
    return figure


@dataclass(frozen=True)
class _Scale:
    """Largest values of all windows, for axes that all spans share."""

    curve: np.ndarray  # logits of a moment [tags]
    part: np.ndarray  # logits of a band of a moment [tags]
    wave: float

    @classmethod
    def of(cls, explanation: Explanation) -> "_Scale":
        windows = explanation.windows
        curves = [np.maximum(np.abs(w.moment_loss), np.abs(_smooth(w.by_moment))).max(axis=1) for w in windows]
        parts = [np.abs(_smooth(w.by_part)).max(axis=(1, 2)) for w in windows]
        peak = max(float(np.abs(w.wave).max()) for w in windows)
        return cls(np.max(curves, axis=0), np.max(parts, axis=0), max(peak, 1e-3))


def _span(
    figure: "Figure",
    cells: list[Any],
    explanation: Explanation,
    span: list[ExplainedWindow],
    scale: _Scale,
    leftmost: bool,
    theme: Theme,
) -> None:
    """The rows of one span of time, top to bottom."""
    all_axes = [_axes(figure, cell, theme) for cell in cells]
    start, end = span[0].start, span[-1].end
    for axes in all_axes:
        axes.set_xlim(start, end)
        axes.tick_params(labelbottom=axes is all_axes[-1], labelleft=leftmost)
        for window in span[1:]:
            axes.axvline(window.start, color=theme.rule, lw=0.8, ls=(0, (3, 3)), zorder=1)
    waveform, spectrogram, *tags = all_axes
    for window, until in zip(span, [*(w.start for w in span[1:]), end], strict=True):
        low, high, times = _envelope(window)
        waveform.fill_between(times, low, high, color=theme.muted, lw=0.4)
        _spectrogram(spectrogram, window, theme)
        for index in range(len(explanation.tags)):
            _curve(tags[2 * index], window, until, index, theme)
            _map(tags[2 * index + 1], window, until, index, scale.part[index], theme)
            if window is explanation.clearest(index):
                _ranges(tags[2 * index], tags[2 * index + 1], window, until, index, theme)
    waveform.set_ylim(-1.05 * scale.wave, 1.05 * scale.wave)
    waveform.set_yticks([])
    _mel_axis(spectrogram, explanation)
    for index in range(len(explanation.tags)):
        curve, chart = tags[2 * index], tags[2 * index + 1]
        limit = max(scale.curve[index], 1e-3)
        curve.set_ylim(-1.1 * limit, 1.1 * limit)
        curve.axhline(0, color=theme.rule, lw=0.8, zorder=1)
        _mel_axis(chart, explanation)
        if leftmost:
            text = drawable(explanation.sentence(index))
            title = curve.set_title(text, loc="left", fontsize=SMALL, color=theme.ink, parse_math=False, pad=4)
            title.set_in_layout(False)  # it may extend over the next span
            curve.set_ylabel("logit", fontsize=SMALL - 1)
            chart.set_ylabel("Hz", fontsize=SMALL - 1)
    if leftmost:
        spectrogram.set_ylabel("Hz", fontsize=SMALL - 1)
        all_axes[-1].set_xlabel("seconds", fontsize=SMALL - 1)


def _overview(axes: Any, explanation: Explanation, theme: Theme) -> None:
    """Each tag's score in each window of the recording; the explained windows are shaded."""
    recording = explanation.recording_tags
    ends = np.append(recording.starts, recording.samples) / explanation.task.sample_rate
    for index, tag in enumerate(explanation.tags):
        values = recording.over_time[:, tag]
        style = ("-", (0, (4, 2)), (0, (1, 1)))[index % 3]
        axes.stairs(values, ends, color=theme.blue, alpha=1 - 0.2 * (index % 4), ls=style, lw=1.3, baseline=None)
    for window in explanation.windows:
        axes.axvspan(window.start, window.end, color=theme.blue, alpha=0.12, lw=0)
    axes.set(xlim=(0, max(recording.seconds, 1e-3)), ylim=(0, 1.03))
    axes.set_ylabel("score", fontsize=SMALL - 1)
    lines = axes.patches[: len(explanation.tags)]
    legend = axes.legend(
        lines, [shorten(name, 24) for name in explanation.names], fontsize=TINY, frameon=False, loc="center left",
        bbox_to_anchor=(1, 0.5),
        labelcolor=theme.ink,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    legend.set_in_layout(False)  # it overlaps the column of the bands


def _curve(axes: Any, window: ExplainedWindow, until: float, index: int, theme: Theme) -> None:
    # Interpolated between the moments, so that the fill changes colour where the curve crosses zero.
    times = np.linspace(window.times[0], window.times[-1], 8 * len(window.times))
    values = np.interp(times, window.times, _smooth(window.by_moment[index]))
    shown = times <= until
    times, values = times[shown], values[shown]
    axes.fill_between(times, 0, np.clip(values, 0, None), color=theme.blue, alpha=0.55, lw=0)
    axes.fill_between(times, 0, np.clip(values, None, 0), color=theme.orange, alpha=0.55, lw=0)
    shown = window.times <= until
    axes.plot(window.times[shown], window.moment_loss[index][shown], color=theme.ink, lw=1.1)


def _map(axes: Any, window: ExplainedWindow, until: float, index: int, limit: float, theme: Theme) -> None:
    values = _smooth(window.by_part[index])
    image = axes.imshow(
        values, aspect="auto", origin="lower", cmap=diverging(theme), vmin=-limit or -1, vmax=limit or 1,
        interpolation="bilinear", extent=(window.start, window.end, 0, mel(window.rate / 2)),
    )  # fmt: skip
    image.set_clip_path(_upto(axes, window.start, until, window.rate))


def _ranges(curve: Any, chart: Any, window: ExplainedWindow, until: float, index: int, theme: Theme) -> None:
    """Marks the ranges of time and frequency named in the sentence."""
    moment, band = window.moment_range[index], window.band_range[index]
    if moment is not None:
        curve.axvspan(moment.low, min(moment.high, until), color=theme.blue, alpha=0.12, lw=0, zorder=0)
    if band is not None:
        at, length = (window.start, window.end), window.rate / 2
        for edge in (band.low, band.high):
            if 0 < edge < length:
                chart.plot(at, [mel(edge)] * 2, color=theme.blue, lw=0.8, ls=(0, (3, 2)))


def _bands(axes: Any, explanation: Explanation, index: int, last: bool, theme: Theme) -> None:
    """The decrease of the logit without each band, in the tag's clearest window."""
    losses = explanation.clearest(index).band_loss[index]
    edges = mel(explanation.edges)
    colours = [theme.blue if value > 0 else theme.orange for value in losses]
    middle, height = (edges[1:] + edges[:-1]) / 2, np.diff(edges) * 0.8
    axes.barh(middle, losses, height, color=colours, alpha=0.8)
    axes.axvline(0, color=theme.rule, lw=0.8)
    _mel_axis(axes, explanation)
    axes.tick_params(labelleft=False, labelsize=TINY)
    limit = max(float(np.abs(losses).max()), 1e-3) * 1.1
    axes.set_xlim(min(-0.35 * limit, float(losses.min()) * 1.1), limit)
    axes.locator_params(axis="x", nbins=3)
    if last:
        axes.set_xlabel("loss without\nthe band", fontsize=SMALL - 1)


def _spectrogram(axes: Any, window: ExplainedWindow, theme: Theme) -> None:
    decibels = mel_spectrogram(window.wave, window.rate)
    top = float(decibels.max())
    axes.imshow(
        decibels, aspect="auto", origin="lower", cmap=theme.grays, vmin=top - DYNAMIC_RANGE, vmax=top,
        extent=(window.start, window.end, 0, mel(window.rate / 2)),
    )  # fmt: skip


def _smooth(values: np.ndarray) -> np.ndarray:
    """Smooths the last axis by a Gaussian SMOOTHING moments wide; normalised at the ends, which preserves sums."""
    count = values.shape[-1]
    steps = np.arange(count)
    kernel = np.exp(-4 * np.log(2) * ((steps[:, None] - steps) / SMOOTHING) ** 2)
    return values @ (kernel / kernel.sum(axis=1, keepdims=True))


def _envelope(window: ExplainedWindow, max_points: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimum and maximum of short blocks of the waveform, and their times in seconds."""
    block = max(len(window.wave) // max_points, 1)
    cut = window.wave[: len(window.wave) // block * block].reshape(-1, block)
    times = window.start + (np.arange(len(cut)) + 0.5) * block / window.rate
    return cut.min(axis=1), cut.max(axis=1), times


def _spans(windows: tuple[ExplainedWindow, ...]) -> list[list[ExplainedWindow]]:
    """Groups of consecutive windows without gaps."""
    groups: list[list[ExplainedWindow]] = []
    for window in windows:
        if groups and window.start <= groups[-1][-1].end + 0.5 / window.rate:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups


def _axes(figure: "Figure", cell: Any, theme: Theme) -> Any:
    axes = figure.add_subplot(cell, facecolor=theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=TINY, length=2)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.rule)
    return axes


def _mel_axis(axes: Any, explanation: Explanation) -> None:
    top = explanation.task.sample_rate / 2
    shown = [tick for tick in TICKS[1::2] if tick < top]
    axes.set_ylim(0, mel(top))
    axes.set_yticks(
        mel(np.array(shown, dtype=float)), [f"{tick / 1000:g}k" if tick >= 1000 else f"{tick}" for tick in shown]
    )


def _legend(axes: Any, theme: Theme) -> None:
    """The legend of the colours, in the empty corner to the right of waveform and spectrogram."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.set_axis_off()
    handles = [
        Patch(color=theme.blue, alpha=0.6, label="raises the score"),
        Patch(color=theme.orange, alpha=0.6, label="lowers it"),
        Line2D([], [], color=theme.ink, lw=1.1, label="loss without\nthe moment"),
    ]
    legend = axes.legend(
        handles=handles, fontsize=TINY, frameon=False, loc="center left", borderaxespad=0, handlelength=1.2,
        handletextpad=0.5, labelcolor=theme.ink,
    )  # fmt: skip
    legend.set_in_layout(False)


def _upto(axes: Any, start: float, end: float, rate: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((start, 0), end - start, float(mel(rate / 2)), transform=axes.transData)


def _title(explanation: Explanation) -> str:
    name = PurePath(explanation.name).name
    return f"{shorten(name, 70)}: what its tags depend on"
