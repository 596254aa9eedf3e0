"""The layers that a network is described by (`spec`): names, widths and counts, no weights and no PyTorch."""

import math
import re
from dataclasses import dataclass

from samplecnn.models.logmel import LogMel


@dataclass(frozen=True)
class ConvSpec:
    """A convolution over time with the batch norm behind it.

    Args:
        name, norm: paths of the two modules: "blocks.2.convs.0", "blocks.2.norms.0".
        channels, features: of input and output.
        width: frames of its input (samples for the first convolution) that one output frame sees.
        stride: frames of its input from one output frame to the next: 1; the width for a convolution on the waveform;
            what the block shortens its input by, where no pooling does.
        relu: whether a ReLU follows the batch norm.
    """

    name: str
    norm: str
    channels: int
    features: int
    width: int = 3
    stride: int = 1
    relu: bool = True

    @property
    def weights(self) -> int:
        """Values of the convolution itself, its biases counted."""
        return (self.width * self.channels + 1) * self.features

    def macs(self, frames: int) -> int:
        """Multiply-accumulates for as many output frames."""
        return frames * self.width * self.channels * self.features


@dataclass(frozen=True)
class LogMelSpec:
    """Log-mel frames in place of the first convolution, with a batch norm over the bands behind them."""

    logmel: LogMel
    name: str = "logmel"
    norm: str = "norm0"

    @property
    def features(self) -> int:
        return self.logmel.bands

    @property
    def width(self) -> int:
        """Samples of a frame."""
        return self.logmel.frame

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return self.logmel.hop

    @property
    def weights(self) -> int:
        """Values that are learnt, those of the batch norm not counted."""
        return 0

    def macs(self, frames: int) -> int:
        return frames * self.logmel.macs


@dataclass(frozen=True)
class ExcitationSpec:
    """Squeeze and excitation: a mean over time, a dense layer with ReLU to `hidden`, one with sigmoid back."""

    name: str
    features: int
    hidden: int

    @property
    def macs(self) -> int:
        return 2 * self.features * self.hidden

    @property
    def weights(self) -> int:
        return self.macs + self.features + self.hidden


@dataclass(frozen=True)
class StageSpec:
    """A block, or what stands before the blocks (stem) or behind them (tail). See `blocks.BlockSpec` for the order.

    Args:
        name: path of its module: "stem", "blocks.2", "tail".
        convs: of the path, first to last.
        residual: whether a shortcut is added to the path.
        shortcut: its convolution; None in a residual stage is the input itself.
        excitation: scales the features: behind the pooling, or in a residual stage behind the last convolution.
        pool: frames of the max-pooling; 1 is none, as in a block whose last convolution has a stride.
        inner_dropout: share of the values dropped between two convolutions in training.
        shortcut_from_waveform: whether the shortcut's convolution reads the waveform, as in a stem.
    """

    name: str
    convs: tuple[ConvSpec, ...]
    residual: bool = False
    shortcut: ConvSpec | None = None
    excitation: ExcitationSpec | None = None
    pool: int = 1
    inner_dropout: float = 0.0
    shortcut_from_waveform: bool = False

    @property
    def label(self) -> str:
        """Its name in files of the original: block2."""
        return layer_label(self.name)

    @property
    def features(self) -> int:
        return self.convs[-1].features

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """Those of the path, then the shortcut's."""
        return self.convs if self.shortcut is None else (*self.convs, self.shortcut)

    @property
    def stride(self) -> int:
        """Frames of its input from one frame of its output to the next."""
        return math.prod(conv.stride for conv in self.convs) * self.pool


@dataclass(frozen=True)
class DenseSpec:
    """A dense layer, and where there is one the batch norm behind it."""

    name: str
    inputs: int
    outputs: int
    norm: str | None = None

    @property
    def weights(self) -> int:
        return (self.inputs + 1) * self.outputs

    @property
    def macs(self) -> int:
        return self.inputs * self.outputs


def layer_label(path: str) -> str:
    """A module's path as the original's files name the layer.

    Example:
        >>> layer_label("blocks.2.convs.1"), layer_label("blocks.0.excitation.ex0")
        ('block2_conv1', 'block0_ex0')
    """
    path = re.sub(r"\b(block|conv|norm)s\.(\d+)", r"\1\2", path.replace("excitation.", ""))
    return path.replace(".", "_")
