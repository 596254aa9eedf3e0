"""Plain re-creations of other programs' networks in ordinary 1-D layers, with the same keys in their state dicts.

Each takes [batch, samples] and returns probabilities [batch, classes] as those programs do; CLMR's return logits.
"""

import itertools
from pathlib import Path

import torch
from torch import nn

WINDOW, SMALL = 729, {"features": 8, "blocks": 5}  # samples, and the sizes of a small network
TOP = 32  # features of its last block


def trained(net: nn.Module, window: int = 59049, seed: int = 0) -> nn.Module:
    """Gives a network values like those of a trained one: batch norms with the statistics of their inputs.

    In every layer a few features are almost zero: their variance is far below any epsilon, so the epsilon matters.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            gain = 2.0 if isinstance(module, nn.Conv1d) else 0.5
            module.weight.data.normal_(0, (gain / module.weight[0].numel()) ** 0.5, generator=generator)
            if module.bias is not None:
                module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        if isinstance(module, nn.Conv1d):
            almost_zero = torch.tensor([1e-2, 1e-3, 1e-4])
            module.weight.data[:3] *= almost_zero[:, None, None]
            module.bias.data[:3] *= almost_zero
        if isinstance(module, nn.BatchNorm1d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.3, 0.3, generator=generator)
            module.momentum = 1.0  # the last batch's statistics are kept
    with torch.no_grad():
        net.train()(sounds(6, window, seed))
    return net.eval()


def sounds(count: int, window: int = 59049, seed: int = 1) -> torch.Tensor:
    """Tones in noise, of various pitches and levels: [count, window], within about ±1."""
    generator = torch.Generator().manual_seed(seed)
    pitch, tone, noise = (torch.rand(count, 1, generator=generator) for _ in range(3))
    wave = torch.sin(torch.arange(window) * (0.01 + 2 * pitch**2))
    return 0.5 * tone * wave + 0.2 * noise * torch.randn(count, window, generator=generator)


def widths_of(features: int, blocks: int) -> list[int]:
    widths = [features]
    for i in range(blocks):
        widths.append(widths[-1] * (2 if i in (2, blocks - 1) else 1))
    return widths


# minzwon/sota-music-tagging-models ------------------------------------------------------------------------------------


class SotaLayer(nn.Module):
    def __init__(self, channels, features, width, stride, pool):
        super().__init__()
        self.conv = nn.Conv1d(channels, features, width, stride=stride, padding=width // 2)
        self.bn = nn.BatchNorm1d(features)
        self.pool = pool

    def forward(self, x):
        return nn.functional.max_pool1d(torch.relu(self.bn(self.conv(x))), self.pool)


class SotaPlain(nn.Module):
    def __init__(self, features=128, blocks=9, classes=50):
        super().__init__()
        widths = widths_of(features, blocks)
        self.layer1 = SotaLayer(1, features, 3, 3, 1)
        for i in range(blocks):
            setattr(self, f"layer{i + 2}", SotaLayer(widths[i], widths[i + 1], 3, 1, 3))
        setattr(self, f"layer{blocks + 2}", SotaLayer(widths[-1], widths[-1], 1, 1, 1))
        self.dense = nn.Linear(widths[-1], classes)
        self.layers = blocks + 2

    def forward(self, x):
        x = x[:, None]
        for i in range(self.layers):
            x = getattr(self, f"layer{i + 1}")(x)
        return torch.sigmoid(self.dense(x.squeeze(-1)))


class SotaBlock(nn.Module):
    def __init__(self, channels, features, width, stride, pool):
        super().__init__()

        def conv(a, by=1):
            return nn.Conv1d(a, features, width, stride=by, padding=width // 2)

        self.conv_1, self.bn_1 = conv(channels, stride), nn.BatchNorm1d(features)
        self.conv_2, self.bn_2 = conv(features), nn.BatchNorm1d(features)
        self.dense1, self.dense2 = nn.Linear(features, features), nn.Linear(features, features)
        self.other = stride != 1 or channels != features
        if self.other:
            self.conv_3, self.bn_3 = conv(channels, stride), nn.BatchNorm1d(features)
        self.pool = pool

    def forward(self, x):
        path = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(x)))))
        factors = torch.sigmoid(self.dense2(torch.relu(self.dense1(path.mean(2)))))
        shortcut = self.bn_3(self.conv_3(x)) if self.other else x
        return nn.functional.max_pool1d(torch.relu(path * factors[:, :, None] + shortcut), self.pool)


class SotaSE(nn.Module):
    def __init__(self, features=128, blocks=9, classes=50):
        super().__init__()
        widths = widths_of(features, blocks)
        self.layer1 = SotaBlock(1, features, 3, 3, 1)
        for i in range(blocks):
            setattr(self, f"layer{i + 2}", SotaBlock(widths[i], widths[i + 1], 3, 1, 3))
        setattr(self, f"layer{blocks + 2}", SotaBlock(widths[-1], widths[-1], 1, 1, 1))
        self.dense1, self.bn = nn.Linear(widths[-1], widths[-1]), nn.BatchNorm1d(widths[-1])
        self.dense2 = nn.Linear(widths[-1], classes)
        self.layers = blocks + 2

    def forward(self, x):
        x = x[:, None]
        for i in range(self.layers):
            x = getattr(self, f"layer{i + 1}")(x)
        return torch.sigmoid(self.dense2(torch.relu(self.bn(self.dense1(x.squeeze(-1))))))


# Spijkervet/CLMR ------------------------------------------------------------------------------------------------------


def clmr_layers(features, blocks):
    widths = widths_of(features, blocks)
    yield nn.Sequential(nn.Conv1d(1, features, 3, stride=3), nn.BatchNorm1d(features), nn.ReLU())
    for a, b in itertools.pairwise(widths):
        yield nn.Sequential(nn.Conv1d(a, b, 3, padding=1), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(3, 3))
    top = widths[-1]
    yield nn.Sequential(nn.Conv1d(top, top, 3, padding=1), nn.BatchNorm1d(top), nn.ReLU())


class Clmr(nn.Module):
    """The encoder with an output layer `fc` (a supervised model), or without one (`classes` 0)."""

    def __init__(self, features=128, blocks=9, classes=50):
        super().__init__()
        self.sequential = nn.Sequential(*clmr_layers(features, blocks))
        self.fc = nn.Linear(widths_of(features, blocks)[-1], classes) if classes else nn.Identity()

    def forward(self, x):
        return self.fc(self.sequential(x[:, None]).flatten(1))


class ClmrOlder(nn.Module):
    """The earlier version, whose layers are named conv1 to conv11."""

    def __init__(self, features=128, blocks=9, classes=50):
        super().__init__()
        for i, layer in enumerate(clmr_layers(features, blocks)):
            setattr(self, f"conv{i + 1}", layer)
        self.layers = blocks + 2
        self.fc = nn.Linear(widths_of(features, blocks)[-1], classes)

    def forward(self, x):
        x = x[:, None]
        for i in range(self.layers):
            x = getattr(self, f"conv{i + 1}")(x)
        return self.fc(x.flatten(1))


class ClmrContrastive(nn.Module):
    """The model of contrastive training: one encoder under two names, and a projector."""

    def __init__(self, encoder: Clmr, width: int):
        super().__init__()
        self.encoder = encoder
        self.model = nn.Module()
        self.model.encoder = encoder
        self.model.projector = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, 64, bias=False)
        )


class ClmrLinear(nn.Module):
    """The model trained on labels afterwards: a frozen encoder and one or two dense layers."""

    def __init__(self, encoder: Clmr, width: int, classes=50, two=False):
        super().__init__()
        self.encoder = encoder
        last = nn.Linear(width, classes)
        self.model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last) if two else nn.Sequential(last)

    def forward(self, x):
        return self.model(self.encoder(x))


# For the tests --------------------------------------------------------------------------------------------------------


def small(kind: str, **changes) -> nn.Module:
    return trained(globals()[kind](**SMALL, **changes), WINDOW)


def small_linear(two=False) -> nn.Module:
    return trained(ClmrLinear(Clmr(**SMALL, classes=0), TOP, two=two), WINDOW)


def save(value, path: Path, **how) -> Path:
    torch.save(value, path, **how)
    return path
