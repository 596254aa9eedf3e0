"""Why a model gives a recording its tags: which moments and which frequencies they rest on.

Every chosen window of the recording is taken apart in two ways that know nothing of each other (`attribution`):
integrated gradients share out the rise of a tag's logit over every sample, moment and band; and every moment and every
band is taken away in turn, to see what the logit loses.
"""

import difflib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from samplecnn.analysis.attribution import (
    answering,
    band_edges,
    integrated_gradients,
    moment_weights,
    split_bands,
    without,
)
from samplecnn.audio import from_int16, to_int16
from samplecnn.errors import UsageError
from samplecnn.evaluation.inference import exact, probabilities, resolve, standardise
from samplecnn.progress import Progress
from samplecnn.tagging.records import is_record, record_windows
from samplecnn.tagging.stream import Recording, stream
from samplecnn.tagging.tagger import _as_file
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.windows import Windows, windows
from samplecnn.task import Task

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

SHARE = 0.6  # of all that speaks for a tag, which the range named in words holds
WIDEST = 0.5  # of the window; a wider range says nothing
LEAST = 0.5  # logits that must be lost without a range for it to be named
TAGS, WINDOWS = 3, 4  # explained at most unless others are asked for
LEAST_SCORE = 0.01  # of a tag that is explained without being asked for


@dataclass(frozen=True)
class Settings:
    """How closely to look.

    Args:
        bands: frequency bands, equally wide in mel.
        moments: of every window; neighbours overlap by half.
        steps: points on the way from silence to the sound; more make the attributions add up more exactly.
        batch_size: waveforms at once; the result does not depend on it.
    """

    bands: int = 16
    moments: int = 50
    steps: int = 32
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("bands", "moments", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be 1 or more, not {getattr(self, name)}")

    @property
    def passes(self) -> int:
        """Waveforms that go through the network for a window."""
        return self.steps + self.bands + self.moments


@dataclass(frozen=True)
class Range:
    """A stretch of time (seconds in the recording) or of frequency (Hz), and the tag's score without it."""

    low: float
    high: float
    score_without: float


@dataclass(frozen=True, eq=False)
class ExplainedWindow:
    """One window taken apart; `tags` counts the tags explained, in their order.

    Args:
        start: seconds from the recording's beginning.
        rate: Hz.
        wave: what was heard, float32 [samples]; a clip shorter than the model's window as it is, not filled up.
        scores: probabilities, float64 [tags].
        rise: logit of the probability less that of silence, float64 [tags].
        attribution: integrated gradients, logits a sample, float32 [tags, samples]; a tag's add up to its rise.
        by_part: the same, shared out over bands and moments, float32 [tags, bands, moments].
        moment_loss, band_loss: what the logit loses without the moment or band, float32 [tags, moments] and
            [tags, bands]; positive where it spoke for the tag.
        moment_range, band_range: the shortest range that holds most of what speaks for the tag; None where no part
            decides.
    """

    start: float
    rate: int
    wave: np.ndarray
    scores: np.ndarray
    rise: np.ndarray
    attribution: np.ndarray
    by_part: np.ndarray
    moment_loss: np.ndarray
    band_loss: np.ndarray
    moment_range: tuple[Range | None, ...]
    band_range: tuple[Range | None, ...]

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.rate

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def times(self) -> np.ndarray:
        """Middles of the moments, seconds in the recording, float64 [moments]."""
        count = self.moment_loss.shape[1]
        return self.start + (np.arange(count) + 0.5) * self.seconds / count

    @property
    def by_moment(self) -> np.ndarray:
        """Integrated gradients of every moment, in logits: float32 [tags, moments]."""
        return self.by_part.sum(axis=1)

    @property
    def by_band(self) -> np.ndarray:
        """Integrated gradients of every band, in logits: float32 [tags, bands]."""
        return self.by_part.sum(axis=2)

    @property
    def gap(self) -> np.ndarray:
        """By how much the attributions miss the rise, in logits: float64 [tags]. More steps make it smaller."""
        return self.attribution.sum(axis=1, dtype=np.float64) - self.rise


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
        from samplecnn.analysis.explain_words import line

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
        >>> explanation = explain("log/20261122_101500-scd-se", "yes.wav")  # doctest: +SKIP
        >>> explanation.words()[0]  # doctest: +SKIP
        'yes: 0.996, mostly from 0.08 to 0.42 s (without: 0.310) and 250 to 1,100 Hz (without: 0.705)'
    """
    if most_windows < 1:
        raise UsageError(f"explain needs 1 window or more, not {most_windows}")
    task = _Listener(model, source, sample_rate, tags, top, settings, device)
    chosen = task.clearest(most_windows)
    with task.bar(len(chosen), progress) as tell:
        return task.explanation(tuple(task.explained(chosen, tell)))


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
    task = _Listener(model, source, sample_rate, tags, top, settings, device)
    count = len(task.heard.starts)
    with task.bar(count, progress) as tell:
        found = task.explained(range(count), tell)
        while page := tuple(islice(found, windows_per_page)):
            yield task.explanation(page)


class _Listener:
    """A recording that was heard once, to be heard again window by window."""

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
        self.model = resolve(model, device)
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

    def bar(self, count: int, progress: bool) -> Any:
        total = count * self.settings.passes
        return _told(Progress(total, "explain", "passes")) if progress else nullcontext(lambda done: None)

    def clearest(self, most: int) -> list[int]:
        """The windows in which the tags score highest, in order of time."""
        ranks = np.argsort(-self.heard.over_time[:, list(self.tags)], axis=0, kind="stable")
        firsts = len(set(ranks[0].tolist()))
        return sorted(list(dict.fromkeys(ranks.ravel().tolist()))[: max(most, firsts)])

    def explanation(self, found: tuple[ExplainedWindow, ...]) -> Explanation:
        edges = band_edges(self.settings.bands, self.task.sample_rate)
        return Explanation(self.name, self.heard, self.tags, edges, found)

    def explained(self, chosen: Sequence[int], tell: Callable[[int], None]) -> Iterator[ExplainedWindow]:
        wanted = {int(self.heard.starts[index]) for index in chosen}
        for start, wave in self._waves():
            if start in wanted:
                yield take_apart(self.model, wave, list(self.tags), start, self.settings, tell)
                if start == max(wanted):
                    return

    def _hear(self) -> Tags:
        """The tags, by the network itself in full precision, as it is taken apart later."""
        answers, starts, samples, silent = [], [], 0, True
        with exact(self.model):
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
            return record_windows(self.source, plain, self.settings.batch_size)
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


class _told:
    """A bar as the function that moves it."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar

    def __enter__(self) -> Callable[[int], None]:
        self.bar.__enter__()
        return self.bar.advance

    def __exit__(self, *how: Any) -> None:
        self.bar.__exit__(*how)


def take_apart(
    model: "SampleCNN",
    wave: np.ndarray,
    tags: list[int],
    start: int = 0,
    settings: Settings | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> ExplainedWindow:
    """One window of sound, or a clip shorter than a window, taken apart.

    Args:
        wave: float32 [samples] in [-1, 1] at the task's rate.
        tags: indices of the classes.
        start: its first sample in the recording.
    """
    settings, task = settings or Settings(), model.task
    assert task is not None
    rate, size = task.sample_rate, settings.batch_size
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    bands = split_bands(wave, settings.bands, rate)
    moments = moment_weights(len(wave), settings.moments)
    edges = band_edges(settings.bands, rate)
    times = (start + np.linspace(0, len(wave), settings.moments + 1)) / rate
    with answering(model, tags, len(wave)) as answer:
        gradients, rise = integrated_gradients(answer, wave, settings.steps, size, tell)
        moment_loss = without(answer, wave, moments * wave, size, tell)
        band_loss = without(answer, wave, bands, size, tell)
        level = _levels(answer, wave)

        def ranges(
            loss: np.ndarray, parts: Callable[[slice], np.ndarray], ends: np.ndarray
        ) -> tuple[Range | None, ...]:
            found: list[Range | None] = []
            for place in range(len(tags)):
                run = most_of(loss[place])
                lost = 0.0 if run is None else float(without(answer, wave, parts(run)[None], 1)[place, 0])
                if run is None or lost < LEAST:
                    found.append(None)
                else:
                    found.append(Range(ends[run.start], ends[run.stop], probability(level[place] - lost)))
            return tuple(found)

        moment_range = ranges(moment_loss, lambda run: moments[run].sum(axis=0) * wave, times)
        band_range = ranges(band_loss, lambda run: bands[run].sum(axis=0), edges)
    return ExplainedWindow(
        start=start / rate,
        rate=rate,
        wave=wave,
        scores=np.array([probability(value) for value in level]),
        rise=rise,
        attribution=gradients * wave,
        by_part=np.einsum("tn,bn,mn->tbm", gradients, bands, moments, optimize=True).astype(np.float32),
        moment_loss=moment_loss,
        band_loss=band_loss,
        moment_range=moment_range,
        band_range=band_range,
    )


def _levels(answer: Any, wave: np.ndarray) -> list[float]:
    """The tags' logits at the sound itself."""
    import torch

    with torch.no_grad():
        return answer(torch.from_numpy(wave)[None])[0].double().tolist()


def probability(logit: float) -> float:
    """Of a logit, without overflow."""
    return float(np.exp(-np.logaddexp(0, -logit)))


def most_of(loss: np.ndarray) -> slice | None:
    """The shortest run of parts that holds SHARE of all positive losses; None where nothing speaks for the tag, or
    where the run would be nearly everything.
    """
    gains = np.concatenate([[0.0], np.cumsum(np.clip(loss, 0, None, dtype=np.float64))])
    if gains[-1] <= 0:
        return None
    starts = np.arange(len(loss))
    ends = np.searchsorted(gains, gains[:-1] + SHARE * gains[-1] * (1 - 1e-9))
    whole = ends <= len(loss)
    best = int(np.argmin(np.where(whole, ends - starts, len(loss) + 1)))
    if ends[best] - best > max(WIDEST * len(loss), 1):
        return None
    return slice(best, int(ends[best]))


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
