"""Explains a recording: scores it as a whole, then explains the windows in which its tags are clearest."""

import difflib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from samplecnn.analysis.attribution import OnProgress, band_edges, no_progress
from samplecnn.analysis.explained_window import ExplainedWindow, Settings, explain_window
from samplecnn.analysis.explanation import Explanation
from samplecnn.audio import Remarks, from_int16, standardise, stream, to_int16
from samplecnn.errors import UsageError
from samplecnn.evaluation.probabilities import full_precision, load_on_device, probabilities
from samplecnn.inference.windows import Windows, precut_windows, windows
from samplecnn.shards.tfrecord.clips import is_record, record_segments
from samplecnn.sound_file import Recording
from samplecnn.system.progress import Progress
from samplecnn.tagging.sources import waveform_file
from samplecnn.tagging.tags import Tags

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

WINDOWS = 4  # default number of explained windows
MAX_TAGS = 3  # tags explained by default
MIN_SCORE = 0.01  # lowest score of a tag that is explained by default


def explain(
    model: "SampleCNN | str | Path",
    source: "Recording | npt.ArrayLike",
    sample_rate: int | None = None,
    *,
    tags: Sequence[str] = (),
    top: int | None = None,
    max_windows: int = WINDOWS,
    settings: Settings | None = None,
    device: str | None = None,
    progress: bool = False,
    accept_truncated: bool = False,
) -> Explanation:
    """Explains which moments and which frequencies a recording's tags depend on.

    Args:
        model: a SampleCNN, or any argument of `samplecnn.load`.
        source: a path, a record of a TFRecord (PATH#NUMBER), a binary file open for reading, or a waveform.
        sample_rate: sample rate of a waveform, in Hz.
        tags: names of the classes to explain; if empty, the `top` most probable of the whole recording.
        top: number of tags; None explains at most three, of which all but the first score 0.01 or more.
        max_windows: in a longer recording, explains the windows in which the tags score highest, in turn the clearest
            of each tag, and at least one per tag.
        settings: resolution and accuracy.
        device: "cpu", "cuda"; None uses a GPU if there is one (a SampleCNN stays on its device).
        progress: shows a bar on stderr.
        accept_truncated: explains what can be decoded of a recording that is cut short or damaged.

    Raises:
        UsageError: no such model or tag, or a number out of range.
        AudioError: the recording cannot be used.

    Example:
        >>> explanation = explain("log/20261122_101500-sounds-se_multi", "hum.wav")
        >>> explanation.words()[0]  # e.g. hum: 0.996, mostly from 0.08 to 0.42 s (without: 0.310) and ...
        'hum: ...'
    """
    if max_windows < 1:
        raise UsageError(f"explain needs 1 window or more, not {max_windows}")
    explainer = Explainer(model, source, sample_rate, tags, top, settings, device, accept_truncated)
    chosen = explainer.clearest(max_windows)
    with explainer.progress_bar(len(chosen), progress) as on_progress:
        return explainer.explanation(tuple(explainer.explained(chosen, on_progress)))


def explain_over_time(
    model: "SampleCNN | str | Path",
    source: "Recording | npt.ArrayLike",
    sample_rate: int | None = None,
    *,
    tags: Sequence[str] = (),
    top: int | None = None,
    windows_per_page: int = WINDOWS,
    settings: Settings | None = None,
    device: str | None = None,
    progress: bool = False,
    accept_truncated: bool = False,
) -> Iterator[Explanation]:
    """`explain` for all windows of a recording, however long, in constant memory.

    Args:
        model, source, sample_rate, tags, top, settings, device, progress, accept_truncated: as for `explain`.
        windows_per_page: windows in each explanation.

    Yields:
        An Explanation for every `windows_per_page` windows, in order of time.

    Raises:
        UsageError, AudioError: as `explain`.
    """
    if windows_per_page < 1:
        raise UsageError(f"a page needs 1 window or more, not {windows_per_page}")
    explainer = Explainer(model, source, sample_rate, tags, top, settings, device, accept_truncated)
    count = len(explainer.recording_tags.starts)
    with explainer.progress_bar(count, progress) as on_progress:
        explained = explainer.explained(range(count), on_progress)
        while page := tuple(islice(explained, windows_per_page)):
            yield explainer.explanation(page)


class Explainer:
    """Scores a whole recording with a model, then explains selected windows of it.

    Args: as for `explain`.

    Raises:
        UsageError: no such model or tag, or a number out of range.
        AudioError: the recording cannot be used.
    """

    def __init__(
        self,
        model: "SampleCNN | str | Path",
        source: Any,
        sample_rate: int | None,
        tags: Sequence[str],
        top: int | None,
        settings: Settings | None,
        device: str | None,
        accept_truncated: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        if top is not None and top < 1:
            raise UsageError(f"top needs 1 or more, not {top}")
        self.model = load_on_device(model, device)
        assert self.model.task is not None  # load_on_device has checked it
        self.task = self.model.task
        named = [find_class(tag, self.task.classes) for tag in tags]
        if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
            source = waveform_file(source, sample_rate)
        elif sample_rate is not None:
            raise UsageError("sample_rate applies to waveforms only; a file has its own")
        elif hasattr(source, "read") and not source.seekable():
            source = io.BytesIO(source.read())  # it is read twice
        self.source, self.accept_truncated = source, accept_truncated
        self.recording_tags = self._scores()
        scores = self.recording_tags.scores
        best = np.argsort(-scores, kind="stable")[: top or MAX_TAGS].tolist()
        likely = [tag for tag in best[1:] if top is not None or scores[tag] >= MIN_SCORE]
        self.tags = tuple(dict.fromkeys(named or [best[0], *likely]))
        name = getattr(source, "name", None) if hasattr(source, "read") else source
        self.name = str(name) if isinstance(name, str | os.PathLike) else "the given audio"

    def explanation(self, explained: tuple[ExplainedWindow, ...]) -> Explanation:
        """The explanation that consists of these windows."""
        edges = band_edges(self.settings.bands, self.task.sample_rate)
        return Explanation(self.name, self.recording_tags, self.tags, edges, explained)

    @contextmanager
    def progress_bar(self, count: int, shown: bool) -> Iterator[OnProgress]:
        """A progress bar for `count` windows; yields the function to call with the number of completed passes."""
        if not shown:
            yield no_progress
            return
        with Progress(count * self.settings.passes, "explain", "passes") as bar:
            yield bar.advance

    def clearest(self, max_windows: int) -> list[int]:
        """Indices of the windows in which the tags score highest, in order of time."""
        ranks = np.argsort(-self.recording_tags.over_time[:, list(self.tags)], axis=0, kind="stable")
        firsts = len(set(ranks[0].tolist()))
        return sorted(list(dict.fromkeys(ranks.ravel().tolist()))[: max(max_windows, firsts)])

    def explained(self, chosen: Sequence[int], on_progress: OnProgress) -> Iterator[ExplainedWindow]:
        """Explains the chosen windows, in order of time; calls `on_progress` with the completed passes."""
        wanted = {int(self.recording_tags.starts[index]) for index in chosen}
        for start, wave in self._waves():
            if start in wanted:
                yield explain_window(self.model, wave, list(self.tags), start, self.settings, on_progress)
                if start == max(wanted):
                    return

    def _scores(self) -> Tags:
        """The tags of the recording, computed in full precision like the explanations."""
        outputs, starts, samples, silent, remarks = [], [], 0, True, Remarks()
        with full_precision(self.model):
            for part in self._parts(remarks):
                samples, silent = part.end, silent and part.silent
                if len(part.segments):
                    outputs.append(probabilities(self.model, standardise(part.segments, self.task)))
                    starts.append(part.starts)
        return Tags(self.task, np.concatenate(outputs), np.concatenate(starts), samples, silent, remarks=remarks)

    def _parts(self, remarks: Remarks | None = None) -> Iterator[Windows]:
        """The windows of the recording in batches, without standardisation."""
        plain = replace(self.task, mean=0.0, std=1.0)
        if hasattr(self.source, "read"):
            self.source.seek(0)
        if is_record(self.source):
            return precut_windows(record_segments(self.source, plain), plain, self.settings.batch_size)
        return windows(self._stream(remarks), plain, self.settings.batch_size)

    def _stream(self, remarks: Remarks | None = None) -> Iterator[np.ndarray]:
        return stream(self.source, self.task.sample_rate, None, self.accept_truncated, remarks)

    def _waves(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first sample, waveform) of each window; for a clip shorter than a window, without padding."""
        if self.recording_tags.samples < self.task.window:
            if hasattr(self.source, "read"):
                self.source.seek(0)
            yield 0, from_int16(to_int16(np.concatenate(list(self._stream()))))
            return
        for part in self._parts():
            yield from zip(part.starts.tolist(), part.segments, strict=True)


def find_class(name: str, classes: tuple[str, ...]) -> int:
    """The index of a class; case is ignored.

    Raises:
        UsageError: no such class; the message suggests similar ones.
    """
    lower = [known.lower() for known in classes]
    if name in classes:
        return classes.index(name)
    if name.lower() in lower:
        return lower.index(name.lower())
    similar = difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)
    if similar:
        hint = f"did you mean {', '.join(classes[lower.index(one)] for one in similar)}?"
    else:
        hint = f"it has {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}"
    raise UsageError(f"the model has no tag {name!r}; {hint}")
