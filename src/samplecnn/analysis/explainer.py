"""A recording heard once as a whole, to be heard again and taken apart window by window."""

import difflib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.window import ExplainedWindow, Settings, take_apart
from samplecnn.audio import from_int16, standardise, stream, to_int16
from samplecnn.errors import UsageError
from samplecnn.evaluation.probabilities import full_precision, load_on_device, probabilities
from samplecnn.inference.windows import Windows, precut_windows, windows
from samplecnn.shards.tfrecord.clips import is_record, record_segments
from samplecnn.system.progress import Progress
from samplecnn.tagging.tagger import _as_file
from samplecnn.tagging.tags import Tags

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

TAGS = 3  # explained at most unless others are asked for
LEAST_SCORE = 0.01  # of a tag that is explained without being asked for


class Listener:
    """Hears a recording with a model, once as a whole and then the windows that are asked for.

    Args: as `explanation.explain` has them.

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
    ) -> None:
        self.settings = settings or Settings()
        if top is not None and top < 1:
            raise UsageError(f"top needs 1 or more, not {top}")
        self.model = load_on_device(model, device)
        assert self.model.task is not None  # resolve has seen to it
        self.task = self.model.task
        named = [find_class(tag, self.task.classes) for tag in tags]
        if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
            source = _as_file(source, sample_rate)
        elif sample_rate is not None:
            raise UsageError("sample_rate is for waveforms; a file knows its own")
        elif hasattr(source, "read") and not source.seekable():
            source = io.BytesIO(source.read())  # it is read twice
        self.source = source
        self.heard = self._hear()
        scores = self.heard.scores
        best = np.argsort(-scores, kind="stable")[: top or TAGS].tolist()
        likely = [tag for tag in best[1:] if top is not None or scores[tag] >= LEAST_SCORE]
        self.tags = tuple(dict.fromkeys(named or [best[0], *likely]))
        name = getattr(source, "name", None) if hasattr(source, "read") else source
        self.name = str(name) if isinstance(name, str | os.PathLike) else "the given audio"

    @contextmanager
    def bar(self, count: int, progress: bool) -> Iterator[Callable[[int], None]]:
        """A bar for so many windows, as the function that is told the passes done; without `progress` none is shown."""
        if not progress:
            yield lambda done: None
            return
        with Progress(count * self.settings.passes, "explain", "passes") as bar:
            yield bar.advance

    def clearest(self, most: int) -> list[int]:
        """The windows in which the tags score highest, in order of time."""
        ranks = np.argsort(-self.heard.over_time[:, list(self.tags)], axis=0, kind="stable")
        firsts = len(set(ranks[0].tolist()))
        return sorted(list(dict.fromkeys(ranks.ravel().tolist()))[: max(most, firsts)])

    def explained(self, chosen: Sequence[int], tell: Callable[[int], None]) -> Iterator[ExplainedWindow]:
        """The chosen windows taken apart, in order of time; `tell` is called with the passes done."""
        wanted = {int(self.heard.starts[index]) for index in chosen}
        for start, wave in self._waves():
            if start in wanted:
                yield take_apart(self.model, wave, list(self.tags), start, self.settings, tell)
                if start == max(wanted):
                    return

    def _hear(self) -> Tags:
        """The tags, by the network itself in full precision, as it is taken apart later."""
        answers, starts, samples, silent = [], [], 0, True
        with full_precision(self.model):
            for part in self._parts():
                samples, silent = part.end, silent and part.silent
                if len(part.segments):
                    answers.append(probabilities(self.model, standardise(part.segments, self.task)))
                    starts.append(part.starts)
        return Tags(self.task, np.concatenate(answers), np.concatenate(starts), samples, silent)

    def _parts(self) -> Iterator[Windows]:
        """The windows of the recording, as they sound."""
        plain = replace(self.task, mean=0.0, std=1.0)
        if hasattr(self.source, "read"):
            self.source.seek(0)
        if is_record(self.source):
            return precut_windows(record_segments(self.source, plain), plain, self.settings.batch_size)
        return windows(stream(self.source, self.task.sample_rate), plain, self.settings.batch_size)

    def _waves(self) -> Iterator[tuple[int, np.ndarray]]:
        """First sample and waveform of every window; of a clip shorter than a window, its own samples."""
        if self.heard.samples < self.task.window:
            if hasattr(self.source, "read"):
                self.source.seek(0)
            yield 0, from_int16(to_int16(np.concatenate(list(stream(self.source, self.task.sample_rate)))))
            return
        for part in self._parts():
            yield from zip(part.starts.tolist(), part.segments, strict=True)


def find_class(name: str, classes: tuple[str, ...]) -> int:
    """The index of a class; upper and lower case are the same.

    Raises:
        UsageError: no such class; names those that are near.
    """
    lower = [known.lower() for known in classes]
    if name in classes:
        return classes.index(name)
    if name.lower() in lower:
        return lower.index(name.lower())
    near = difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)
    if near:
        said = f"did you mean {', '.join(classes[lower.index(one)] for one in near)}?"
    else:
        said = f"it has {', '.join(classes[:20])}{', …' if len(classes) > 20 else ''}"
    raise UsageError(f"the model has no tag {name!r}; {said}")
