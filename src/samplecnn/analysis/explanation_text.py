"""An explanation in words, and as rows of a table."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from samplecnn.analysis.explanation import Explanation

COLUMNS = ("tag", "score", "window", "method", "start", "end", "low", "high", "logit")
GRADIENTS, OCCLUSION = "integrated gradients", "occlusion"


def line(explanation: Explanation, place: int) -> str:
    """What a tag rests on, in a line; `place` is its place in `explanation.tags`."""
    window = explanation.clearest(place)
    name, score = explanation.names[place], float(explanation.heard.scores[explanation.tags[place]])
    head = f"{name}: {probability(score)}"
    if not window.wave.any():
        return f"{head}; this is silence, in which nothing speaks for or against it"
    if len(explanation.heard.starts) > 1:
        best = probability(float(window.scores[place]))
        head += f"; where it is clearest, {window.start:.1f} to {window.end:.1f} s ({best})"
    parts = []
    moment, band = window.moment_range[place], window.band_range[place]
    if moment is not None:
        parts.append(f"from {moment.low:.2f} to {moment.high:.2f} s (without: {probability(moment.score_without)})")
    if band is not None:
        parts.append(f"{hz(band.low)} to {hz(band.high)} Hz (without: {probability(band.score_without)})")
    if parts:
        return f"{head}, mostly {' and '.join(parts)}"
    return f"{head}, no single moment and no single band decides"


def probability(value: float) -> str:
    """For people: three digits, and those of a value near 0 or 1 are not rounded to it."""
    if 0 < value < 0.001:
        return "<0.001"
    return ">0.999" if 0.999 < value < 1 else f"{value:.3f}"


def hz(value: float) -> str:
    """A frequency for people: two digits count."""
    rounded = round(value, -1) if value < 1000 else round(value, -2)
    return f"{rounded:,.0f}"


def rows(explanation: Explanation) -> Iterator[dict[str, Any]]:
    """The numbers of an explanation, a row each: what a part of a window gave to a tag's logit, or took from it.

    Columns: tag; score, its probability in the window; window, the number of the window in the recording; method;
    start and end (seconds) and low and high (Hz) of the part; logit. A part is a moment over all frequencies, a band
    over all of the window, or (integrated gradients only) a band of a moment.
    """
    starts = explanation.heard.times
    edges = explanation.edges.tolist()
    for window in explanation.windows:
        number = int(np.abs(starts - window.start).argmin())
        count = window.moment_loss.shape[1]
        ends = [window.start + index * window.seconds / count for index in range(count + 1)]
        moments = [(ends[index], ends[index + 1], edges[0], edges[-1]) for index in range(count)]
        bands = [(window.start, window.end, low, high) for low, high in pairwise(edges)]
        both = [(start, end, low, high) for _, _, low, high in bands for start, end, _, _ in moments]
        for place, name in enumerate(explanation.names):
            head = {"tag": name, "score": float(window.scores[place]), "window": number}
            groups: Iterable[tuple[str, list, Any]] = (
                (GRADIENTS, moments, window.by_moment[place]),
                (OCCLUSION, moments, window.moment_loss[place]),
                (GRADIENTS, bands, window.by_band[place]),
                (OCCLUSION, bands, window.band_loss[place]),
                (GRADIENTS, both, window.by_part[place].ravel()),
            )
            for method, places, values in groups:
                for (start, end, low, high), value in zip(places, values.tolist(), strict=True):
                    yield {
                        **head,
                        "method": method,
                        "start": start,
                        "end": end,
                        "low": low,
                        "high": high,
                        "logit": value,
                    }
