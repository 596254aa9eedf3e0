"""A stage of the network as a torch module: a block, the stem or the tail, built from its `StageSpec`."""

import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn.models.config import FirstPadding
from samplecnn.models.layer_specs import StageSpec
from samplecnn.models.layers import BatchNorm, Conv, Excitation, FirstConv, conv_norm, dropout, sum_pool


class Stage(nn.Module):
    """Convolutions with batch norm and ReLU, pooling, excitation, shortcut: see `blocks.BlockSpec` for the order.

    Args:
        spec: what it is made of; its modules carry the names of the specification.
        padding: of a shortcut that reads the waveform.

    Shape:
        x [batch, time, channels] -> [batch, time // stride, features].
    """

    def __init__(self, spec: StageSpec, padding: FirstPadding = "same") -> None:
        super().__init__()
        self.spec = spec
        convs = [Conv(conv.channels, conv.features, conv.width, conv.stride) for conv in spec.convs]
        norms = [BatchNorm(conv.features) for conv in spec.convs]
        if spec.convs[0].name.endswith(".conv"):
            self.conv, self.norm = convs[0], norms[0]
        else:
            self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)
        self.excitation = None
        if spec.excitation is not None:
            self.excitation = Excitation(spec.excitation.features, spec.excitation.hidden)
        self.scut_conv: FirstConv | Conv | None = None
        self.scut_norm: BatchNorm | None = None
        if spec.shortcut is not None:
            self.scut_conv = _shortcut(spec, padding)
            self.scut_norm = BatchNorm(spec.features)

    def path(self) -> list[tuple[Conv, BatchNorm]]:
        """The convolutions of the path with their batch norms, first to last."""
        pairs = [(self.conv, self.norm)] if hasattr(self, "conv") else zip(self.convs, self.norms, strict=True)
        return [(conv, norm) for conv, norm in pairs if isinstance(conv, Conv) and isinstance(norm, BatchNorm)]

    def before(self, x: Tensor, number: int) -> Tensor:
        """The input of the path's convolution `number`, from the stage's input."""
        for conv, norm in self.path()[:number]:
            x = conv_norm(conv, norm, x, relu=True)
        return x

    def forward(self, x: Tensor, waveform: Tensor | None = None) -> Tensor:
        """x [batch, time, channels]; the waveform [batch, samples] for a shortcut that reads it."""
        spec, path, shortcut = self.spec, self.path(), x
        if self.scut_conv is not None and self.scut_norm is not None:
            shortcut = self._shortcut(self.scut_conv, self.scut_norm, x, waveform)
        for i, (conv, norm) in enumerate(path):
            if i > 0:
                x = dropout(x, spec.inner_dropout, self.training)
            if spec.residual or i < len(path) - 1:
                x = conv_norm(conv, norm, x, relu=spec.convs[i].relu)
            else:
                x = conv_norm(conv, norm, x, relu=True, pool=spec.pool, excitation=self.excitation)
        if not spec.residual:
            return x
        if self.excitation is not None:
            x = self.excitation(x)
        return F.relu(x + shortcut, inplace=True) if spec.pool == 1 else sum_pool(x, shortcut, spec.pool)

    def _shortcut(self, conv: FirstConv | Conv, norm: BatchNorm, x: Tensor, waveform: Tensor | None) -> Tensor:
        if not self.spec.shortcut_from_waveform:
            return conv_norm(conv, norm, x)
        assert waveform is not None
        shortcut: Tensor = norm(conv(waveform).to(x.dtype))
        return shortcut


def _shortcut(stage: StageSpec, padding: FirstPadding) -> FirstConv | Conv:
    conv = stage.shortcut
    assert conv is not None
    if stage.shortcut_from_waveform:
        return FirstConv(conv.features, padding, conv.width)
    return Conv(conv.channels, conv.features, conv.width, conv.stride)
