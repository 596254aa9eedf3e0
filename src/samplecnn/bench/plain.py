"""SampleCNN in the plainest PyTorch, as its peers write it: [batch, channels, time], one layer after the other."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samplecnn.models import ModelConfig
from samplecnn.models.config import INNER_DROPOUT, MULTI_LEVELS


def _conv(channels: int, features: int, width: int = 3, stride: int = 1) -> nn.Sequential:
    padding = width // 2 if stride == 1 else 0
    conv = nn.Conv1d(channels, features, width, stride=stride, padding=padding)
    return nn.Sequential(conv, nn.BatchNorm1d(features, eps=1e-3, momentum=0.01))


class _Block(nn.Module):
    def __init__(self, channels: int, features: int, config: ModelConfig) -> None:
        super().__init__()
        self.residual = config.block.startswith("res")
        count = int(config.block[-1]) if self.residual else 1
        self.convs = nn.ModuleList(_conv(channels if i == 0 else features, features) for i in range(count))
        self.shortcut = _conv(channels, features, width=1) if self.residual and channels != features else nn.Identity()
        hidden = int(features * config.amplifying_ratio)
        dense = [nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features), nn.Sigmoid()]
        self.excitation = nn.Sequential(*dense) if "se" in config.block else None

    def forward(self, x: Tensor) -> Tensor:
        if not self.residual:
            return self.excited(F.max_pool1d(F.relu(self.convs[0](x)), 3))
        path = self.convs[0](x)
        for conv in list(self.convs)[1:]:
            path = conv(F.dropout(F.relu(path), INNER_DROPOUT, self.training))
        return F.max_pool1d(F.relu(self.excited(path) + self.shortcut(x)), 3)

    def excited(self, x: Tensor) -> Tensor:
        return x if self.excitation is None else x * self.excitation(x.mean(2)).unsqueeze(2)


class PlainSampleCNN(nn.Module):
    """The network of a `ModelConfig`; x [batch, samples] -> logits [batch, classes]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = [config.features, *config.widths]
        self.multi = config.multi
        self.first = _conv(1, config.features, stride=3)
        self.blocks = nn.ModuleList(_Block(a, b, config) for a, b in itertools.pairwise(widths))
        head = sum(widths[-MULTI_LEVELS:]) if config.multi else widths[-1]
        self.head = nn.Sequential(
            nn.Linear(head, head), nn.BatchNorm1d(head, eps=1e-3, momentum=0.01), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.logit = nn.Linear(head, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.unsqueeze(1)))
        levels = []
        for block in self.blocks:
            x = block(x)
            levels.append(x.amax(2))
        pooled = torch.cat(levels[-MULTI_LEVELS:], 1) if self.multi else levels[-1]
        return self.logit(self.head(pooled))
