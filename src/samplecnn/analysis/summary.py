"""The layers of a network as a table: shapes, receptive fields, parameters, arithmetic, memory."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.models.layer_specs import ConvSpec, ExcitationSpec, StageSpec, layer_label
from samplecnn.models.spec import NetworkSpec

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN

FLOAT = 4  # bytes of a float32
NORM_VALUES = 4  # values of a batch norm per feature: gamma, beta, running mean and running variance
NORM_STATISTICS = 2  # running mean and running variance
SAMPLE_RATE = 22050  # Hz, for a model without a task


@dataclass(frozen=True)
class LayerSummary:
    """One row of the table.

    Args:
        name: name in the original's files; _pool, _ex (excitation) and _scut (shortcut) for layers without one.
        group: its block: conv0, stem, block3, tail, head.
        kind: convolution, log-mel, pool, excitation, sum, dense.
        time: time steps of the output; 1 after the global pooling.
        features: features of the output.
        kernel, stride: in time steps of the layer's input; None for dense layers and excitations.
        receptive_field, hop: samples that one step depends on, and samples from one step to the next; None if the layer
            depends on the whole input. For an excitation those of its input, without the factors.
        first: sample at which the receptive field of step 0 begins; negative if in the padding.
        parameters: number of parameters, including batch-norm statistics, as in Keras.
        statistics: number of batch-norm statistics among them, which are measured in training, not optimised.
        macs: multiply-accumulates of convolutions and dense layers, for one input.
        activation_bytes: size of the output for one input, float32.
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
    statistics: int = 0

    @property
    def trainable(self) -> int:
        """Trainable weights: what the original prints as the number of parameters."""
        return self.parameters - self.statistics


@dataclass(frozen=True)
class Summary:
    """All rows, for an input of `samples` at `sample_rate` (Hz)."""

    architecture: dict[str, Any]
    samples: int
    sample_rate: int
    classes: int
    layers: tuple[LayerSummary, ...]

    def milliseconds(self, samples: int) -> float:
        return 1000 * samples / self.sample_rate

    def macs_per_second(self, macs: int) -> float:
        """Multiply-accumulates per second of sound, from those for one input."""
        return macs * self.sample_rate / self.samples

    @property
    def ends(self) -> dict[str, LayerSummary]:
        """The last row of every group, the output of its block."""
        return {row.group: row for row in self.layers}

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the layers, and receptive field and hop before the head.

        `peak_activation_bytes` is the largest sum of two consecutive outputs, which inference must hold at a time.
        """
        sizes = [self.samples * FLOAT, *(row.activation_bytes for row in self.layers)]
        macs = sum(row.macs for row in self.layers)
        deepest = [row for row in self.layers if row.receptive_field is not None][-1]
        assert deepest.receptive_field is not None and deepest.hop is not None
        return {
            "parameters": sum(row.parameters for row in self.layers),
            "trainable": sum(row.trainable for row in self.layers),
            "statistics": sum(row.statistics for row in self.layers),
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
        """All values, for a JSON file."""

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


def summarize(model: "SampleCNN", samples: int | None = None, sample_rate: int | None = None) -> Summary:
    """Describes every layer of a network without running it.

    Args:
        model: any SampleCNN.
        samples: length of the input; default: the task's window, or for a model without a task the shortest input with
            one step after the last block.
        sample_rate: Hz; default: the task's, or 22,050.

    Raises:
        UsageError: an input too short for the network.

    Example:
        >>> from samplecnn import ModelConfig, SampleCNN
        >>> summarize(SampleCNN(ModelConfig(num_blocks=9)), 59049).totals["parameters"]
        2050386
    """
    task, config = model.task, model.config
    if samples is None:
        samples = task.window if task else model.spec.hop
    if samples < model.min_samples:
        raise UsageError(f"{samples} samples are too few: this model needs {model.min_samples} or more")
    return Summary(
        architecture=config.to_dict(),
        samples=samples,
        sample_rate=sample_rate or (task.sample_rate if task else SAMPLE_RATE),
        classes=config.num_classes,
        layers=tuple(_Rows(model.spec, samples)),
    )


class _Rows:
    """Rows from the waveform to the classes; `frames` and `receptive_field` are those of the previous layer."""

    def __init__(self, spec: NetworkSpec, samples: int) -> None:
        self.spec = spec
        self.frames = spec.first_frames(samples)
        self.receptive_field = spec.first_receptive_field(samples)
        self.group = layer_label(spec.first.name)

    def __iter__(self) -> Iterator[LayerSummary]:
        spec = self.spec
        if isinstance(spec.first, ConvSpec):
            yield self._conv(spec.first)
        else:
            counts = {"values": NORM_VALUES * spec.first.features, "statistics": NORM_STATISTICS * spec.first.features}
            shape = spec.first.features, spec.first.width, spec.first.stride
            yield self._row(spec.first.name, "log-mel", *shape, macs=spec.first.macs(self.frames), **counts)
        for stage in spec.stages:
            self.group = stage.label
            yield from self._stage(stage)
        self.group = "head"
        hidden, logit = spec.hidden, spec.logit
        yield self._dense("head_pool", hidden.inputs, 0, 0, "pool")
        values, statistics = hidden.weights + NORM_VALUES * hidden.outputs, NORM_STATISTICS * hidden.outputs
        yield self._dense(hidden.name, hidden.outputs, values, hidden.macs, statistics=statistics)
        yield self._dense(logit.name, logit.outputs, logit.weights, logit.macs)

    def _stage(self, stage: StageSpec) -> Iterator[LayerSummary]:
        """The shortcut, then the path, in the order in which they are computed."""
        start, frames, features = self.receptive_field, self.frames, stage.features
        if stage.shortcut is not None:
            if not stage.shortcut_from_waveform:
                self._see(stage.shortcut)
            yield self._conv(stage.shortcut, f"{self.group}_scut")
            self.receptive_field, self.frames = start, frames
        for conv in stage.convs:
            self._see(conv)
            yield self._conv(conv)
        excitation = [] if stage.excitation is None else [self._excitation(stage.excitation)]
        if stage.residual:
            yield from excitation
            if stage.pool == 1:
                yield self._row(f"{self.group}_sum", "sum", features)
        if stage.pool > 1:
            self.frames //= stage.pool
            self.receptive_field = self.receptive_field.pool(stage.pool)
            yield self._row(f"{self.group}_pool", "pool", features, stage.pool, stage.pool)
        if not stage.residual and stage.excitation is not None:
            yield self._excitation(stage.excitation)

    def _see(self, conv: ConvSpec) -> None:
        """Moves on to the frames of a convolution."""
        self.receptive_field = self.receptive_field.conv(conv.width, conv.stride)
        self.frames //= conv.stride

    def _row(
        self,
        name: str,
        kind: str,
        features: int,
        kernel: int | None = None,
        stride: int | None = None,
        values: int = 0,
        macs: int = 0,
        statistics: int = 0,
    ) -> LayerSummary:
        field, size = self.receptive_field, self.frames * features * FLOAT
        samples = field.size, field.hop, field.first
        shape = self.frames, features, kernel, stride
        return LayerSummary(name, self.group, kind, *shape, *samples, values, macs, size, statistics)

    def _conv(self, conv: ConvSpec, name: str | None = None) -> LayerSummary:
        values = conv.weights + NORM_VALUES * conv.features
        shape = conv.features, conv.width, conv.stride
        counts = values, conv.macs(self.frames), NORM_STATISTICS * conv.features
        return self._row(name or layer_label(conv.name), "convolution", *shape, *counts)

    def _excitation(self, excitation: ExcitationSpec) -> LayerSummary:
        values = {"values": excitation.weights, "macs": excitation.macs}
        return self._row(f"{self.group}_ex", "excitation", excitation.features, **values)

    def _dense(
        self, name: str, features: int, values: int, macs: int, kind: str = "dense", statistics: int = 0
    ) -> LayerSummary:
        size = features * FLOAT
        return LayerSummary(name, self.group, kind, 1, features, *(None,) * 5, values, macs, size, statistics)
