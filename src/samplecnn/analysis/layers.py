"""The convolutions of a network in order, and the receptive field of each."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from samplecnn.models import SampleCNN
from samplecnn.models.layer_specs import layer_label
from samplecnn.models.layers import BatchNorm, Conv, FirstConv
from samplecnn.models.receptive_field import ReceptiveField


@dataclass(frozen=True)
class Layer:
    """A convolution whose filters can be visualized.

    Args:
        name: its name in the original's files: conv0, block3_conv, block3_conv1, stem_conv, tail_conv0.
        conv, norm: the convolution, and the batch norm after it.
        receptive_field: receptive field of its frames, for inputs without padding.
        before: (standardised waveform [batch, samples]) -> the convolution's input; no later layer is computed.
        min_samples: input length for one frame.
    """

    name: str
    conv: FirstConv | Conv
    norm: BatchNorm
    receptive_field: ReceptiveField
    before: Callable[[Tensor], Tensor]
    min_samples: int

    @property
    def filters(self) -> int:
        return self.conv.out_channels

    def response(self, wave: Tensor) -> Tensor:
        """[batch, samples] -> [batch, time, filters]: the convolution and its batch norm, before the ReLU."""
        return self.norm(self.conv(self.before(wave)))


def conv_layers(model: SampleCNN) -> list[Layer]:
    """All convolutions from the waveform to the last block, first to last, without shortcuts.

    With log-mel frames in its place, there is no first convolution.
    """
    spec = model.spec
    field = spec.first_receptive_field(spec.hop)
    layers = []
    if model.conv0 is not None:
        name = layer_label(spec.first.name)
        layers.append(Layer(name, model.conv0, model.norm0, field, lambda wave: wave, spec.first.width))
    for depth, stage in enumerate(model.stages):
        for number, (conv, (module, norm)) in enumerate(zip(stage.spec.convs, stage.path(), strict=True)):
            field = field.conv(conv.width, conv.stride)
            before = _before(model, depth, number)
            layers.append(Layer(layer_label(conv.name), module, norm, field, before, field.hop))
        field = field.pool(stage.spec.pool)
    return layers


def _before(model: SampleCNN, depth: int, number: int) -> Callable[[Tensor], Tensor]:
    """Computes the input of convolution `number` in stage `depth` from a waveform."""

    def run(wave: Tensor) -> Tensor:
        x = model.first(wave)
        for stage in model.stages[:depth]:
            x = stage(x, wave)
        return model.stages[depth].before(x, number)

    return run
