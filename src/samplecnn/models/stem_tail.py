"""What other programs' networks have at their two ends and the original's has not.

The stem makes the first convolution the first half of a residual block; the tail is one more layer between the last
block and the head, 1 wide and without pooling: at its place there is but one step of time left of a window.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn.models.config import WIDE, ModelConfig
from samplecnn.models.layers import BatchNorm, Conv, Excitation, FirstConv, conv_norm


class ResidualStem(nn.Module):
    """A second convolution, its excitation, and a shortcut straight from the waveform; added, ReLU, no pooling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = Conv(config.features, config.features)
        self.norm = BatchNorm(config.features)
        self.excitation = Excitation(config.features, config.amplifying_ratio)
        self.scut_conv = FirstConv(config.features, config.first_padding)
        self.scut_norm = BatchNorm(config.features)

    def forward(self, wave: Tensor, x: Tensor) -> Tensor:
        """The waveform [batch, samples] and what the first convolution made of it [batch, time, features]."""
        shortcut = self.scut_norm(self.scut_conv(wave).to(x.dtype))
        x = conv_norm(self.conv, self.norm, x)
        return F.relu(self.excitation(x) + shortcut, inplace=True)


class ConvTail(nn.Module):
    """conv 1, batch norm, ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = Conv(config.widths[-1], config.widths[-1], width=1)
        self.norm = BatchNorm(config.widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        return conv_norm(self.conv, self.norm, x, relu=True)


class ResidualTail(nn.Module):
    """Twice conv 1 and batch norm, scaled by the excitation, added to the input, ReLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.convs = nn.ModuleList(Conv(width, width, width=1) for _ in range(2))
        self.norms = nn.ModuleList(BatchNorm(width) for _ in range(2))
        self.excitation = Excitation(width, config.amplifying_ratio)

    def forward(self, x: Tensor) -> Tensor:
        path = conv_norm(self.convs[0], self.norms[0], x, relu=True)
        path = conv_norm(self.convs[1], self.norms[1], path)
        return F.relu(self.excitation(path) + x, inplace=True)


def stem_of(config: ModelConfig) -> nn.Module | None:
    return ResidualStem(config) if config.block == WIDE else None


def tail_of(config: ModelConfig) -> nn.Module | None:
    if not config.tail:
        return None
    return ResidualTail(config) if config.block == WIDE else ConvTail(config)
