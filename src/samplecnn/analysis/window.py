"""One window of sound taken apart, for the tags that a model gives it.

Two ways that know nothing of each other (`attribution`): integrated gradients share out the rise of a tag's logit over
every sample, moment and band; and every moment and every band is taken away in turn, to see what the logit loses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.attribution import (
    Answer,
    answering,
    band_edges,
    integrated_gradients,
    moment_weights,
    split_bands,
    without,
)
from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

SHARE = 0.6  # of all that speaks for a tag, which the range named in words holds
WIDEST = 0.5  # of the window; a wider range says nothing
LEAST = 0.5  # logits that must be lost without a range for it to be named


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


def _levels(answer: Answer, wave: np.ndarray) -> list[float]:
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
