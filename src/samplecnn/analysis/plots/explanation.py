"""The picture of an explanation: waveform, spectrogram, and the attributions of every tag, on one time axis."""

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

    Top to bottom: every tag's score over the whole recording (where there are several windows), the waveform, the
    spectrogram; then for every tag a curve of each moment's attribution (integrated gradients, filled) and of the
    logit's loss without the moment (line), a map of the attributions over time and frequency, and to its right the
    logit's loss without each band. Windows that follow each other are drawn as one stretch; a gap in time is a gap in
    the picture.
    """
    stretches = _stretches(explanation.windows)
    several = len(explanation.heard.starts) > 1
    heights = [0.7] * several + [0.6, 1.3] + [0.8, 1.2] * len(explanation.tags)
    widths = [sum(window.seconds for window in stretch) for stretch in stretches]
    widths = [max(width, 0.1 * sum(widths)) for width in widths]
    figure = new_figure(sum(heights) * 0.95 + 1.2, 9.5, theme, layout=None)
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03, hspace=0, wspace=0.02)
    grid = figure.add_gridspec(
        len(heights), len(stretches) + 1, height_ratios=heights, width_ratios=[*widths, 0.16 * sum(widths)]
    )
    first = 1 if several else 0
    if several:
        _overview(_axes(figure, grid[0, :-1], theme), explanation, theme)
    scale = _Scale.of(explanation)
    for column, stretch in enumerate(stretches):
        cells = [grid[row, column] for row in range(first, len(heights))]
        _stretch(figure, cells, explanation, stretch, scale, column == 0, theme)
    _legend(_axes(figure, grid[first : first + 2, -1], theme), theme)
    for place in range(len(explanation.tags)):
        bars = _axes(figure, grid[first + 3 + 2 * place, -1], theme)
        _bands(bars, explanation, place, place == len(explanation.tags) - 1, theme)
    figure.suptitle(_title(explanation), fontsize=11, color=theme.ink, parse_math=False)
    return figure


@dataclass(frozen=True)
class _Scale:
    """Largest values of all windows, for axes that all stretches share."""

    curve: np.ndarray  # logits of a moment [tags]
    part: np.ndarray  # logits of a band of a moment [tags]
    wave: float

    @classmethod
    def of(cls, explanation: Explanation) -> "_Scale":
        windows = explanation.windows
        curves = [np.maximum(np.abs(w.moment_loss), np.abs(_smooth(w.by_moment))).max(axis=1) for w in windows]
        parts = [np.abs(_smooth(w.by_part)).max(axis=(1, 2)) for w in windows]
        loudest = max(float(np.abs(w.wave).max()) for w in windows)
        return cls(np.max(curves, axis=0), np.max(parts, axis=0), max(loudest, 1e-3))


def _stretch(
    figure: "Figure",
    cells: list[Any],
    explanation: Explanation,
    stretch: list[ExplainedWindow],
    scale: _Scale,
    leftmost: bool,
    theme: Theme,
) -> None:
    """The rows of one stretch of time, top to bottom."""
    all_axes = [_axes(figure, cell, theme) for cell in cells]
    start, end = stretch[0].start, stretch[-1].end
    for axes in all_axes:
        axes.set_xlim(start, end)
        axes.tick_params(labelbottom=axes is all_axes[-1], labelleft=leftmost)
        for window in stretch[1:]:
            axes.axvline(window.start, color=theme.rule, lw=0.8, ls=(0, (3, 3)), zorder=1)
    waveform, spectrogram, *tags = all_axes
    for window, until in zip(stretch, [*(w.start for w in stretch[1:]), end], strict=True):
        low, high, times = _envelope(window)
        waveform.fill_between(times, low, high, color=theme.muted, lw=0.4)
        _spectrogram(spectrogram, window, theme)
        for place in range(len(explanation.tags)):
            _curve(tags[2 * place], window, until, place, theme)
            _map(tags[2 * place + 1], window, until, place, scale.part[place], theme)
            if window is explanation.clearest(place):
                _ranges(tags[2 * place], tags[2 * place + 1], window, until, place, theme)
    waveform.set_ylim(-1.05 * scale.wave, 1.05 * scale.wave)
    waveform.set_yticks([])
    _mel_axis(spectrogram, explanation)
    for place in range(len(explanation.tags)):
        curve, chart = tags[2 * place], tags[2 * place + 1]
        most = max(scale.curve[place], 1e-3)
        curve.set_ylim(-1.1 * most, 1.1 * most)
        curve.axhline(0, color=theme.rule, lw=0.8, zorder=1)
        _mel_axis(chart, explanation)
        if leftmost:
            text = drawable(explanation.sentence(place))
            title = curve.set_title(text, loc="left", fontsize=SMALL, color=theme.ink, parse_math=False, pad=4)
            title.set_in_layout(False)  # it may extend over the next stretch
            curve.set_ylabel("logit", fontsize=SMALL - 1)
            chart.set_ylabel("Hz", fontsize=SMALL - 1)
    if leftmost:
        spectrogram.set_ylabel("Hz", fontsize=SMALL - 1)
        all_axes[-1].set_xlabel("seconds", fontsize=SMALL - 1)


def _overview(axes: Any, explanation: Explanation, theme: Theme) -> None:
    """Every tag's score in every window of the recording; the explained windows are shaded."""
    heard = explanation.heard
    ends = np.append(heard.starts, heard.samples) / explanation.task.sample_rate
    for place, tag in enumerate(explanation.tags):
        values = heard.over_time[:, tag]
        style = ("-", (0, (4, 2)), (0, (1, 1)))[place % 3]
        axes.stairs(values, ends, color=theme.blue, alpha=1 - 0.2 * (place % 4), ls=style, lw=1.3, baseline=None)
    for window in explanation.windows:
        axes.axvspan(window.start, window.end, color=theme.blue, alpha=0.12, lw=0)
    axes.set(xlim=(0, max(heard.seconds, 1e-3)), ylim=(0, 1.03))
    axes.set_ylabel("score", fontsize=SMALL - 1)
    lines = axes.patches[: len(explanation.tags)]
    legend = axes.legend(
        lines, [shorten(name, 24) for name in explanation.names], fontsize=TINY, frameon=False, loc="center left",
        bbox_to_anchor=(1, 0.5),
        labelcolor=theme.ink,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    legend.set_in_layout(False)  # it lies over the column of the bands


def _curve(axes: Any, window: ExplainedWindow, until: float, place: int, theme: Theme) -> None:
    # Drawn finer than the moments, so that the fill changes colour where the curve crosses zero.
    times = np.linspace(window.times[0], window.times[-1], 8 * len(window.times))
    values = np.interp(times, window.times, _smooth(window.by_moment[place]))
    shown = times <= until
    times, values = times[shown], values[shown]
    axes.fill_between(times, 0, np.clip(values, 0, None), color=theme.blue, alpha=0.55, lw=0)
    axes.fill_between(times, 0, np.clip(values, None, 0), color=theme.orange, alpha=0.55, lw=0)
    shown = window.times <= until
    axes.plot(window.times[shown], window.moment_loss[place][shown], color=theme.ink, lw=1.1)


def _map(axes: Any, window: ExplainedWindow, until: float, place: int, most: float, theme: Theme) -> None:
    values = _smooth(window.by_part[place])
    image = axes.imshow(
        values, aspect="auto", origin="lower", cmap=diverging(theme), vmin=-most or -1, vmax=most or 1,
        interpolation="bilinear", extent=(window.start, window.end, 0, mel(window.rate / 2)),
    )  # fmt: skip
    image.set_clip_path(_upto(axes, window.start, until, window.rate))


def _ranges(curve: Any, chart: Any, window: ExplainedWindow, until: float, place: int, theme: Theme) -> None:
    """The time and the frequencies that the sentence names."""
    moment, band = window.moment_range[place], window.band_range[place]
    if moment is not None:
        curve.axvspan(moment.low, min(moment.high, until), color=theme.blue, alpha=0.12, lw=0, zorder=0)
    if band is not None:
        at, length = (window.start, window.end), window.rate / 2
        for edge in (band.low, band.high):
            if 0 < edge < length:
                chart.plot(at, [mel(edge)] * 2, color=theme.blue, lw=0.8, ls=(0, (3, 2)))


def _bands(axes: Any, explanation: Explanation, place: int, last: bool, theme: Theme) -> None:
    """The logit's loss without each band, in the tag's clearest window."""
    losses = explanation.clearest(place).band_loss[place]
    edges = mel(explanation.edges)
    colours = [theme.blue if value > 0 else theme.orange for value in losses]
    middle, height = (edges[1:] + edges[:-1]) / 2, np.diff(edges) * 0.8
    axes.barh(middle, losses, height, color=colours, alpha=0.8)
    axes.axvline(0, color=theme.rule, lw=0.8)
    _mel_axis(axes, explanation)
    axes.tick_params(labelleft=False, labelsize=TINY)
    most = max(float(np.abs(losses).max()), 1e-3) * 1.1
    axes.set_xlim(min(-0.35 * most, float(losses.min()) * 1.1), most)
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
    """Smooths the last axis by a Gaussian SMOOTHING moments wide; normalised at the ends, so that sums are kept."""
    count = values.shape[-1]
    steps = np.arange(count)
    kernel = np.exp(-4 * np.log(2) * ((steps[:, None] - steps) / SMOOTHING) ** 2)
    return values @ (kernel / kernel.sum(axis=1, keepdims=True))


def _envelope(window: ExplainedWindow, most: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minimum and maximum of short pieces of the waveform, and their times in seconds."""
    piece = max(len(window.wave) // most, 1)
    cut = window.wave[: len(window.wave) // piece * piece].reshape(-1, piece)
    times = window.start + (np.arange(len(cut)) + 0.5) * piece / window.rate
    return cut.min(axis=1), cut.max(axis=1), times


def _stretches(windows: tuple[ExplainedWindow, ...]) -> list[list[ExplainedWindow]]:
    """Groups of windows that follow each other without a gap."""
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
    """The key to the colours, in the empty corner to the right of waveform and spectrogram."""
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
