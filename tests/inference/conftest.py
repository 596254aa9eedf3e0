"""Small networks whose outputs differ between segments."""

import numpy as np
import pytest
import torch

from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.task import Task

RATE, WINDOW = 8000, 729


@pytest.fixture(scope="session")
def make_network():
    """make_network(block, kind=…, **config) -> a network on 729 samples; its batch norms have the statistics of
    coloured noise.
    """

    def make(block: str = "se", kind: str = "multilabel", classes: int = 5, **config) -> SampleCNN:
        torch.manual_seed(0)
        task = Task("noise", tuple(f"class {i}" for i in range(classes)), kind, RATE, WINDOW)
        shape = ModelConfig(**{"block": block, "num_blocks": 4, "num_classes": classes, "features": 16, **config})
        model = SampleCNN(shape, task)
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.UPDATE = 1.0  # the statistics of one batch
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
        with torch.no_grad():
            model.train()(torch.from_numpy(sounds(24, WINDOW, seed=1)))
        return model.eval()

    return make


def sounds(count: int, samples: int, seed: int = 0) -> np.ndarray:
    """Segments of noise with different spectra and levels, float32 [count, samples]."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((count, samples)))
    slope = rng.uniform(0, 2, (count, 1))
    waves = np.fft.irfft(spectrum * (np.arange(spectrum.shape[1]) + 5.0) ** -slope, samples)
    return (waves / waves.std(1, keepdims=True) * rng.uniform(0.3, 2, (count, 1))).astype(np.float32)


@pytest.fixture(scope="session")
def make_sounds():
    return sounds


@pytest.fixture(scope="session")
def reference():
    """reference(model, segments) -> probabilities of the PyTorch model in float32."""

    def run(model: SampleCNN, segments: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model.probabilities(torch.from_numpy(np.ascontiguousarray(segments))).numpy()

    return run
