"""Explains one window: on which moments and which frequency bands the scores of its classes depend.

Two independent methods (`attribution`): integrated gradients distribute the rise of a class's logit over all samples,
moments and bands; occlusion removes each moment and each band in turn and measures the decrease of the logit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.attribution import (
    LogitFunction,
    OnProgress,
    band_edges,
    integrated_gradients,
    logit_function,
    moment_weights,
    no_progress,
    occlusion,
    split_bands,
)
from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

RANGE_SHARE = 0.6  # share of all positive losses within a named range: more than half, so "mostly" is true
MAX_RANGE = 0.5  # share of the window (or of the bands): a longer range would not be informative
MIN_RANGE_LOSS = 0.5  # decrease of the logit without the range, below which it is not named


@dataclass(frozen=True)
class Settings:
    """Resolution and accuracy of an explanation.

    Args:
        bands: frequency bands, equally wide in mel.
        moments: moments per window; neighbours overlap by half.
        steps: points on the path from silence to the sound; more points make the attributions add up more exactly.
        batch_size: waveforms per batch; the result does not depend on it.
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
        """Number of waveforms passed through the network for one window."""
        return self.steps + self.bands + self.moments


@dataclass(frozen=True)
class Range:
    """A range of time (seconds in the recording) or of frequency (Hz), and the class's score without it."""

    low: float
    high: float
    score_without: float


@dataclass(frozen=True, eq=False)
class ExplainedWindow:
    """The explanation of one window; `classes` is the number of explained classes, in their order.

    Args:
        start: seconds from the start of the recording.
        rate: Hz.
        wave: the waveform, float32 [samples]; for a clip shorter than the model's window, without padding.
        scores: probabilities, float64 [classes].
        rise: logit of the probability minus that of silence, float64 [classes].
        attribution: integrated gradients in logits, float32 [classes, samples]; those of a class add up to its rise.
        by_part: the same, summed over bands and moments, float32 [classes, bands, moments].
        moment_loss, band_loss: decrease of the logit without the moment or band, float32 [classes, moments] and
            [classes, bands]; positive if it raises the class's score.
        moment_range, band_range: the shortest range that contains most of what raises the score; None if there is no
            such range of at most half the window or half the bands.
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
        """Seconds from the start of the recording."""
        return self.start + self.seconds

    @property
    def times(self) -> np.ndarray:
        """Centres of the moments, seconds from the start of the recording, float64 [moments]."""
        count = self.moment_loss.shape[1]
        return self.start + (np.arange(count) + 0.5) * self.seconds / count

    @property
    def by_moment(self) -> np.ndarray:
        """Integrated gradients of every moment, in logits: float32 [classes, moments]."""
        return self.by_part.sum(axis=1)

    @property
    def by_band(self) -> np.ndarray:
        """Integrated gradients of every band, in logits: float32 [classes, bands]."""
        return self.by_part.sum(axis=2)

    @property
    def gap(self) -> np.ndarray:
        """Sum of the attributions minus the rise, in logits: float64 [classes]. It decreases with more steps."""
        return self.attribution.sum(axis=1, dtype=np.float64) - self.rise


def explain_window(
    model: "SampleCNN",
    wave: np.ndarray,
    classes: list[int],
    start: int = 0,
    settings: Settings | None = None,
    on_progress: OnProgress = no_progress,
) -> ExplainedWindow:
    """Explains one window of sound, or a clip shorter than a window.

    Args:
        model: a model with its task.
        wave: float32 [samples] in [-1, 1] at the task's rate.
        classes: indices of the classes to explain.
        start: index of the window's first sample in the recording.
        settings: resolution and accuracy.
        on_progress: called with the number of waveforms done.
    """
    settings, task = settings or Settings(), model.task
    assert task is not None
    rate, batch_size = task.sample_rate, settings.batch_size
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    bands = split_bands(wave, settings.bands, rate)
    moments = moment_weights(len(wave), settings.moments)
    edges = band_edges(settings.bands, rate)
    times = (start + np.linspace(0, len(wave), settings.moments + 1)) / rate
    with logit_function(model, classes, len(wave)) as logits:
        gradients, rise = integrated_gradients(logits, wave, settings.steps, batch_size, on_progress)
        moment_loss = occlusion(logits, wave, moments * wave, batch_size, on_progress)
        band_loss = occlusion(logits, wave, bands, batch_size, on_progress)
        whole = _logits_of(logits, wave)

        def ranges(
            loss: np.ndarray, part_of: Callable[[slice], np.ndarray], ends: np.ndarray
        ) -> tuple[Range | None, ...]:
            """The named range of each class, confirmed by removing the whole range."""
            found: list[Range | None] = []
            for index in range(len(classes)):
                run = shortest_range(loss[index])
                lost = 0.0 if run is None else float(occlusion(logits, wave, part_of(run)[None], 1)[index, 0])
                if run is None or lost < MIN_RANGE_LOSS:
                    found.append(None)
                else:
                    found.append(Range(ends[run.start], ends[run.stop], sigmoid(whole[index] - lost)))
            return tuple(found)

        moment_range = ranges(moment_loss, lambda run: moments[run].sum(axis=0) * wave, times)
        band_range = ranges(band_loss, lambda run: bands[run].sum(axis=0), edges)
    return ExplainedWindow(
        start=start / rate,
        rate=rate,
        wave=wave,
        scores=np.array([sigmoid(value) for value in whole]),
        rise=rise,
        attribution=gradients * wave,
        by_part=np.einsum("cn,bn,mn->cbm", gradients, bands, moments, optimize=True).astype(np.float32),
        moment_loss=moment_loss,
        band_loss=band_loss,
        moment_range=moment_range,
        band_range=band_range,
    )


def _logits_of(logits: LogitFunction, wave: np.ndarray) -> list[float]:
    """The classes' logits for the complete sound."""
    import torch

    with torch.no_grad():
        return logits(torch.from_numpy(wave)[None])[0].double().tolist()


def sigmoid(logit: float) -> float:
    """The probability of a logit, without overflow."""
    return float(np.exp(-np.logaddexp(0, -logit)))


def shortest_range(loss: np.ndarray) -> slice | None:
    """The shortest run of parts that contains RANGE_SHARE of all positive losses.

    Args:
        loss: decrease of the logit without each part, [parts].

    Returns:
        None if no loss is positive, or if the run is longer than MAX_RANGE of all parts.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.clip(loss, 0, None, dtype=np.float64))])
    if sums[-1] <= 0:
        return None
    starts = np.arange(len(loss))
    ends = np.searchsorted(sums, sums[:-1] + RANGE_SHARE * sums[-1] * (1 - 1e-9))
    complete = ends <= len(loss)
    best = int(np.argmin(np.where(complete, ends - starts, len(loss) + 1)))
    if ends[best] - best > max(MAX_RANGE * len(loss), 1):
        return None
    return slice(best, int(ends[best]))
