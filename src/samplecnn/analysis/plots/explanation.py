"""The picture of an explanation: waveform, spectrogram, and under them what every tag rests on, on one time axis."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.explanation import ExplainedWindow, Explanation
from samplecnn.analysis.explanation_text import line
from samplecnn.analysis.mel import mel, mel_spectrogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE = 70.0  # dB that the spectrogram shows
TICKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz
SMOOTH = 3.0  # moments that the gradients' curve is smoothed over, full width at half height


@dataclass(frozen=True)
class Look:
    """Colours. `gain` is what speaks for a tag, `loss` what speaks against it."""

    paper: str = "#ffffff"
    ink: str = "#1d2430"
    faint: str = "#c9d0d9"
    wave: str = "#5a6675"
    gain: str = "#1763a6"
    loss: str = "#c4501b"
    spectrogram: str = "Greys"


LIGHT = Look()
DARK = Look("#14181e", "#e6eaf0", "#3b4552", "#9aa7b7", "#62b0f5", "#f08a4b", "Greys_r")


def draw_explanation(explanation: Explanation, look: Look = LIGHT) -> "Figure":
    """One picture with all windows taken apart and all tags.

    Top to bottom: every tag's score over the whole recording (where there are several windows), the waveform, the
    spectrogram; then for every tag a curve, what each moment gave to its logit (integrated gradients, filled) and what
    the logit loses without the moment (line), and a map of the same over time and frequency, with what the logit loses
    without each band beside it. Windows that follow each other are drawn as one stretch; a gap in time is a gap in the
    picture.
    """
    from matplotlib.figure import Figure

    stretches = _stretches(explanation.windows)
    several = len(explanation.heard.starts) > 1
    heights = [0.7] * several + [0.6, 1.3] + [0.8, 1.2] * len(explanation.tags)
    widths = [sum(window.seconds for window in stretch) for stretch in stretches]
    widths = [max(width, 0.1 * sum(widths)) for width in widths]
    figure = Figure(figsize=(9.5, sum(heights) * 0.95 + 1.2), facecolor=look.paper)
    figure.set_layout_engine("constrained", h_pad=0.03, w_pad=0.03, hspace=0, wspace=0.02)
    grid = figure.add_gridspec(
        len(heights), len(stretches) + 1, height_ratios=heights, width_ratios=[*widths, 0.16 * sum(widths)]
    )
    first = 1 if several else 0
    if several:
        _overview(_axes(figure, grid[0, :-1], look), explanation, look)
    scale = _Scale.of(explanation)
    for column, stretch in enumerate(stretches):
        cells = [grid[row, column] for row in range(first, len(heights))]
        _stretch(figure, cells, explanation, stretch, scale, column == 0, look)
    _legend(_axes(figure, grid[first : first + 2, -1], look), look)
    for place in range(len(explanation.tags)):
        beside = _axes(figure, grid[first + 3 + 2 * place, -1], look)
        _bands(beside, explanation, place, place == len(explanation.tags) - 1, look)
    figure.suptitle(_title(explanation), fontsize=11, color=look.ink, parse_math=False)
    return figure


@dataclass(frozen=True)
class _Scale:
    """Largest values of all windows, which the stretches share."""

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
    look: Look,
) -> None:
    """The rows of one stretch of time, top to bottom."""
    all_axes = [_axes(figure, cell, look) for cell in cells]
    start, end = stretch[0].start, stretch[-1].end
    for axes in all_axes:
        axes.set_xlim(start, end)
        axes.tick_params(labelbottom=axes is all_axes[-1], labelleft=leftmost)
        for window in stretch[1:]:
            axes.axvline(window.start, color=look.faint, lw=0.8, ls=(0, (3, 3)), zorder=1)
    waveform, spectrogram, *tags = all_axes
    for window, until in zip(stretch, [*(w.start for w in stretch[1:]), end], strict=True):
        low, high, times = _envelope(window)
        waveform.fill_between(times, low, high, color=look.wave, lw=0.4)
        _spectrogram(spectrogram, window, look)
        for place in range(len(explanation.tags)):
            _curve(tags[2 * place], window, until, place, look)
            _map(tags[2 * place + 1], window, until, place, scale.part[place], look)
            if window is explanation.clearest(place):
                _ranges(tags[2 * place], tags[2 * place + 1], window, until, place, look)
    waveform.set_ylim(-1.05 * scale.wave, 1.05 * scale.wave)
    waveform.set_yticks([])
    _mel_axis(spectrogram, explanation)
    for place in range(len(explanation.tags)):
        curve, chart = tags[2 * place], tags[2 * place + 1]
        most = max(scale.curve[place], 1e-3)
        curve.set_ylim(-1.1 * most, 1.1 * most)
        curve.axhline(0, color=look.faint, lw=0.8, zorder=1)
        _mel_axis(chart, explanation)
        if leftmost:
            text = line(explanation, place)
            title = curve.set_title(text, loc="left", fontsize=9, color=look.ink, parse_math=False, pad=4)
            title.set_in_layout(False)  # it may reach over the next stretch
            curve.set_ylabel("logit", fontsize=8)
            chart.set_ylabel("Hz", fontsize=8)
    if leftmost:
        spectrogram.set_ylabel("Hz", fontsize=8)
        all_axes[-1].set_xlabel("seconds", fontsize=8)


def _overview(axes: Any, explanation: Explanation, look: Look) -> None:
    """Every tag's score in every window of the recording; the windows taken apart are shaded."""
    heard = explanation.heard
    ends = np.append(heard.starts, heard.samples) / explanation.task.sample_rate
    for place, tag in enumerate(explanation.tags):
        values = heard.over_time[:, tag]
        style = ("-", (0, (4, 2)), (0, (1, 1)))[place % 3]
        axes.stairs(values, ends, color=look.gain, alpha=1 - 0.2 * (place % 4), ls=style, lw=1.3, baseline=None)
    for window in explanation.windows:
        axes.axvspan(window.start, window.end, color=look.gain, alpha=0.12, lw=0)
    axes.set(xlim=(0, max(heard.seconds, 1e-3)), ylim=(0, 1.03))
    axes.set_ylabel("score", fontsize=8)
    lines = axes.patches[: len(explanation.tags)]
    legend = axes.legend(
        lines, explanation.names, fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5),
        labelcolor=look.ink,
    )  # fmt: skip
    legend.set_in_layout(False)  # beside it is the column of the bands


def _curve(axes: Any, window: ExplainedWindow, until: float, place: int, look: Look) -> None:
    # The gradients' curve is drawn finer than the moments, so that the fill changes colour where it crosses zero.
    times = np.linspace(window.times[0], window.times[-1], 8 * len(window.times))
    values = np.interp(times, window.times, _smooth(window.by_moment[place]))
    shown = times <= until
    times, values = times[shown], values[shown]
    axes.fill_between(times, 0, np.clip(values, 0, None), color=look.gain, alpha=0.55, lw=0)
    axes.fill_between(times, 0, np.clip(values, None, 0), color=look.loss, alpha=0.55, lw=0)
    shown = window.times <= until
    axes.plot(window.times[shown], window.moment_loss[place][shown], color=look.ink, lw=1.1)


def _map(axes: Any, window: ExplainedWindow, until: float, place: int, most: float, look: Look) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("explain", [look.loss, look.paper, look.gain])
    values = _smooth(window.by_part[place])
    image = axes.imshow(
        values, aspect="auto", origin="lower", cmap=colours, vmin=-most or -1, vmax=most or 1, interpolation="bilinear",
        extent=(window.start, window.end, 0, mel(window.rate / 2)),
    )  # fmt: skip
    image.set_clip_path(_upto(axes, window.start, until, window.rate))


def _ranges(curve: Any, chart: Any, window: ExplainedWindow, until: float, place: int, look: Look) -> None:
    """The stretch of time and the frequencies that the words name."""
    moment, band = window.moment_range[place], window.band_range[place]
    if moment is not None:
        curve.axvspan(moment.low, min(moment.high, until), color=look.gain, alpha=0.12, lw=0, zorder=0)
    if band is not None:
        at, length = (window.start, window.end), window.rate / 2
        for edge in (band.low, band.high):
            if 0 < edge < length:
                chart.plot(at, [mel(edge)] * 2, color=look.gain, lw=0.8, ls=(0, (3, 2)))


def _bands(axes: Any, explanation: Explanation, place: int, last: bool, look: Look) -> None:
    """What the logit loses without each band, in the tag's clearest window."""
    losses = explanation.clearest(place).band_loss[place]
    edges = mel(explanation.edges)
    colours = [look.gain if value > 0 else look.loss for value in losses]
    middle, height = (edges[1:] + edges[:-1]) / 2, np.diff(edges) * 0.8
    axes.barh(middle, losses, height, color=colours, alpha=0.8)
    axes.axvline(0, color=look.faint, lw=0.8)
    _mel_axis(axes, explanation)
    axes.tick_params(labelleft=False, labelsize=7)
    most = max(float(np.abs(losses).max()), 1e-3) * 1.1
    axes.set_xlim(min(-0.35 * most, float(losses.min()) * 1.1), most)
    axes.locator_params(axis="x", nbins=3)
    if last:
        axes.set_xlabel("lost without\nthe band", fontsize=8)


def _spectrogram(axes: Any, window: ExplainedWindow, look: Look) -> None:
    decibels = mel_spectrogram(window.wave, window.rate)
    top = float(decibels.max())
    axes.imshow(
        decibels, aspect="auto", origin="lower", cmap=look.spectrogram, vmin=top - RANGE, vmax=top,
        extent=(window.start, window.end, 0, mel(window.rate / 2)),
    )  # fmt: skip


def _smooth(values: np.ndarray) -> np.ndarray:
    """Along the last axis by a Gaussian SMOOTH moments wide; what is at the ends stays inside, so the sum is kept."""
    count = values.shape[-1]
    steps = np.arange(count)
    kernel = np.exp(-4 * np.log(2) * ((steps[:, None] - steps) / SMOOTH) ** 2)
    return values @ (kernel / kernel.sum(axis=1, keepdims=True))


def _envelope(window: ExplainedWindow, most: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest sample of short pieces, and their times."""
    piece = max(len(window.wave) // most, 1)
    cut = window.wave[: len(window.wave) // piece * piece].reshape(-1, piece)
    times = window.start + (np.arange(len(cut)) + 0.5) * piece / window.rate
    return cut.min(axis=1), cut.max(axis=1), times


def _stretches(windows: tuple[ExplainedWindow, ...]) -> list[list[ExplainedWindow]]:
    """Windows that follow each other without a gap, together."""
    groups: list[list[ExplainedWindow]] = []
    for window in windows:
        if groups and window.start <= groups[-1][-1].end + 0.5 / window.rate:
            groups[-1].append(window)
        else:
            groups.append([window])
    return groups


def _axes(figure: "Figure", cell: Any, look: Look) -> Any:
    axes = figure.add_subplot(cell, facecolor=look.paper)
    axes.tick_params(colors=look.ink, labelsize=7, length=2)
    axes.xaxis.label.set_color(look.ink)
    axes.yaxis.label.set_color(look.ink)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(look.faint)
    return axes


def _mel_axis(axes: Any, explanation: Explanation) -> None:
    top = explanation.task.sample_rate / 2
    shown = [tick for tick in TICKS[1::2] if tick < top]
    axes.set_ylim(0, mel(top))
    axes.set_yticks(
        mel(np.array(shown, dtype=float)), [f"{tick / 1000:g}k" if tick >= 1000 else f"{tick}" for tick in shown]
    )


def _legend(axes: Any, look: Look) -> None:
    """What the colours mean, in the empty corner beside waveform and spectrogram."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    axes.set_axis_off()
    handles = [
        Patch(color=look.gain, alpha=0.6, label="for the tag"),
        Patch(color=look.loss, alpha=0.6, label="against it"),
        Line2D([], [], color=look.ink, lw=1.1, label="lost without\nthe moment"),
    ]
    legend = axes.legend(
        handles=handles, fontsize=7, frameon=False, loc="center left", borderaxespad=0, handlelength=1.2,
        handletextpad=0.5, labelcolor=look.ink,
    )  # fmt: skip
    legend.set_in_layout(False)


def _upto(axes: Any, start: float, end: float, rate: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((start, 0), end - start, float(mel(rate / 2)), transform=axes.transData)


def _title(explanation: Explanation) -> str:
    name = PurePath(explanation.name).name
    name = name if len(name) <= 70 else "…" + name[-69:]
    return f"{name}: what its tags rest on"
