"""The convolutions of a network in order, and how far each of them reaches into the waveform."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from samplecnn.models import SampleCNN
from samplecnn.models.blocks import BasicBlock, ResidualBlock
from samplecnn.models.config import first_padding
from samplecnn.models.layers import BatchNorm, Conv, FirstConv
from samplecnn.models.stem_tail import ConvTail, ResidualStem, ResidualTail


@dataclass(frozen=True)
class Reach:
    """What a layer's steps of time see of the waveform: step n sees samples first + n * hop to first + n * hop + field.

    Args:
        field: samples that one step sees (the receptive field).
        hop: samples from one step to the next.
        first: sample at which the field of step 0 begins; below zero it begins in the padding.
    """

    field: int
    hop: int
    first: int

    def conv(self, width: int = 3) -> "Reach":
        """Behind a convolution of that width that keeps the length."""
        return Reach(self.field + (width - 1) * self.hop, self.hop, self.first - width // 2 * self.hop)

    def pool(self) -> "Reach":
        """Behind a pooling by threes."""
        return Reach(self.field + 2 * self.hop, 3 * self.hop, self.first)


def first_reach(model: SampleCNN, samples: int) -> Reach:
    """Behind the first convolution, which takes the samples by threes; its padding may depend on their number."""
    return Reach(3, 3, -first_padding(samples, model.config.first_padding)[0])


@dataclass(frozen=True)
class Layer:
    """A convolution whose filters can be looked at.

    Args:
        name: as in the original's files: conv0, block3_conv, block3_conv1, stem_conv, tail_conv0.
        conv, norm: the convolution, and the batch norm behind it.
        reach: of its steps of time, for the padding of a whole number of threes.
        before: (standardised waveform [batch, samples]) -> the convolution's input; nothing behind it is computed.
        least: samples that give it one step of time.
    """

    name: str
    conv: FirstConv | Conv
    norm: BatchNorm
    reach: Reach
    before: Callable[[Tensor], Tensor]
    least: int

    @property
    def filters(self) -> int:
        return self.conv.out_channels

    def response(self, wave: Tensor) -> Tensor:
        """[batch, samples] -> [batch, time, filters]: the convolution and its batch norm, before the ReLU."""
        return self.norm(self.conv(self.before(wave)))


def conv_layers(model: SampleCNN) -> list[Layer]:
    """All convolutions on the way from the waveform to the last block, first to last; shortcuts are left out."""
    reach = first_reach(model, 3)
    layers = [Layer("conv0", model.conv0, model.norm0, reach, lambda wave: wave, 3)]

    def add(name: str, conv: Conv, norm: BatchNorm, reach: Reach, before: Callable[[Tensor], Tensor]) -> None:
        layers.append(Layer(name, conv, norm, reach, before, reach.hop))

    def after_stem(wave: Tensor) -> Tensor:
        first = model.first(wave)
        return first if model.stem is None else model.stem(wave, first)

    def after(blocks: int) -> Callable[[Tensor], Tensor]:
        def run(wave: Tensor) -> Tensor:
            x = after_stem(wave)
            for block in model.blocks[:blocks]:
                x = block(x)
            return x

        return run

    if isinstance(model.stem, ResidualStem):
        reach = reach.conv()
        add("stem_conv", model.stem.conv, model.stem.norm, reach, model.first)
    for number, block in enumerate(model.blocks):
        before = after(number)
        if isinstance(block, BasicBlock):
            reach = reach.conv()
            add(f"block{number}_conv", block.conv, block.norm, reach, before)
        elif isinstance(block, ResidualBlock):
            reach = _add_path(f"block{number}", block, reach, before, add)
        reach = reach.pool()
    before = after(len(model.blocks))
    if isinstance(model.tail, ConvTail):
        add("tail_conv", model.tail.conv, model.tail.norm, reach, before)
    elif isinstance(model.tail, ResidualTail):
        _add_path("tail", model.tail, reach, before, add)
    return layers


def _add_path(
    name: str,
    block: ResidualBlock | ResidualTail,
    reach: Reach,
    before: Callable[[Tensor], Tensor],
    add: Callable[..., None],
) -> Reach:
    """The convolutions of a residual path, with batch norm and ReLU between them."""
    for index, (conv, norm) in enumerate(zip(block.convs, block.norms, strict=True)):
        assert isinstance(conv, Conv) and isinstance(norm, BatchNorm)
        reach = reach.conv(conv.kernel_size[0])
        add(f"{name}_conv{index}", conv, norm, reach, before)
        before = _then(before, conv, norm)
    return reach


def _then(before: Callable[[Tensor], Tensor], conv: Conv, norm: BatchNorm) -> Callable[[Tensor], Tensor]:
    return lambda wave: norm(conv(before(wave)), relu=True)
