"""Augmentation: random changes to training segments, in batches, on the training device.

Everything random in a batch comes from generators seeded with the run's seed and the batch's stage, epoch and number
alone. So a resumed run sees the same batches as an uninterrupted one, and a checkpoint need not hold their state.

A batch is read as crops of the clips (`Crops`), longer than needed if the speed is changed; everything else is applied
to whole batches of float32 waveforms in [-1, 1] (`Augmentation`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import INT16_SCALE
from samplecnn.training.options import TrainOptions

if TYPE_CHECKING:
    from samplecnn.shards import Segments

CROPS, EFFECTS = 1, 2  # last number of a generator's seed: its purpose
MARGIN = 3  # samples around a position that the resampler reads
NOISE_DB = (5.0, 40.0)  # of a segment over the noise that is added to it
BACKGROUND_DB = (0.0, 30.0)  # of a segment over the recording that is mixed with it
BACKGROUND_SHARE = 0.7  # of the segments
SLOPES = (0.0, 2.0)  # power of noise falls with the frequency to this power: white, pink, brown
FILTER_BANDS = 6  # points of a random frequency response, spaced by octaves from the highest frequency down
SMALLEST = 1e-6  # keeps the level of silence above zero


@dataclass(frozen=True)
class Position:
    """The position of a batch in a run, and the run's seed."""

    seed: int
    stage: int
    epoch: int
    step: int

    def next(self) -> "Position":
        return replace(self, step=self.step + 1)

    def generator(self, use: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, self.stage, self.epoch, self.step, use]))


def crop_length(options: TrainOptions, window: int) -> int:
    """Samples of a training crop."""
    return max(round(options.crop * window), 1) if options.crop else window


class Crops:
    """Reads crops of clips at random positions, across segment boundaries.

    Args:
        segments: of the training split.
        options: of the run: `crop`, `shift` and `speed`.
    """

    def __init__(self, segments: "Segments", options: TrainOptions) -> None:
        self.segments, self.options = segments, options
        window = segments.task.window
        self.length = crop_length(options, window)
        self.read_length = self.length if not options.speed else int(self.length * 2**options.speed) + 2 * MARGIN
        starts = segments.clip_starts
        counts = np.diff(starts, append=len(segments))
        self._first, self._count = np.repeat(starts, counts), np.repeat(counts, counts)

    def at(self, first: Position) -> Callable[[np.ndarray, int], np.ndarray]:
        """Reads the batches of an epoch: (rows, number of the batch) -> audio."""
        return lambda rows, step: self(rows, replace(first, step=step))

    def __call__(self, rows: np.ndarray, position: Position) -> np.ndarray:
        """Crops around the segments `rows`: [batch, read_length], as stored; zeros outside the clips."""
        window, length = self.segments.task.window, self.read_length
        total = self._count[rows] * window
        nominal = (rows - self._first[rows]) * window + (window - length) // 2
        lowest, highest = np.minimum(0, total - length), np.maximum(0, total - length)
        rng = position.generator(CROPS)
        fraction = rng.random(len(rows))
        if self.options.crop:
            # The part of the clip that is nearer to this segment than to others; of a clip of one segment, all of it.
            reach = np.where(self._count[rows] > 1, window / 2, window)
            start = nominal + (2 * fraction - 1) * reach
            alone = self._count[rows] == 1
            start = np.where(alone, lowest + fraction * (highest - lowest), np.clip(start, lowest, highest))
        else:
            start = nominal
        start = np.rint(start + (2 * rng.random(len(rows)) - 1) * self.options.shift * window).astype(np.int64)
        return self._read(rows, start)

    def _read(self, rows: np.ndarray, start: np.ndarray) -> np.ndarray:
        """`read_length` samples of each row's clip from sample `start` of the clip on."""
        window, length = self.segments.task.window, self.read_length
        first, count = self._first[rows], self._count[rows]
        low = np.maximum(start // window, 0)
        high = np.minimum((start + length - 1) // window, count - 1)
        pieces = np.maximum(high - low + 1, 0)
        owner = np.repeat(np.arange(len(rows)), pieces)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + low[owner]
        audio = self.segments.gather(first[owner] + number)
        out = np.zeros((len(rows), length), self.segments.dtype)
        for piece, row, at in zip(audio, owner, number * window - start[owner], strict=True):
            into, end = max(at, 0), min(at + window, length)
            out[row, into:end] = piece[into - at : end - at]
        return out


class Augmentation:
    """Augments batches of waveforms.

    Args:
        options: of the run.
        length: samples of a result.
        background: float32 [samples], recordings to mix with segments; None: none.
    """

    def __init__(self, options: TrainOptions, length: int, background: np.ndarray | None = None) -> None:
        self.options, self.length = options, length
        self.background = None if background is None else torch.from_numpy(np.ascontiguousarray(background))

    def __call__(self, audio: Tensor, labels: Tensor, position: Position) -> tuple[Tensor, Tensor]:
        """Augmented waveforms and their labels, which mixing makes fractional.

        Args:
            audio: int16, or float32 in [-1, 1], [batch, samples]; more than `length` of them if the speed is changed.
            labels: float32 [batch, classes].
            position: of the batch; the same position gives the same result.
        """
        options = self.options
        draws = position.generator(EFFECTS)
        noises = torch.Generator(audio.device).manual_seed(int(draws.integers(2**63)))
        x = audio.float().mul_(1 / INT16_SCALE) if audio.dtype == torch.int16 else audio.clone()

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(values, np.float32)).to(x.device)[:, None]

        count = len(x)
        if options.speed:
            x = resampled(x, column(2 ** (options.speed * draws.uniform(-1, 1, count))), self.length)
        if options.filter or options.noise:
            x = self._filter_and_noise(x, draws, noises)
        if self.background is not None:
            x = self._with_background(x, draws)
        if options.mask:
            width = options.mask * x.shape[1] * draws.random(count)
            begin = column(draws.random(count) * (x.shape[1] - width))
            at = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
            x.masked_fill_((at >= begin) & (at < begin + column(width)), 0)
        if options.gain or options.polarity:
            factor = 10 ** (options.gain * draws.uniform(-1, 1, count) / 20)
            sign = draws.choice([-1.0, 1.0], count) if options.polarity else 1.0
            x = x.mul_(column(factor * sign))
        if options.mixing != "none":
            x, labels = self._mixed(x, labels, draws)
        return x, labels

    def _filter_and_noise(self, x: Tensor, draws: np.random.Generator, noises: torch.Generator) -> Tensor:
        """A random frequency response and coloured noise, both in one pass through the spectrum."""
        options, count, samples = self.options, len(x), x.shape[1]
        chosen = np.flatnonzero(draws.random(count) < max(options.noise, 0.5 if options.filter else 0.0))
        levels, slopes = draws.uniform(*NOISE_DB, count), draws.uniform(*SLOPES, count)
        noisy = draws.random(count) * max(options.noise, 0.5 if options.filter else 0.0) < options.noise
        bands = draws.uniform(-1, 1, (count, FILTER_BANDS)) * options.filter
        if len(chosen) == 0:
            return x
        rows = torch.from_numpy(chosen).to(x.device)
        some = x[rows]
        size = fast_length(samples)
        spectrum = torch.fft.rfft(some, size)
        bins = spectrum.shape[1]
        octaves = np.clip(FILTER_BANDS - 1 + np.log2(np.maximum(np.arange(bins), 1) / bins), 0, FILTER_BANDS - 1)
        if options.filter:
            low = np.minimum(octaves.astype(np.int64), FILTER_BANDS - 2)
            share = torch.from_numpy((octaves - low).astype(np.float32)).to(x.device)
            points = torch.from_numpy(bands[chosen].astype(np.float32)).to(x.device)
            index = torch.from_numpy(low).to(x.device)
            decibels = torch.lerp(points[:, index], points[:, index + 1], share)
            spectrum.mul_(torch.exp(decibels * (np.log(10) / 20)))
        if options.noise:
            frequency = torch.arange(bins, device=x.device, dtype=torch.float32).clamp_(min=1)
            slope = torch.from_numpy(slopes[chosen].astype(np.float32)).to(x.device)[:, None]
            shape = torch.exp(torch.log(frequency) * (-slope / 2))
            shape[:, 0] = 0
            noise = torch.randn((len(chosen), bins, 2), generator=noises, device=x.device)
            # By Parseval's theorem: the noise has the mean square sum(2 shape^2) * 2 / size^2 for unit normal numbers.
            power = 4 * shape.square().sum(1, keepdim=True) / size**2
            wanted = (
                level_of(some)
                * torch.from_numpy((10 ** (-levels[chosen] / 20) * noisy[chosen]).astype(np.float32)).to(x.device)[
                    :, None
                ]
            )
            spectrum.add_(torch.view_as_complex(noise).mul_(shape * (wanted / power.sqrt())))
        x[rows] = torch.fft.irfft(spectrum, size)[:, :samples]
        return x

    def _with_background(self, x: Tensor, draws: np.random.Generator) -> Tensor:
        """Adds excerpts of the background recordings."""
        assert self.background is not None
        count, samples = x.shape
        starts = draws.integers(0, max(len(self.background) - samples, 0) + 1, count)
        added = torch.stack([self.background[at : at + samples] for at in starts]).to(x.device)
        decibels, chosen = draws.uniform(*BACKGROUND_DB, count), draws.random(count) < BACKGROUND_SHARE
        factor = torch.from_numpy((10 ** (-decibels / 20) * chosen).astype(np.float32)).to(x.device)[:, None]
        return x.add_(added * (level_of(x) / level_of(added) * factor))

    def _mixed(self, x: Tensor, labels: Tensor, draws: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Sums of two segments each. "between-class" weighs them by their loudness (Tokozume et al., ICLR 2018)."""
        count = len(x)
        order = draws.permutation(count)
        partner = torch.from_numpy(np.roll(order, 1)[np.argsort(order)]).to(x.device)  # never the segment itself
        between = self.options.mixing == "between-class"
        share = draws.random(count) if between else draws.beta(0.4, 0.4, count)
        share = np.where(draws.random(count) < self.options.mixing_share, share, 1.0)
        r = torch.from_numpy(share.astype(np.float32)).to(x.device)[:, None]
        other = x[partner]
        mixed_labels = labels * r + labels[partner] * (1 - r)
        if not between:
            return x * r + other * (1 - r), mixed_labels
        # p is chosen so that the loudness of the two sounds has the ratio r; the sum keeps its energy.
        p = 1 / (1 + level_of(x) / level_of(other) * (1 - r) / r.clamp(min=1e-6))
        return (x * p + other * (1 - p)) / (p.square() + (1 - p).square()).sqrt(), mixed_labels


def level_of(x: Tensor) -> Tensor:
    """Root of the mean square over time: [batch, samples] -> [batch, 1]."""
    return x.square().mean(1, keepdim=True).sqrt_().clamp_(min=SMALLEST)


def resampled(x: Tensor, ratio: Tensor, length: int) -> Tensor:
    """Changes the speed of every row, about its centre, by cubic interpolation (Catmull-Rom).

    Args:
        x: [batch, samples].
        ratio: input samples per output sample, [batch, 1].
        length: samples of the result.
    """
    time = torch.arange(length, device=x.device, dtype=torch.float32) - (length - 1) / 2
    at = (time * ratio + (x.shape[1] - 1) / 2).clamp_(1, x.shape[1] - 3)
    index = at.long()
    t = at.sub_(index)
    a, b, c, d = (x.gather(1, index + k) for k in (-1, 0, 1, 2))
    # b + t/2 (c - a + t (2a - 5b + 4c - d + t (3(b - c) + d - a)))
    inner = (b - c).mul_(3).add_(d).sub_(a).mul_(t)
    inner.add_(a, alpha=2).sub_(b, alpha=5).add_(c, alpha=4).sub_(d).mul_(t).add_(c).sub_(a)
    return inner.mul_(t).mul_(0.5).add_(b)


def fast_length(samples: int) -> int:
    """The smallest length from `samples` on with no prime factor above 5, for which the Fourier transform is fast."""
    best, five = 2 ** (samples - 1).bit_length(), 1
    while five < best:
        three = five
        while three < best:
            two = three
            while two < samples:
                two *= 2
            best = min(best, two)
            three *= 3
        five *= 5
    return best
