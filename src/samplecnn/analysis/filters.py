"""What every filter has learned to hear: the input that excites it most, found by gradient ascent, and its spectrum.

The method is that of Lee, Park, Kim, Nam (Sample-level Deep Convolutional Neural Networks, SMC 2017) and of Kim, Lee,
Nam (JSTSP 2019), in the sections on learned filters: start from noise, add the normalised gradient of a filter's mean
activation, look at the magnitude spectrum, order the filters by its peak. What is added here makes the spectra clean:

- A filter applied at every third sample (or 9th, 27th, ...) is excited most by a sound that repeats with just that
  period, which would put lines at multiples of rate / hop into every spectrum. So the input is moved against the grid
  of steps, by another offset each time, and the gradient is averaged over the last few offsets.
- Inputs keep an RMS of 1, as standardised sound has, and no mean, which no sound has either.
- The activation is the softplus of the standardised response rather than its ReLU: a filter that the noise leaves
  silent still has a gradient.
- Spectra are averaged over frames about as long as the filter can tell frequencies apart.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samplecnn.analysis.gradient_net import gradient_network
from samplecnn.analysis.layers import Layer, conv_layers
from samplecnn.analysis.summary import SAMPLE_RATE
from samplecnn.errors import UsageError
from samplecnn.hardware import dtype
from samplecnn.system.progress import Progress
from samplecnn.training.precision import training_precision

if TYPE_CHECKING:
    import pyarrow as pa

    from samplecnn.models import SampleCNN

GRID = 729  # samples of the Fourier transform: 365 bins, as the authors' pictures have
STEPS = 24
RATE, MOMENTUM = 3.0, 0.8  # of the ascent: found on a trained network, by how well two seeds agree
LONG = 2187  # samples that a layer of a small field gets, to average its spectrum over
LONGEST = 19683  # samples (0.9 s at 22,050 Hz) beyond which only a layer of a longer hop goes
SHORTEST_FRAME = 27
AT_ONCE = 300_000  # samples in a batch of filters
GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it, less their whole part, cover an interval evenly


@dataclass(frozen=True)
class LayerFilters:
    """The filters of one layer, in the model's order.

    Args:
        name: of the layer ("conv0", "block3_conv").
        hop, receptive_field: of one step of the layer, samples.
        waves: the inputs that were found, standardised, float32 [filters, samples].
        spectra: their magnitudes, each divided by its largest, float32 [filters, bins]; 0 for a dead filter.
        peak_hz: frequency of the largest, float64 [filters]; NaN for a dead filter, which no input has an effect on.
        activation: mean over time of the standardised, rectified response to the wave, float32 [filters]: in standard
            deviations of what the filter met in training.
    """

    name: str
    hop: int
    receptive_field: int
    waves: np.ndarray
    spectra: np.ndarray
    peak_hz: np.ndarray
    activation: np.ndarray

    def __len__(self) -> int:
        return len(self.waves)

    @property
    def order(self) -> np.ndarray:
        """The filters by rising peak frequency, dead ones last: int64 [filters]."""
        return np.argsort(self.peak_hz, kind="stable")

    @property
    def dead(self) -> int:
        return int(np.isnan(self.peak_hz).sum())


@dataclass(frozen=True)
class Filters:
    """All layers, first to last.

    Args:
        sample_rate: Hz.
        frequencies: of the bins of every spectrum, Hz, float64 [bins].
        layers: those that were looked at.
        taps: the first layer's own filters, float32 [features, 3].
        responses: magnitudes of their frequency responses, float32 [features, bins], as they are.
    """

    sample_rate: int
    frequencies: np.ndarray
    layers: tuple[LayerFilters, ...]
    taps: np.ndarray
    responses: np.ndarray

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.layers]

    def __getitem__(self, name: str) -> LayerFilters:
        return {layer.name: layer for layer in self.layers}[name]

    def table(self) -> "pa.Table":
        """A row for each filter: `layer`, `filter` (its number in the model), `rank` (place by peak frequency),
        `peak_hz`, `activation`, `spectrum` (list of `bins` float32). The metadata hold the sample rate; bin k lies at
        k * sample_rate / 729 Hz."""
        import pyarrow as pa

        bins = len(self.frequencies)
        columns: dict[str, list[Any]] = {"layer": [], "filter": [], "rank": [], "peak_hz": [], "activation": []}
        for layer in self.layers:
            columns["layer"] += [layer.name] * len(layer)
            columns["filter"] += range(len(layer))
            columns["rank"] += np.argsort(layer.order).tolist()
            columns["peak_hz"] += [None if math.isnan(peak) else peak for peak in layer.peak_hz.tolist()]
            columns["activation"] += layer.activation.tolist()
        types = [pa.string(), pa.int32(), pa.int32(), pa.float64(), pa.float32()]
        fields = [pa.field(name, type) for name, type in zip(columns, types, strict=True)]
        arrays = [pa.array(values, type) for values, type in zip(columns.values(), types, strict=True)]
        flat = np.concatenate([np.zeros(0, np.float32), *(layer.spectra.ravel() for layer in self.layers)])
        spectra = pa.FixedSizeListArray.from_arrays(pa.array(flat), bins)
        about = {"sample_rate": str(self.sample_rate), "fft_samples": str(GRID)}
        schema = pa.schema([*fields, pa.field("spectrum", spectra.type)], metadata=about)
        return pa.Table.from_arrays([*arrays, spectra], schema=schema)


def learn_filters(
    model: "SampleCNN",
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = False,
    layers: list[str] | None = None,
    precision: str = "auto",
) -> Filters:
    """Finds the input that excites each filter most, for every convolution on the way to the last block.

    Args:
        model: any SampleCNN; it is left as it is, and works on its device.
        steps: of gradient ascent.
        seed: of the noise. The same seed gives the same waves on the same machine.
        progress: shows a bar on stderr.
        layers: names, as `conv_layers` gives them; all if not given.
        precision: of the network's inner activations: fp32, bf16, or auto: bf16 where the hardware is built for it.

    Raises:
        UsageError: a layer that the model does not have, fewer than one step, an unknown precision.
    """
    if steps < 1:
        raise UsageError(f"steps must be 1 or more, not {steps}")
    device = next(model.parameters()).device
    frozen = gradient_network(model)
    frozen.compute_dtype = dtype(training_precision(precision, device))
    found = conv_layers(frozen)
    names = [layer.name for layer in found]
    for name in layers or ():
        if name not in names:
            raise UsageError(f"the model has no layer {name!r}; it has {', '.join(names)}")
    chosen = [(number, layer) for number, layer in enumerate(found) if layers is None or layer.name in layers]
    rate = model.task.sample_rate if model.task else SAMPLE_RATE
    frequencies = np.fft.rfftfreq(GRID, 1 / rate)
    work = sum(layer.filters * samples_for(layer) for _, layer in chosen) * steps
    with Progress(max(work // 1000, 1), "filters", "k samples") if progress else nullcontext() as bar:
        done = tuple(_learn(layer, steps, [seed, number], frequencies, bar, device) for number, layer in chosen)
    taps = model.conv0.weight.detach().float().cpu().numpy()[:, 0]
    return Filters(rate, frequencies, done, taps, np.abs(np.fft.rfft(taps, GRID)).astype(np.float32))


def samples_for(layer: Layer) -> int:
    """Samples of the input for a layer: its field, within bounds, in whole steps.

    A small field gets several times its length, so that its spectrum can be averaged over frames. The deepest layers
    get less than theirs: arithmetic grows with it, and a second is enough to tell frequencies.
    """
    field = layer.reach.field
    samples = max(GRID, min(9 * field, LONG), min(field, LONGEST))
    return -(-samples // layer.least) * layer.least


def _learn(
    layer: Layer, steps: int, seed: list[int], frequencies: np.ndarray, bar: Progress | None, device: torch.device
) -> LayerFilters:
    samples = samples_for(layer)
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((layer.filters, samples), np.float32)
    waves, activation = np.empty_like(noise), np.empty(layer.filters, np.float32)
    alive = np.empty(layer.filters, bool)
    batch = max(1, AT_ONCE // samples)
    spent = 0
    for start in range(0, layer.filters, batch):
        part = slice(start, min(start + batch, layer.filters))
        if bar:
            bar.advance(0, note=f"{layer.name}, {layer.filters} filters")
        ascent = Ascent(layer, torch.arange(part.start, part.stop, device=device))
        wave = standard(torch.from_numpy(noise[part]).to(device))
        for step in range(steps):
            wave = ascent.step(wave, step)
            if bar:
                spent += wave.numel()
                bar.advance(spent // 1000)
                spent %= 1000
        waves[part] = wave.cpu().numpy()
        activation[part] = ascent.standardised(wave).relu().mean(1).cpu().numpy()
        alive[part] = ascent.alive.cpu().numpy()
    spectra = np.where(alive[:, None], spectra_of(waves, layer.reach.field), 0).astype(np.float32)
    peaks = np.where(alive, frequencies[1 + spectra[:, 1:].argmax(axis=1)], np.nan)
    return LayerFilters(layer.name, layer.reach.hop, layer.reach.field, waves, spectra, peaks, activation)


def standard(wave: Tensor) -> Tensor:
    """Rows [batch, samples] without their mean, and of RMS 1."""
    wave = wave - wave.mean(1, keepdim=True)
    return wave / wave.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)


class Ascent:
    """Gradient ascent for a batch of one layer's filters, each with an input of its own."""

    def __init__(self, layer: Layer, filters: Tensor) -> None:
        self.layer, self.filters = layer, filters
        self.scale = layer.norm.weight[filters, None]
        self.shift = layer.norm.bias[filters, None]
        self.velocity: Tensor | None = None
        self.alive = torch.zeros(len(filters), dtype=torch.bool, device=filters.device)

    def standardised(self, wave: Tensor) -> Tensor:
        """Each filter's response to its own row, [batch, samples] -> [batch, time], as if batch norm had gamma 1 and
        beta 0, turned over where gamma is negative: the ReLU lets through what lies on its side."""
        response = self.layer.response(wave).float()[torch.arange(len(wave)), :, self.filters]
        return (response - self.shift) / self.scale.abs().clamp_min(1e-6)

    def step(self, wave: Tensor, number: int) -> Tensor:
        """One step for inputs [batch, samples] of RMS 1; `number` says how far they are moved against the grid."""
        offset = int((number + 1) * GOLDEN % 1 * self.layer.reach.hop)
        moved = wave.roll(-offset, 1).requires_grad_(True)
        activation = F.softplus(self.standardised(moved)).mean(1).sum()
        gradient = torch.autograd.grad(activation, moved)[0].roll(offset, 1)
        size = gradient.square().mean(1, keepdim=True).sqrt()
        self.alive |= size[:, 0] > 0
        gradient = gradient / size.clamp_min(1e-20)
        self.velocity = gradient if self.velocity is None else MOMENTUM * self.velocity + gradient
        return standard(wave + RATE * (1 - MOMENTUM) * self.velocity)


def spectra_of(waves: np.ndarray, field: int) -> np.ndarray:
    """Magnitude spectra of float [filters, samples], each divided by its largest: float32 [filters, bins].

    Mean power over half-overlapping Hann windows of three times the receptive field (samples): a filter cannot tell
    frequencies apart more finely, and what a longer frame would show is the noise that the ascent began with.
    """
    frame = min(max(SHORTEST_FRAME, 3 * field), GRID, waves.shape[1])
    window = np.hanning(frame + 2)[1:-1].astype(np.float32)
    starts = range(0, waves.shape[1] - frame + 1, max(frame // 2, 1))
    power = np.zeros((len(waves), GRID // 2 + 1))
    for start in starts:
        power += np.abs(np.fft.rfft(waves[:, start : start + frame] * window, GRID)) ** 2
    magnitude = np.sqrt(power)
    largest = magnitude[:, 1:].max(axis=1, keepdims=True)
    return np.minimum(magnitude / np.where(largest > 0, largest, 1), 1).astype(np.float32)
