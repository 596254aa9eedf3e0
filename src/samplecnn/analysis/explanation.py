"""The explanation of a recording: its explained windows, as sentences and as rows of a table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from samplecnn.analysis.explained_window import ExplainedWindow
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task

COLUMNS = ("tag", "score", "window", "method", "start", "end", "low", "high", "logit")
GRADIENTS, OCCLUSION = "integrated gradients", "occlusion"


@dataclass(frozen=True, eq=False)
class Explanation:
    """The explanation of a recording's tags.

    Args:
        name: the recording's name.
        recording_tags: the scores of the whole recording, window by window.
        tags: indices of the explained classes.
        edges: edges of the frequency bands, Hz, float64 [bands + 1].
        windows: the explained windows, in order of time.
    """

    name: str
    recording_tags: Tags
    tags: tuple[int, ...]
    edges: np.ndarray
    windows: tuple[ExplainedWindow, ...]

    @property
    def task(self) -> Task:
        return self.recording_tags.task

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the explained classes."""
        return tuple(self.task.classes[tag] for tag in self.tags)

    def clearest(self, index: int) -> ExplainedWindow:
        """The explained window with the highest score of the class at `index` in `tags`."""
        return max(self.windows, key=lambda window: window.scores[index])

    def words(self) -> list[str]:
        """One sentence per tag: its score, what it depends on, and the score without that."""
        return [self.sentence(index) for index in range(len(self.tags))]

    def sentence(self, index: int) -> str:
        """The sentence for the class at `index` in `tags`."""
        window = self.clearest(index)
        name, score = self.names[index], float(self.recording_tags.scores[self.tags[index]])
        head = f"{name}: {format_probability(score)}"
        if not window.wave.any():
            return f"{head}; the recording is silent here, so no part of it raises or lowers the score"
        if len(self.recording_tags.starts) > 1:
            best = format_probability(float(window.scores[index]))
            head += f"; where it is clearest, {window.start:.1f} to {window.end:.1f} s ({best})"
        parts = []
        moment, band = window.moment_range[index], window.band_range[index]
        if moment is not None:
            without = format_probability(moment.score_without)
            parts.append(f"from {moment.low:.2f} to {moment.high:.2f} s (without: {without})")
        if band is not None:
            without = format_probability(band.score_without)
            parts.append(f"{format_hertz(band.low)} to {format_hertz(band.high)} Hz (without: {without})")
        if parts:
            return f"{head}, mostly {' and '.join(parts)}"
        return f"{head}, no short stretch of time and no narrow band accounts for most of it"

    def rows(self) -> Iterator[dict[str, Any]]:
        """The values as rows, each the effect of a part of a window on a tag's logit.

        Columns: tag; score, its probability in the window; window, its index in the recording; method; start and end
        (seconds) and low and high (Hz) of the part; logit. A part is a moment over all frequencies, a band over the
        whole window, or (integrated gradients only) a band of a moment.
        """
        starts = self.recording_tags.times
        edges = self.edges.tolist()
        for window in self.windows:
            number = int(np.abs(starts - window.start).argmin())
            count = window.moment_loss.shape[1]
            ends = [window.start + index * window.seconds / count for index in range(count + 1)]
            moments = [(ends[index], ends[index + 1], edges[0], edges[-1]) for index in range(count)]
            bands = [(window.start, window.end, low, high) for low, high in pairwise(edges)]
            both = [(start, end, low, high) for _, _, low, high in bands for start, end, _, _ in moments]
            for index, name in enumerate(self.names):
                groups: Iterable[tuple[str, list, Any]] = (
                    (GRADIENTS, moments, window.by_moment[index]),
                    (OCCLUSION, moments, window.moment_loss[index]),
                    (GRADIENTS, bands, window.by_band[index]),
                    (OCCLUSION, bands, window.band_loss[index]),
                    (GRADIENTS, both, window.by_part[index].ravel()),
                )
                score = float(window.scores[index])
                for method, parts, values in groups:
                    for part, value in zip(parts, values.tolist(), strict=True):
                        yield dict(zip(COLUMNS, (name, score, number, method, *part, value), strict=True))


def format_probability(value: float) -> str:
    """Three decimals; values near 0 or 1 are not rounded to 0 or 1."""
    if 0 < value < 0.001:
        return "<0.001"
    return ">0.999" if 0.999 < value < 1 else f"{value:.3f}"


def format_hertz(value: float) -> str:
    """Rounded to 10 Hz, above 1 kHz to 100 Hz, the sharpness of the bands."""
    rounded = round(value, -1) if value < 1000 else round(value, -2)
    return f"{rounded:,.0f}"
