"""Why a model gives a recording its tags: which moments and which frequencies they rest on.

A recording is heard window by window (`listener`), and the windows that tell most are taken apart (`window`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from samplecnn.analysis.attribution import band_edges
from samplecnn.analysis.explainer import Listener
from samplecnn.analysis.window import ExplainedWindow, Settings
from samplecnn.errors import UsageError
from samplecnn.sound_file import Recording
from samplecnn.tagging.tags import Tags
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

__all__ = ["WINDOWS", "ExplainedWindow", "Explanation", "Settings", "explain", "explain_over_time"]

WINDOWS = 4  # of a recording that are taken apart unless more are asked for


@dataclass(frozen=True, eq=False)
class Explanation:
    """A recording's tags explained.

    Args:
        name: what the recording is called.
        heard: the tags of the whole recording, window by window.
        tags: indices of the classes explained.
        edges: of the bands, Hz, float64 [bands + 1].
        windows: those taken apart, in order of time.
    """

    name: str
    heard: Tags
    tags: tuple[int, ...]
    edges: np.ndarray
    windows: tuple[ExplainedWindow, ...]

    @property
    def task(self) -> Task:
        return self.heard.task

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tags explained."""
        return tuple(self.task.classes[tag] for tag in self.tags)

    def clearest(self, place: int) -> ExplainedWindow:
        """Of the windows taken apart, the one with the highest score of the tag in that place of `tags`."""
        return max(self.windows, key=lambda window: window.scores[place])

    def words(self) -> list[str]:
        """A line for every tag: its score, where it comes from, and what is left of the score without that."""
        from samplecnn.analysis.explanation_text import line

        return [line(self, place) for place in range(len(self.tags))]


def explain(
    model: "SampleCNN | str | Path",
    source: "Recording | npt.ArrayLike",
    sample_rate: int | None = None,
    tags: Sequence[str] = (),
    top: int | None = None,
    most_windows: int = WINDOWS,
    settings: Settings | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Explanation:
    """Takes a recording apart: which moments and which frequencies its tags rest on.

    Args:
        model: a SampleCNN, or whatever `samplecnn.load` takes.
        source: a path, a record of a TFRecord (PATH#NUMBER), a binary file open for reading, or a waveform.
        sample_rate: of a waveform, in Hz.
        tags: names of the classes to explain; none takes the `top` most probable of the whole recording.
        top: how many; None takes three at most, and none (but the first) with a score below 0.01.
        most_windows: of a longer recording, the windows in which the tags score highest are taken apart, in turn the
            clearest of every tag, and one for each tag at least.
        settings: how closely to look.
        device: "cpu", "cuda"; None uses a GPU where there is one (a SampleCNN at hand stays where it is).
        progress: shows a bar on stderr.

    Raises:
        UsageError: no such model or tag, or a number out of range.
        AudioError: the recording cannot be used.

    Example:
        >>> explanation = explain("log/20261122_101500-sounds-se", "hum.wav")
        >>> explanation.words()[0]  # say: hum: 0.996, mostly from 0.08 to 0.42 s (without: 0.310) and ...
        'hum: ...'
    """
    if most_windows < 1:
        raise UsageError(f"explain needs 1 window or more, not {most_windows}")
    listener = Listener(model, source, sample_rate, tags, top, settings, device)
    chosen = listener.clearest(most_windows)
    with listener.bar(len(chosen), progress) as tell:
        return _explanation(listener, tuple(listener.explained(chosen, tell)))


def explain_over_time(
    model: "SampleCNN | str | Path",
    source: "Recording | npt.ArrayLike",
    sample_rate: int | None = None,
    tags: Sequence[str] = (),
    top: int | None = None,
    windows_per_page: int = WINDOWS,
    settings: Settings | None = None,
    device: str | None = None,
    progress: bool = False,
) -> Iterator[Explanation]:
    """`explain` for all windows of a recording, however long: some windows at a time, in order, in flat memory."""
    if windows_per_page < 1:
        raise UsageError(f"a page needs 1 window or more, not {windows_per_page}")
    listener = Listener(model, source, sample_rate, tags, top, settings, device)
    count = len(listener.heard.starts)
    with listener.bar(count, progress) as tell:
        found = listener.explained(range(count), tell)
        while page := tuple(islice(found, windows_per_page)):
            yield _explanation(listener, page)


def _explanation(listener: Listener, found: tuple[ExplainedWindow, ...]) -> Explanation:
    edges = band_edges(listener.settings.bands, listener.task.sample_rate)
    return Explanation(listener.name, listener.heard, listener.tags, edges, found)
