"""Filter visualisation: the input that excites each filter most, found by gradient ascent, and its spectrum.

The method is that of Lee, Park, Kim, Nam (Sample-level Deep Convolutional Neural Networks, SMC 2017) and of Kim, Lee,
Nam (IEEE JSTSP 2019), in their sections on learned filters: start from noise, add the normalised gradient of a filter's
mean activation, take the magnitude spectrum, order the filters by its peak. Four changes make the spectra clean:

- A filter applied at every third sample (or 9th, 27th, ...) responds most to a signal with exactly that period, which
  would put lines at multiples of rate / hop into every spectrum. The input is therefore shifted against the grid of
  time steps, by a different offset in each step, and the gradient is averaged over the last few offsets.
- Inputs are kept at an RMS of 1, like standardised sound, and at zero mean, like sound.
- The activation is the softplus of the standardised response rather than its ReLU, so that a filter that the initial
  noise does not activate still has a gradient.
- Spectra are averaged over frames that are no longer than the filter's frequency resolution requires.
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

FFT = 729  # samples of the Fourier transform: 365 bins, as in the figures of the papers
STEPS = 24
RATE, MOMENTUM = 3.0, 0.8  # step size and momentum, chosen on a trained network by the agreement of two seeds
AVERAGED_SAMPLES = 2187  # input length for layers with a small receptive field, whose spectrum is averaged over it
MAX_SAMPLES = 19683  # input length (0.9 s at 22,050 Hz), unless a layer's hop is longer
MIN_FRAME = 27  # samples
BATCH_SAMPLES = 300_000  # total length of the inputs that are optimised together
GOLDEN = (math.sqrt(5) - 1) / 2  # the fractional parts of its multiples cover an interval evenly


@dataclass(frozen=True)
class LayerFilters:
    """The filters of one layer, in the model's order.

    Args:
        name: the layer ("conv0", "block3_conv").
        hop, receptive_field: hop and receptive field of its time steps, in samples.
        waves: the optimised inputs, standardised, float32 [filters, samples].
        spectra: their magnitudes, each divided by its maximum, float32 [filters, bins]; 0 for a dead filter.
        peak_hz: frequency of the maximum, float64 [filters]; NaN for a dead filter, on which no input has an effect.
        activation: mean over time of the standardised, rectified response to the wave, float32 [filters], in standard
            deviations of the filter's responses in training.
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
        """Indices of the filters by rising peak frequency, dead ones last: int64 [filters]."""
        return np.argsort(self.peak_hz, kind="stable")

    @property
    def dead(self) -> int:
        return int(np.isnan(self.peak_hz).sum())


@dataclass(frozen=True)
class Filters:
    """All layers, first to last.

    Args:
        sample_rate: Hz.
        frequencies: frequencies of the spectra's bins, Hz, float64 [bins].
        layers: the layers analysed.
        taps: weights of the first layer's filters, float32 [features, 3]; [0, 1] where log-mel frames are in its place.
        responses: magnitudes of their frequency responses, float32 [features, bins], not normalised.
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
        """One row per filter: `layer`, `filter` (its index in the model), `rank` (by peak frequency), `peak_hz`,
        `activation`, `spectrum` (list of `bins` float32). The metadata contain the sample rate; the frequency of bin k
        is k * sample_rate / 729 Hz."""
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
        about = {"sample_rate": str(self.sample_rate), "fft_samples": str(FFT)}
        schema = pa.schema([*fields, pa.field("spectrum", spectra.type)], metadata=about)
        return pa.Table.from_arrays([*arrays, spectra], schema=schema)


def learn_filters(
    model: "SampleCNN",
    *,
    steps: int = STEPS,
    seed: int = 0,
    layers: list[str] | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> Filters:
    """Finds the input that excites each filter most, for every convolution up to the last block except shortcuts.

    Args:
        model: any SampleCNN; it is not changed, and runs on its device.
        steps: number of steps of gradient ascent.
        seed: seed of the initial noise. The same seed gives the same waves on the same machine.
        layers: names such as "conv0" or "block3_conv"; None for all.
        precision: precision of the activations: "fp32", "bf16", or "auto" for bf16 if the hardware has units for it.
        progress: shows a bar on stderr.

    Raises:
        UsageError: an unknown layer, fewer than one step, an unknown precision.

    Example:
        >>> from samplecnn import ModelConfig, SampleCNN
        >>> model = SampleCNN(ModelConfig(num_blocks=2, features=8, num_classes=2))
        >>> learn_filters(model, steps=1, layers=["conv0"]).layers[0].spectra.shape
        (8, 365)
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
    selected = [(number, layer) for number, layer in enumerate(found) if layers is None or layer.name in layers]
    rate = model.task.sample_rate if model.task else SAMPLE_RATE
    frequencies = np.fft.rfftfreq(FFT, 1 / rate)
    work = sum(layer.filters * samples_for(layer) for _, layer in selected) * steps
    with Progress(max(work // 1000, 1), "filters", "k samples") if progress else nullcontext() as bar:
        done = tuple(_learn(layer, steps, [seed, number], frequencies, bar, device) for number, layer in selected)
    taps = np.zeros((0, 1), np.float32)
    if model.conv0 is not None:
        taps = model.conv0.weight.detach().float().cpu().numpy()[:, 0]
    return Filters(rate, frequencies, done, taps, np.abs(np.fft.rfft(taps, FFT)).astype(np.float32))


def samples_for(layer: Layer) -> int:
    """Input length for a layer, in samples: its receptive field, within bounds, rounded up to whole steps.

    A small field gets an input several times as long, so that its spectrum can be averaged over frames. The deepest
    layers get less than their field: the cost grows with the length, and one second resolves the frequencies.
    """
    field = layer.receptive_field.size
    samples = max(FFT, min(9 * field, AVERAGED_SAMPLES), min(field, MAX_SAMPLES))
    return -(-samples // layer.min_samples) * layer.min_samples


def _learn(
    layer: Layer, steps: int, seed: list[int], frequencies: np.ndarray, bar: Progress | None, device: torch.device
) -> LayerFilters:
    samples = samples_for(layer)
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((layer.filters, samples), np.float32)
    waves, activation = np.empty_like(noise), np.empty(layer.filters, np.float32)
    alive = np.empty(layer.filters, bool)
    batch = max(1, BATCH_SAMPLES // samples)
    spent = 0
    for start in range(0, layer.filters, batch):
        part = slice(start, min(start + batch, layer.filters))
        if bar:
            bar.advance(0, note=f"{layer.name}, {layer.filters} filters")
        ascent = Ascent(layer, torch.arange(part.start, part.stop, device=device))
        wave = normalised(torch.from_numpy(noise[part]).to(device))
        for step in range(steps):
            wave = ascent.step(wave, step)
            if bar:
                spent += wave.numel()
                bar.advance(spent // 1000)
                spent %= 1000
        waves[part] = wave.cpu().numpy()
        activation[part] = ascent.standardised(wave).relu().mean(1).cpu().numpy()
        alive[part] = ascent.alive.cpu().numpy()
    spectra = np.where(alive[:, None], spectra_of(waves, layer.receptive_field.size), 0).astype(np.float32)
    peaks = np.where(alive, frequencies[1 + spectra[:, 1:].argmax(axis=1)], np.nan)
    field = layer.receptive_field
    return LayerFilters(layer.name, field.hop, field.size, waves, spectra, peaks, activation)


def normalised(wave: Tensor) -> Tensor:
    """Rows [batch, samples] scaled to zero mean and an RMS of 1."""
    wave = wave - wave.mean(1, keepdim=True)
    return wave / wave.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12)


class Ascent:
    """Gradient ascent for a batch of one layer's filters, with one input for each."""

    def __init__(self, layer: Layer, filters: Tensor) -> None:
        self.layer, self.filters = layer, filters
        self.scale = layer.norm.weight[filters, None]
        self.shift = layer.norm.bias[filters, None]
        self.velocity: Tensor | None = None
        self.alive = torch.zeros(len(filters), dtype=torch.bool, device=filters.device)

    def standardised(self, wave: Tensor) -> Tensor:
        """Each filter's response to its own row, [batch, samples] -> [batch, time], as if batch norm had gamma 1 and
        beta 0, with the sign of gamma: the ReLU passes what is positive after batch norm."""
        response = self.layer.response(wave).float()[torch.arange(len(wave)), :, self.filters]
        return (response - self.shift) / self.scale.abs().clamp_min(1e-6)

    def step(self, wave: Tensor, number: int) -> Tensor:
        """One step for inputs [batch, samples] of RMS 1; its `number` determines the shift against the grid."""
        offset = int((number + 1) * GOLDEN % 1 * self.layer.receptive_field.hop)
        shifted = wave.roll(-offset, 1).requires_grad_(True)
        activation = F.softplus(self.standardised(shifted)).mean(1).sum()
        gradient = torch.autograd.grad(activation, shifted)[0].roll(offset, 1)
        size = gradient.square().mean(1, keepdim=True).sqrt()
        self.alive |= size[:, 0] > 0
        gradient = gradient / size.clamp_min(1e-20)
        self.velocity = gradient if self.velocity is None else MOMENTUM * self.velocity + gradient
        return normalised(wave + RATE * (1 - MOMENTUM) * self.velocity)


def spectra_of(waves: np.ndarray, field: int) -> np.ndarray:
    """Magnitude spectra, each divided by its maximum: Welch's method with half-overlapping Hann windows.

    Windows are three times the receptive field long: a filter resolves frequencies no finer, and a longer window would
    only show the noise that the ascent began with.

    Args:
        waves: float [filters, samples].
        field: receptive field, samples.

    Returns:
        float32 [filters, bins].
    """
    frame = min(max(MIN_FRAME, 3 * field), FFT, waves.shape[1])
    window = np.hanning(frame + 2)[1:-1].astype(np.float32)
    starts = range(0, waves.shape[1] - frame + 1, max(frame // 2, 1))
    power = np.zeros((len(waves), FFT // 2 + 1))
    for start in starts:
        power += np.abs(np.fft.rfft(waves[:, start : start + frame] * window, FFT)) ** 2
    magnitude = np.sqrt(power)
    largest = magnitude[:, 1:].max(axis=1, keepdims=True)
    return np.minimum(magnitude / np.where(largest > 0, largest, 1), 1).astype(np.float32)
