"""A small random network and recordings for the server's tests."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn import model_files
from samplecnn.inference.precision import random_model
from samplecnn.models.config import ModelConfig
from samplecnn.task import Task

RATE = 8000


@pytest.fixture(scope="session")
def save_model():
    def save(folder: Path) -> None:
        task = Task("t", ("low", "path", "high"), "multilabel", RATE, 729, std=0.2)
        model_files.save(random_model(ModelConfig(block="se", num_blocks=4, num_classes=3, features=8), task), folder)

    return save


@pytest.fixture(scope="session")
def noise_file():
    def write(path: Path, seed: int, seconds: float = 0.5) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(seed).normal(size=round(seconds * RATE))
        soundfile.write(path, (0.02 + 0.03 * (seed % 7)) * wave, RATE)

    return write
