"""Augmentation: random changes to training segments, in batches, on the training device; `draws` has the numbers.

A batch is read as crops of the clips (`Crops`), longer than needed if the speed is changed; everything else is applied
to whole batches of float32 waveforms in [-1, 1] (`Augmentation`).
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from samplecnn.audio import INT16_SCALE
from samplecnn.training.draws import CROPS, FILTER_BANDS, Draws, Picked, Position, drawn
from samplecnn.training.options import TrainOptions

if TYPE_CHECKING:
    from samplecnn.shards import Segments

MARGIN = 3  # samples around a position that the resampler reads
SMALLEST = 1e-6  # keeps the level of silence above zero


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

    def __call__(self, batch: np.ndarray, position: Position, picked: Picked | None = None) -> np.ndarray:
        """Crops around the segments `batch`, or those `picked` of them: [n, read_length], as stored.

        Outside the clips there are zeros.
        """
        picked = picked or Picked.whole(len(batch))
        rows = batch[picked.rows]
        window, length = self.segments.task.window, self.read_length
        total = self._count[rows] * window
        nominal = (rows - self._first[rows]) * window + (window - length) // 2
        lowest, highest = np.minimum(0, total - length), np.maximum(0, total - length)
        rng = position.generator(CROPS)
        fraction, offset = rng.random(len(batch))[picked.rows], rng.random(len(batch))[picked.rows]
        if self.options.crop:
            # The part of the clip that is nearer to this segment than to others; of a clip of one segment, all of it.
            reach = np.where(self._count[rows] > 1, window / 2, window)
            start = nominal + (2 * fraction - 1) * reach
            alone = self._count[rows] == 1
            start = np.where(alone, lowest + fraction * (highest - lowest), np.clip(start, lowest, highest))
        else:
            start = nominal
        start = np.rint(start + (2 * offset - 1) * self.options.shift * window).astype(np.int64)
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
        rate: of the waveforms, in Hz.
        background: float32 [samples], recordings to mix with segments; None: none.
    """

    def __init__(self, options: TrainOptions, length: int, rate: int, background: np.ndarray | None = None) -> None:
        self.options, self.length, self.rate = options, length, rate
        self.background = None if background is None else torch.from_numpy(np.ascontiguousarray(background))

    @property
    def background_starts(self) -> int:
        """Positions at which an excerpt of the background can begin."""
        return 0 if self.background is None else max(len(self.background) - self.length, 0) + 1

    def __call__(
        self, audio: Tensor, labels: Tensor, position: Position, picked: Picked | None = None
    ) -> tuple[Tensor, Tensor]:
        """Augmented waveforms and their labels, which mixing makes fractional.

        Args:
            audio: int16, or float32 in [-1, 1], [batch, samples]; more than `length` of them if the speed is changed.
            labels: float32 [batch, classes].
            position: of the batch; the same position gives the same result.
            picked: what `audio` and `labels` are of the batch; None: all of it. The result is the share alone.
        """
        options, picked = self.options, picked or Picked.whole(len(audio))
        draws, rows = drawn(options, position, picked.total, self.background_starts), picked.rows
        x = audio.float().mul_(1 / INT16_SCALE) if audio.dtype == torch.int16 else audio.clone()

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(values, np.float32)).to(x.device)[:, None]

        if draws.speed is not None:
            x = resampled(x, column(2 ** draws.speed[rows]), self.length)
        if draws.reverb is not None:
            x = self._reverberated(x, draws, picked)
        if draws.noisy is not None:
            x = self._filter_and_noise(x, draws, picked)
        if draws.background is not None:
            x = self._with_background(x, *(values[rows] for values in draws.background))
        if draws.mask is not None:
            width = options.mask * x.shape[1] * draws.mask[0][rows]
            begin = column(draws.mask[1][rows] * (x.shape[1] - width))
            at = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
            x.masked_fill_((at >= begin) & (at < begin + column(width)), 0)
        if draws.gain is not None and draws.sign is not None:
            x = x.mul_(column(10 ** (draws.gain[rows] / 20) * draws.sign[rows]))
        if draws.partner is not None:
            partner, share = (values[rows[: picked.own]] for values in draws.partner)
            x, labels = self._mixed(x, labels, torch.from_numpy(picked.local(partner)).to(x.device), column(share))
        return x, labels

    def _reverberated(self, x: Tensor, draws: Draws, picked: Picked) -> Tensor:
        """Sounds in random rooms, at their former level: echoes are Gaussian noise that decays exponentially.

        The model is that of J.-D. Polack (1988); the reverberation time is that of a decay by 60 dB.
        """
        assert draws.reverb is not None
        chosen, seconds, direct = draws.reverb
        rows, here, in_batch = _local(chosen, picked)
        if len(rows) == 0:
            return x
        some, tail = x[rows], max(round(self.options.reverb * self.rate), 1)

        def column(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values[in_batch[here]].astype(np.float32)).to(x.device)[:, None]

        noises = torch.Generator(x.device).manual_seed(draws.noise_seed + 1)  # another one than that of the noise
        echoes = torch.randn((len(in_batch), tail), generator=noises, device=x.device)[torch.from_numpy(here)]
        time = torch.arange(1, tail + 1, device=x.device, dtype=torch.float32) / self.rate
        echoes.mul_(torch.exp(time * (-3 * np.log(10) / column(seconds))))
        echoes.mul_(10 ** (-column(direct) / 20) / echoes.square().sum(1, keepdim=True).sqrt_())
        size = fast_length(x.shape[1] + tail)  # nothing wraps around
        spectrum = torch.fft.rfft(torch.nn.functional.pad(echoes, (1, 0)), size).add_(1)  # 1: the sound itself
        wet = torch.fft.irfft(torch.fft.rfft(some, size).mul_(spectrum), size)[:, : x.shape[1]]
        x[rows] = wet * (level_of(some) / level_of(wet))
        return x

    def _filter_and_noise(self, x: Tensor, draws: Draws, picked: Picked) -> Tensor:
        """A random frequency response and coloured noise, both in one pass through the spectrum."""
        options, samples = self.options, x.shape[1]
        assert draws.noisy is not None and draws.levels is not None and draws.slopes is not None
        assert draws.bands is not None
        rows, here, in_batch = _local(draws.noisy[0], picked)
        if len(rows) == 0:
            return x
        some, chosen = x[rows], in_batch[here]
        size = fast_length(samples)
        spectrum = torch.fft.rfft(some, size)
        bins = spectrum.shape[1]
        octaves = np.clip(FILTER_BANDS - 1 + np.log2(np.maximum(np.arange(bins), 1) / bins), 0, FILTER_BANDS - 1)
        if options.filter:
            low = np.minimum(octaves.astype(np.int64), FILTER_BANDS - 2)
            share = torch.from_numpy((octaves - low).astype(np.float32)).to(x.device)
            points = torch.from_numpy(draws.bands[chosen].astype(np.float32)).to(x.device)
            index = torch.from_numpy(low).to(x.device)
            decibels = torch.lerp(points[:, index], points[:, index + 1], share)
            spectrum.mul_(torch.exp(decibels * (np.log(10) / 20)))
        if options.noise:
            frequency = torch.arange(bins, device=x.device, dtype=torch.float32).clamp_(min=1)
            slope = torch.from_numpy(draws.slopes[chosen].astype(np.float32)).to(x.device)[:, None]
            shape = torch.exp(torch.log(frequency) * (-slope / 2))
            shape[:, 0] = 0
            noises = torch.Generator(x.device).manual_seed(draws.noise_seed)
            noise = torch.randn((len(in_batch), bins, 2), generator=noises, device=x.device)
            if not here.all():
                noise = noise[torch.from_numpy(here)]
            # By Parseval's theorem: the noise has the mean square sum(2 shape^2) * 2 / size^2 for unit normal numbers.
            power = 4 * shape.square().sum(1, keepdim=True) / size**2
            levels = (10 ** (-draws.levels[chosen] / 20) * draws.noisy[1][chosen]).astype(np.float32)
            wanted = level_of(some) * torch.from_numpy(levels).to(x.device)[:, None]
            spectrum.add_(torch.view_as_complex(noise).mul_(shape * (wanted / power.sqrt())))
        x[rows] = torch.fft.irfft(spectrum, size)[:, :samples]
        return x

    def _with_background(self, x: Tensor, starts: np.ndarray, decibels: np.ndarray, chosen: np.ndarray) -> Tensor:
        """Adds excerpts of the background recordings."""
        assert self.background is not None
        added = torch.stack([self.background[at : at + x.shape[1]] for at in starts]).to(x.device)
        factor = torch.from_numpy((10 ** (-decibels / 20) * chosen).astype(np.float32)).to(x.device)[:, None]
        return x.add_(added * (level_of(x) / level_of(added) * factor))

    def _mixed(self, x: Tensor, labels: Tensor, partner: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of two segments each. "between-class" weighs them by their loudness (Tokozume et al., ICLR 2018)."""
        own, other = x[: len(r)], x[partner]
        mixed_labels = labels[: len(r)] * r + labels[partner] * (1 - r)
        if self.options.mixing != "between-class":
            return own * r + other * (1 - r), mixed_labels
        # p is chosen so that the loudness of the two sounds has the ratio r; the sum keeps its energy.
        p = 1 / (1 + level_of(own) / level_of(other) * (1 - r) / r.clamp(min=1e-6))
        return (own * p + other * (1 - p)) / (p.square() + (1 - p).square()).sqrt(), mixed_labels


def _local(chosen: np.ndarray, picked: Picked) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Of the segments of a batch that are `chosen`: where those that are here lie, which these are, and all."""
    in_batch = np.flatnonzero(chosen)
    rows = picked.local(in_batch)
    return torch.from_numpy(rows[rows >= 0]), rows >= 0, in_batch


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
