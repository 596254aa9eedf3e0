"""A small random network and recordings for the tests of servers, and an HTTP API with that network."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from samplecnn import model_files
from samplecnn.inference.precision import random_model
from samplecnn.models.config import ModelConfig
from samplecnn.task import Task

sys.path.insert(0, str(Path(__file__).parent))  # for api_client.py

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


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    folder = tmp_path_factory.mktemp("serve") / "tiny"
    save_model(folder)
    return folder


@pytest.fixture(scope="module")
def server(model):
    """The API with the network under two names; it waits for requests and uploads for seconds only."""
    from samplecnn.serving import ServeLimits, create_app
    from samplecnn.serving.protocol import DeadlineProtocol
    from samplecnn.serving.run import serving_api

    limits = ServeLimits(max_megabytes=2, max_seconds=60, max_queue=32, upload_timeout=2, decoders=1, max_listeners=1)
    app = create_app({"tiny": model, "second": model}, limits=limits, engine="numpy", precision="fp32")
    with pytest.MonkeyPatch.context() as patch, serving_api(app) as running:
        patch.setattr(DeadlineProtocol, "header_seconds", 1.0)
        yield running


@pytest.fixture(scope="module")
def tagger(model):
    from samplecnn.tagging.tagger import Tagger

    return Tagger(model, engine="numpy", precision="fp32", embedding="hidden")
