"""Charts as inline SVG, with the light or dark colours of the page and selectable text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samplecnn.analysis.reporting.elements import escape
from samplecnn.evaluation.confusion import ConfusionMatrix
from samplecnn.evaluation.precision_recall import ClassCurve, thinned
from samplecnn.system.plotting import shorten

Ends = tuple[float, float]

DASHED = "training"  # the less important curve


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{extra}>{escape(text)}</text>'


def _svg(width: float, height: float, title: str, body: str, kind: str = "") -> str:
    """An SVG element as wide as the page; `kind` "fixed" sets its size in pixels, "matrix" limits it to that."""
    size = f'width="{width:.0f}" height="{height:.0f}" class="{kind}"' if kind else 'width="100%"'
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" {size} role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def whisker(value: float, ends: Ends, lowest: float = 0.0) -> str:
    """A score from `lowest` to 1 as a dot and its interval as a line, small enough for a cell of a table."""
    width, height = 110.0, 16.0

    def x_of(score: float) -> float:
        return 5 + (width - 10) * (min(max(score, lowest), 1) - lowest) / (1 - lowest)

    if np.isnan(value):
        return ""
    body = f'<line x1="5" x2="{width - 5}" y1="8" y2="8" class="grid"/>'
    if not np.isnan(ends).any():
        body += f'<line x1="{x_of(ends[0]):.1f}" x2="{x_of(ends[1]):.1f}" y1="8" y2="8" class="range"/>'
    body += f'<circle cx="{x_of(value):.1f}" cy="8" r="4" class="dot"/>'
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="110" height="16" aria-hidden="true">{body}</svg>'


def lines(
    title: str,
    x: np.ndarray,
    curves: dict[str, np.ndarray],
    marks: Sequence[float] = (),
    points: dict[str, list[tuple[float, float]]] | None = None,
) -> str:
    """Curves over epochs, "training" dashed; `marks` are vertical lines, `points` are drawn as diamonds."""
    width, height, left, right, top, bottom = 340.0, 230.0, 44.0, 12.0, 34.0, 36.0
    points = points or {}
    values = np.concatenate([*curves.values(), np.array([y for pairs in points.values() for _, y in pairs])])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def across(value: Any) -> Any:
        return left + (width - left - right) * (np.asarray(value) - x[0] + 0.25) / max(x[-1] - x[0] + 0.5, 1e-9)

    def up(value: Any) -> Any:
        return height - bottom - (height - top - bottom) * (np.asarray(value) - low) / max(high - low, 1e-9)

    body = ""
    for tick in ticks:
        body += f'<line x1="{left}" x2="{width - right}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" class="grid"/>'
        body += _text(left - 6, float(up(tick)) + 4, f"{tick:g}", "tick", "end")
    step = max(1, -(-len(x) // 10))
    for value in x[::step]:
        body += _text(float(across(value)), height - bottom + 16, f"{value:g}", "tick")
    body += _text((left + width - right) / 2, height - 4, "epoch", "tick")
    for mark in marks:
        body += (
            f'<line x1="{across(mark):.1f}" x2="{across(mark):.1f}" y1="{top}" y2="{height - bottom}" class="mark"/>'
        )
    at = left
    for name, values in curves.items():
        number = 0 if name == DASHED else 1
        whole = np.isfinite(values)
        kind = f"line line{number}"
        body += f'<polyline points="{_points(across(x[whole]), up(values[whole]))}" class="{kind}"/>'
        if whole.sum() < 40:
            body += "".join(
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" class="end{number}"/>'
                for a, b in zip(across(x[whole]), up(values[whole]), strict=True)
            )
        body += f'<line x1="{at}" x2="{at + 18}" y1="14" y2="14" class="{kind}"/>' + _text(
            at + 22, 18, name, "key", "start"
        )
        at += 34 + 6.2 * len(name)
    for name, pairs in points.items():
        for a, b in pairs:
            px, py = float(across(a)), float(up(b))
            body += f'<path d="M{px:.1f} {py - 6:.1f}l6 6l-6 6l-6 -6z" class="diamond"/>'
        body += f'<path d="M{at + 6} 8l6 6l-6 6l-6 -6z" class="diamond"/>' + _text(at + 16, 18, name, "key", "start")
    return _svg(width, height, title, body)


def nice_ticks(low: float, high: float, max_ticks: int = 6) -> list[float]:
    """Round numbers from below `low` to above `high`, at least two."""
    span = max(high - low, 1e-6)
    power = 10.0 ** np.floor(np.log10(span / (max_ticks - 1)))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= max_ticks - 1)
    first, last = int(np.floor(low / step + 1e-9)), int(np.ceil(high / step - 1e-9))
    return [float(f"{number * step:.10g}") for number in range(first, max(last, first + 1) + 1)]


def confusion(matrix: ConfusionMatrix) -> str:
    """Rows are true classes, columns the most probable ones; the colour of a cell shows its share of the row, blue if
    correct and orange if wrong. Hovering over a cell shows its numbers."""
    size = len(matrix.names)
    cell = min(28.0, max(900 / size, 9.0))
    names = [shorten(name, 22) for name in matrix.names]
    label = 7.2 * max(len(name) for name in names) + 10
    left, top = label + 18, label + 18
    width, height = left + cell * size + 6, top + cell * size + 6
    font = f' style="font-size:{min(12.0, cell * 0.85):.1f}px"'
    body = _text(left + cell * size / 2, 12, "most probable class", "axis")
    turned = f' transform="translate(11 {top + cell * size / 2:.0f}) rotate(-90)"'
    body += _text(0, 0, "true class", "axis", "middle", turned)
    for index, name in enumerate(names):
        at = cell * (index + 0.5)
        body += _text(left - 6, top + at + 4, name, "name", "end", font)
        rotated = f' transform="translate({left + at + 4:.1f} {top - 6:.1f}) rotate(-90)"'
        body += _text(0, 0, name, "name", "start", rotated + font)
    for row in range(size):
        y = top + cell * row
        body += f'<rect x="{left:.1f}" y="{y:.1f}" width="{cell * size:.1f}" height="{cell:.1f}" class="row"/>'
    for row, column in zip(*np.nonzero(matrix.counts), strict=True):
        x, y = left + cell * column, top + cell * row
        strength, count = matrix.strength[row, column], matrix.counts[row, column]
        share = f"{100 * matrix.share[row, column]:.0f} %"
        numbers = f"{matrix.names[row]} predicted as {matrix.names[column]}: {count} ({share})"
        kind = "right" if strength > 0 else "wrong"
        body += (
            f'<g><title>{escape(numbers)}</title><rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" '
            f'height="{cell - 1:.1f}" class="{kind}" fill-opacity="{abs(strength):.3f}"/>'
        )
        if matrix.counted:
            text = str(count)
            size_of_text = max(min(13 - len(text), 0.6 * cell), 5)
            tone = "over" if abs(strength) > 0.55 else "count"
            body += _text(x + cell / 2, y + cell / 2 + 4, text, tone, extra=f' style="font-size:{size_of_text:.0f}px"')
        body += "</g>"
    title = f"Confusion matrix of {size} classes; the table of classes lists what each is most often confused with"
    return _svg(width, height, title, body, "matrix")


def precision_recall(curve: ClassCurve, area: str) -> str:
    """The curve of one class over all thresholds; dashed: chance; the dot: at the threshold.

    Args:
        area: the area under the curve with its interval, as text.
    """
    size, left, top = 104.0, 26.0, 34.0
    width, height = left + size + 8, top + size + 20
    body = f"<g><title>{escape(curve.name)}</title>" + _text(width / 2, 13, shorten(curve.name, 18), "name") + "</g>"
    body += _text(width / 2, 27, area, "tick")
    body += f'<rect x="{left}" y="{top}" width="{size}" height="{size}" class="row"/>'
    for tick in (0, 0.5, 1):
        body += _text(left + size * tick, top + size + 13, f"{tick:g}", "tick")
        body += _text(left - 4, top + size * (1 - tick) + 4, f"{tick:g}", "tick", "end")
    precision, recall = thinned(curve.precision, curve.recall, max_points=150)
    x, y, chance = left + size * recall, top + size * (1 - precision), top + size * (1 - curve.chance)
    body += f'<line x1="{left}" x2="{left + size}" y1="{chance:.1f}" y2="{chance:.1f}" class="mark"/>'
    steps = np.stack([np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]])  # precision is constant up to each recall
    body += f'<polyline points="{_points(*steps)}" class="line line1"/>'
    if curve.at_threshold is not None:
        across, up = curve.at_threshold
        body += f'<circle cx="{left + size * across:.1f}" cy="{top + size * (1 - up):.1f}" r="4" class="warn"/>'
    return _svg(width, height, f"Precision over recall of {curve.name}: {area}", body, "fixed")
