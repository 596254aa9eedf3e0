"""The layers of a network as a table: shapes, what each step of time sees, parameters, arithmetic, memory."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from samplecnn.analysis.layers import Reach, first_reach
from samplecnn.errors import UsageError
from samplecnn.models import SampleCNN
from samplecnn.models.blocks import BasicBlock, ResidualBlock
from samplecnn.models.config import first_padding
from samplecnn.models.layers import BatchNorm, Conv, Excitation
from samplecnn.models.stem_tail import ConvTail, ResidualStem, ResidualTail

FLOAT = 4  # bytes of a float32
SAMPLE_RATE = 22050  # Hz, of a model that carries no task


@dataclass(frozen=True)
class LayerSummary:
    """A row.

    Args:
        name: as in the original's files, with _pool, _ex (excitation) and _scut (shortcut) for what has no file entry.
        group: the block that it belongs to: conv0, stem, block3, tail, head.
        kind: convolution, pool, excitation, sum, dense.
        time: steps of time of the output; 1 behind the global pooling.
        features: of the output.
        kernel, stride: in steps of the layer's own input; None for dense layers and excitations.
        receptive_field, hop: samples that one step sees, and samples from one step to the next; None where the layer
            looks at all of the input at once. Those of an excitation's output are the input's, but for the factors.
        first: sample at which the field of step 0 begins; below zero it begins in the padding.
        parameters: batch-norm statistics counted, as Keras counts them.
        macs: multiply-accumulates of convolutions and dense layers, for one input.
        activation_bytes: of the output for one input, float32.
    """

    name: str
    group: str
    kind: str
    time: int
    features: int
    kernel: int | None
    stride: int | None
    receptive_field: int | None
    hop: int | None
    first: int | None
    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """All rows, for inputs of `samples` at `sample_rate` (Hz)."""

    architecture: dict[str, Any]
    samples: int
    sample_rate: int
    classes: int
    layers: tuple[LayerSummary, ...]

    def milliseconds(self, samples: int) -> float:
        return 1000 * samples / self.sample_rate

    def macs_per_second(self, macs: int) -> float:
        """Of multiply-accumulates for one input: those for each second of sound."""
        return macs * self.sample_rate / self.samples

    @property
    def ends(self) -> dict[str, LayerSummary]:
        """The last row of every group: what leaves a block."""
        return {row.group: row for row in self.layers}

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the layers, and what the last step before the head sees.

        `peak_activation_bytes` is the largest output and the one before it together: what an inference must hold.
        """
        sizes = [self.samples * FLOAT, *(row.activation_bytes for row in self.layers)]
        macs = sum(row.macs for row in self.layers)
        deepest = [row for row in self.layers if row.receptive_field is not None][-1]
        assert deepest.receptive_field is not None and deepest.hop is not None
        return {
            "parameters": sum(row.parameters for row in self.layers),
            "parameter_bytes": FLOAT * sum(row.parameters for row in self.layers),
            "macs": macs,
            "macs_per_second": self.macs_per_second(macs),
            "activation_bytes": sum(sizes[1:]),
            "peak_activation_bytes": max(a + b for a, b in itertools.pairwise(sizes)),
            "receptive_field": deepest.receptive_field,
            "receptive_field_ms": self.milliseconds(deepest.receptive_field),
            "hop": deepest.hop,
            "hop_ms": self.milliseconds(deepest.hop),
        }

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""

        def row(layer: LayerSummary) -> dict[str, Any]:
            times = {
                f"{name}_ms": None if samples is None else self.milliseconds(samples)
                for name, samples in (("receptive_field", layer.receptive_field), ("hop", layer.hop))
            }
            return {**asdict(layer), **times, "macs_per_second": self.macs_per_second(layer.macs)}

        return {
            "architecture": self.architecture,
            "samples": self.samples,
            "sample_rate": self.sample_rate,
            "classes": self.classes,
            "layers": [row(layer) for layer in self.layers],
            "totals": self.totals,
        }


def summarize(model: SampleCNN, samples: int | None = None, sample_rate: int | None = None) -> Summary:
    """Describes every layer of a network without running it.

    Args:
        model: any SampleCNN.
        samples: length of the input; the task's window if not given, or for a model without a task the shortest input
            that fills every step.
        sample_rate: Hz; the task's if not given, or 22,050.

    Raises:
        UsageError: an input too short for the network.

    Example:
        >>> from samplecnn import ModelConfig, SampleCNN
        >>> summarize(SampleCNN(ModelConfig(num_blocks=9)), 59049).totals["parameters"]
        2050386
    """
    task, config = model.task, model.config
    if samples is None:
        samples = task.window if task else 3 ** (config.num_blocks + 1)
    if samples < model.min_samples:
        raise UsageError(f"{samples} samples are too few: this model needs {model.min_samples} or more")
    return Summary(
        architecture=config.to_dict(),
        samples=samples,
        sample_rate=sample_rate or (task.sample_rate if task else SAMPLE_RATE),
        classes=config.num_classes,
        layers=tuple(_Walk(model, samples).rows()),
    )


class _Walk:
    """Goes through a network from the waveform to the classes, keeping the length and the reach."""

    def __init__(self, model: SampleCNN, samples: int) -> None:
        self.model, self.samples = model, samples
        front, behind = first_padding(samples, model.config.first_padding)
        self.time = (samples + front + behind) // 3
        self.reach: Reach = first_reach(model, samples)
        self.group = "conv0"

    def rows(self) -> Iterator[LayerSummary]:
        model = self.model
        yield self._conv("conv0", model.conv0, model.norm0)
        stem = model.stem
        if isinstance(stem, ResidualStem):
            self.group = "stem"
            yield self._conv("stem_scut", stem.scut_conv, stem.scut_norm)
            self.reach = self.reach.conv()
            yield self._conv("stem_conv", stem.conv, stem.norm)
            yield self._excitation("stem_ex", stem.excitation)
            yield self._sum("stem_sum", stem.conv.out_channels)
        for number, block in enumerate(model.blocks):
            self.group = f"block{number}"
            yield from self._block(block)
        self.group = "tail"
        if isinstance(model.tail, ConvTail):
            yield self._conv("tail_conv", model.tail.conv, model.tail.norm)
        elif isinstance(model.tail, ResidualTail):
            yield from self._path(model.tail)
            yield self._sum("tail_sum", _width(model.tail))
        self.group = "head"
        width = model.final_fc.in_features
        yield self._dense("head_pool", width, 0, 0, "pool")
        yield self._dense("final_fc", width, _values(model.final_fc, model.final_norm), width * width)
        classes = model.logit.out_features
        yield self._dense("logit", classes, _values(model.logit), width * classes)

    def _block(self, block: nn.Module) -> Iterator[LayerSummary]:
        if isinstance(block, BasicBlock):
            self.reach = self.reach.conv()
            yield self._conv(f"{self.group}_conv", block.conv, block.norm)
            yield self._pool(block.conv.out_channels)
            if block.excitation is not None:
                yield self._excitation(f"{self.group}_ex", block.excitation)
        elif isinstance(block, ResidualBlock):
            if block.scut_conv is not None:
                before = self.reach
                self.reach = before.conv(block.scut_conv.kernel_size[0])
                yield self._conv(f"{self.group}_scut", block.scut_conv, block.scut_norm)
                self.reach = before
            yield from self._path(block)
            yield self._pool(_width(block))

    def _path(self, block: ResidualBlock | ResidualTail) -> Iterator[LayerSummary]:
        for index, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True)):
            assert isinstance(conv, Conv)
            self.reach = self.reach.conv(conv.kernel_size[0])
            yield self._conv(f"{self.group}_conv{index}", conv, norm)
        if block.excitation is not None:
            yield self._excitation(f"{self.group}_ex", block.excitation)

    def _row(
        self, name: str, kind: str, features: int, kernel: int | None, stride: int | None, values: int, macs: int
    ) -> LayerSummary:
        reach = self.reach
        size = self.time * features * FLOAT
        seen = (self.group, kind, self.time, features, kernel, stride, reach.field, reach.hop, reach.first)
        return LayerSummary(name, *seen, values, macs, size)

    def _conv(self, name: str, conv: nn.Conv1d, norm: nn.Module | None) -> LayerSummary:
        width, features = conv.kernel_size[0], conv.out_channels
        macs = self.time * width * conv.in_channels * features
        return self._row(name, "convolution", features, width, conv.stride[0], _values(conv, norm), macs)

    def _pool(self, features: int) -> LayerSummary:
        self.time //= 3
        self.reach = self.reach.pool()
        return self._row(f"{self.group}_pool", "pool", features, 3, 3, 0, 0)

    def _sum(self, name: str, features: int) -> LayerSummary:
        return self._row(name, "sum", features, None, None, 0, 0)

    def _excitation(self, name: str, module: Excitation) -> LayerSummary:
        macs = module.ex0.weight.numel() + module.ex1.weight.numel()
        return self._row(name, "excitation", module.ex1.out_features, None, None, _values(module), macs)

    def _dense(self, name: str, features: int, values: int, macs: int, kind: str = "dense") -> LayerSummary:
        seen = (None,) * 5
        return LayerSummary(name, self.group, kind, 1, features, *seen, values, macs, features * FLOAT)


def _width(block: ResidualBlock | ResidualTail) -> int:
    """Features that leave it."""
    last = block.norms[-1]
    assert isinstance(last, BatchNorm)
    return last.weight.numel()


def _values(*modules: nn.Module | None) -> int:
    """Parameters and batch-norm statistics."""
    present = [module for module in modules if module is not None]
    return sum(v.numel() for module in present for v in (*module.parameters(), *module.buffers()))
