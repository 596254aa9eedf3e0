"""A small network, and shards of tones in the builder's format."""

from pathlib import Path

import numpy as np
import pytest
import torch

from samplecnn.audio import to_int16
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.shards.arrow import ShardWriter, shard_name
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.task import Task

RATE, WINDOW = 8000, 2000
PITCHES = {"low": 220.0, "middle": 700.0, "high": 2500.0}  # Hz


@pytest.fixture(scope="session")
def task() -> Task:
    return Task("tones", tuple(PITCHES), "multiclass", RATE, WINDOW, clip_seconds=0.75, mean=0.001, std=0.3)


@pytest.fixture(scope="session")
def multi_label_task(task) -> Task:
    return Task("tones", task.classes, "multilabel", RATE, WINDOW, 0.75, 0.001, 0.3, threshold=0.4)


@pytest.fixture(scope="session")
def make_model():
    """make_model(task, seed) -> a small network with weights drawn from the seed and batch-norm statistics of sines."""

    def make(task: Task, seed: int = 0) -> SampleCNN:
        torch.manual_seed(seed)
        model = SampleCNN(ModelConfig("basic", num_blocks=5, num_classes=task.num_classes, features=8), task)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.UPDATE = 1.0  # the statistics of one batch, so that outputs differ between clips
        frequency = torch.linspace(200, 3500, 32)[:, None] / task.sample_rate
        with torch.no_grad():
            model.train()(torch.sin(2 * torch.pi * frequency * torch.arange(task.window)))
            model.logit.weight *= 3
        return model.eval()

    return make


@pytest.fixture(scope="session")
def write_shards():
    """write_shards(folder, task, clips=…, split=…, shards=…, groups=…) -> their segments: tones in noise."""

    def write(
        folder: Path, task: Task, clips: int = 20, split: str = "test", shards: int = 2, groups: int = 0
    ) -> ArrowSegments:
        columns = ("group",) if groups else ()
        folder.mkdir(parents=True, exist_ok=True)
        generator = np.random.default_rng(1)
        segments = task.segments_per_clip or 1
        time = np.arange(segments * task.window) / task.sample_rate
        pitches = list(PITCHES.values()) + [3000.0] * task.num_classes
        numbers = np.array_split(np.arange(clips), shards)
        for shard, members in enumerate(numbers, start=1):
            with ShardWriter(folder / shard_name(split, shard, shards), task, columns) as writer:
                for number in members:
                    labels = [number % task.num_classes]
                    if task.kind == "multilabel" and number % 4 == 0:
                        labels = sorted({*labels, (number + 1) % task.num_classes})
                    wave = sum(np.sin(2 * np.pi * pitches[label] * time) for label in labels) * 0.3
                    wave = (wave + 0.05 * generator.normal(size=len(time))).astype(np.float32)
                    more = {"group": f"speaker {number % groups}"} if groups else {}
                    writer.add(f"clip{number:03}", labels, to_int16(wave).reshape(segments, task.window), **more)
        return ArrowSegments(folder, split)

    return write


@pytest.fixture(scope="session")
def learn():
    """learn(model) -> the model, trained to classify the tones of its task; takes about a second."""

    def train(model: SampleCNN) -> SampleCNN:
        task = model.task
        generator = torch.Generator().manual_seed(0)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.UPDATE = 0.1  # 60 steps are too few for the usual 0.01
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        time = torch.arange(task.window) / task.sample_rate
        pitches = torch.tensor(list(PITCHES.values()))
        model.train()
        for _ in range(60):
            present = torch.eye(3)[torch.randint(3, (24,), generator=generator)]
            if task.kind == "multilabel":
                present = (torch.rand(24, 3, generator=generator) < 0.5).float()
            phases = 6.283 * torch.rand(24, 3, 1, generator=generator)
            tones = 0.3 * torch.sin(6.283185 * pitches[:, None] * time + phases)
            wave = (present[:, :, None] * tones).sum(dim=1) + 0.05 * torch.randn(24, task.window, generator=generator)
            logits = model((wave - task.mean) / task.std)
            if task.kind == "multilabel":
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, present)
            else:
                loss = torch.nn.functional.cross_entropy(logits, present)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return model.eval()

    return train
