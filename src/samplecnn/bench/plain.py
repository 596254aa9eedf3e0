"""SampleCNN in plain PyTorch as it is usually written: [batch, channels, time], layer by layer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn.errors import UsageError
from samplecnn.models.config import ModelConfig
from samplecnn.models.layer_specs import ConvSpec, StageSpec
from samplecnn.models.receptive_field import same_padding
from samplecnn.models.spec import network_spec


def _conv(spec: ConvSpec) -> nn.Sequential:
    conv = nn.Conv1d(spec.channels, spec.features, spec.width, stride=spec.stride)
    padding = same_padding(spec.width, spec.stride)
    norm = nn.BatchNorm1d(spec.features, eps=1e-3, momentum=0.01)
    if padding[0] == padding[1]:
        conv.padding = (padding[0],)
        return nn.Sequential(conv, norm)
    return nn.Sequential(nn.ConstantPad1d(padding, 0.0), conv, norm)


class _Stage(nn.Module):
    def __init__(self, spec: StageSpec) -> None:
        super().__init__()
        self.spec = spec
        self.convs = nn.ModuleList(_conv(conv) for conv in spec.convs)
        self.shortcut = nn.Identity() if spec.shortcut is None else _conv(spec.shortcut)
        self.excitation = None
        if spec.excitation is not None:
            features, hidden = spec.excitation.features, spec.excitation.hidden
            dense = [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features), nn.Sigmoid()]
            self.excitation = nn.Sequential(*dense)

    def forward(self, x: Tensor) -> Tensor:
        path = x
        for i, (spec, conv) in enumerate(zip(self.spec.convs, self.convs, strict=True)):
            path = conv(F.dropout(path, self.spec.inner_dropout, self.training) if i > 0 else path)
            path = F.relu(path) if spec.relu else path
        if not self.spec.residual:
            return self.excited(F.max_pool1d(path, self.spec.pool))
        return F.max_pool1d(F.relu(self.excited(path) + self.shortcut(x)), self.spec.pool)

    def excited(self, x: Tensor) -> Tensor:
        return x if self.excitation is None else x * self.excitation(x.mean(2)).unsqueeze(2)


class PlainSampleCNN(nn.Module):
    """The network of a `ModelConfig` without stem and tail; x [batch, samples] -> logits [batch, classes]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        spec = network_spec(config)
        self.levels = spec.levels
        if not isinstance(spec.first, ConvSpec):
            raise UsageError("the plain network begins with a convolution, not with log-mel frames")
        self.first = _conv(spec.first)
        self.blocks = nn.ModuleList(_Stage(stage) for stage in spec.blocks)
        width = spec.hidden.outputs
        norm = nn.BatchNorm1d(width, eps=1e-3, momentum=0.01)
        self.head = nn.Sequential(nn.Linear(spec.hidden.inputs, width), norm, nn.ReLU(), nn.Dropout(spec.dropout))
        self.logit = nn.Linear(spec.logit.inputs, spec.logit.outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.unsqueeze(1)))
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x.amax(2))
        pooled = torch.cat(levels[-self.levels :], 1) if self.levels > 1 else levels[-1]
        return self.logit(self.head(pooled))
