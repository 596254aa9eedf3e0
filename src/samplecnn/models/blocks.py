"""The six building blocks (paper section II; the original's lib/model.py), and a relative of one of them.

A block is a function (channels, features, config) -> module and a line in `config.BLOCKS`. Every block takes
[batch, time, channels] to [batch, time // 3, features].
"""

import itertools
from functools import partial

from torch import Tensor, nn

from samplecnn.models.config import INNER_DROPOUT, ModelConfig
from samplecnn.models.layers import BatchNorm, Conv, Excitation, conv_norm, dropout, sum_pool


class BasicBlock(nn.Module):
    """conv 3, batch norm, ReLU, max-pool 3; with `excite` the result is scaled by its excitation."""

    def __init__(self, channels: int, features: int, config: ModelConfig, excite: bool) -> None:
        super().__init__()
        self.conv = Conv(channels, features)
        self.norm = BatchNorm(features)
        self.excitation = Excitation(features, config.amplifying_ratio) if excite else None

    def forward(self, x: Tensor) -> Tensor:
        return conv_norm(self.conv, self.norm, x, relu=True, pool=True, excitation=self.excitation)


class ResidualBlock(nn.Module):
    """One or two convolutions beside a shortcut, added, ReLU, max-pool 3; with `excite` the path is scaled first.

    Where the number of features changes, the shortcut is a convolution too, `shortcut` wide.
    """

    def __init__(
        self, channels: int, features: int, config: ModelConfig, convs: int, excite: bool, shortcut: int = 1
    ) -> None:
        super().__init__()
        widths = [channels] + [features] * convs
        self.convs = nn.ModuleList(Conv(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(BatchNorm(features) for _ in range(convs))
        self.excitation = Excitation(features, config.amplifying_ratio) if excite else None
        self.scut_conv = Conv(channels, features, width=shortcut) if channels != features else None
        self.scut_norm = BatchNorm(features) if channels != features else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.scut_conv is not None and self.scut_norm is not None:
            shortcut = conv_norm(self.scut_conv, self.scut_norm, x)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            if i > 0:
                x = dropout(x, INNER_DROPOUT, self.training)
            x = conv_norm(conv, norm, x, relu=i < len(self.convs) - 1)
        if self.excitation is not None:
            x = self.excitation(x)
        return sum_pool(x, shortcut)


basic = partial(BasicBlock, excite=False)
se = partial(BasicBlock, excite=True)
res1 = partial(ResidualBlock, convs=1, excite=False)
res2 = partial(ResidualBlock, convs=2, excite=False)
rese1 = partial(ResidualBlock, convs=1, excite=True)
rese2 = partial(ResidualBlock, convs=2, excite=True)
rese2_wide = partial(ResidualBlock, convs=2, excite=True, shortcut=3)
