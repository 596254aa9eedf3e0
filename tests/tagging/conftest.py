"""Networks trained on three tones, and recordings of tones."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner

from samplecnn import model_files
from samplecnn.cli.tag import tag_command
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models import ModelConfig, SampleCNN
from samplecnn.tagging import Tagger
from samplecnn.task import Task

RATE, WINDOW = 8000, 2000
PITCHES = {"low": 220.0, "middle": 700.0, "high": 2500.0}  # Hz


@pytest.fixture(scope="session")
def model() -> SampleCNN:
    """A small network, trained in one or two seconds to classify three tones at any level."""
    task = Task("tones", tuple(PITCHES), "multiclass", RATE, WINDOW, clip_seconds=0.25, mean=0.001, std=0.3)
    torch.manual_seed(0)
    model = SampleCNN(ModelConfig("basic", num_blocks=5, num_classes=3, features=8), task)
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.UPDATE = 0.1  # 80 steps are too few for the usual 0.01
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    time = torch.arange(WINDOW) / RATE
    pitches = torch.tensor(list(PITCHES.values()))
    for _ in range(80):
        present = torch.randint(3, (24,))
        wave = torch.sin(6.283185 * (pitches[present, None] * time + torch.rand(24, 1)))
        wave = wave * (0.1 + 0.8 * torch.rand(24, 1)) + 0.02 * torch.randn(24, WINDOW)
        loss = torch.nn.functional.cross_entropy(model((wave - task.mean) / task.std), present)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def tagger(model) -> Tagger:
    return Tagger(model, batch_size=8, precision="fp32")


@pytest.fixture(scope="session")
def model_folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "run"
    model_files.save(model, folder)
    return folder


@pytest.fixture(scope="session")
def sound():
    """sound(*(pitch name, seconds), rate) -> float32 waveform of consecutive tones with a little noise."""

    def make(*parts: tuple[str, float], rate: int = RATE) -> np.ndarray:
        generator = np.random.default_rng(3)
        waves = []
        for name, seconds in parts:
            time = np.arange(round(seconds * rate)) / rate
            waves.append(0.5 * np.sin(2 * np.pi * PITCHES[name] * time) + 0.01 * generator.normal(size=len(time)))
        return np.concatenate(waves).astype(np.float32)

    return make


@pytest.fixture
def folder(tmp_path, sound) -> Path:
    """Recordings in several formats, some of them broken, in sub-folders."""
    base = tmp_path / "sounds"
    (base / "inner" / ".hidden").mkdir(parents=True)
    soundfile.write(base / "a-low.wav", sound(("low", 0.5)), RATE)
    soundfile.write(base / "b-high.flac", sound(("high", 1.1), rate=44100), 44100)
    soundfile.write(base / "inner" / "c-middle.ogg", sound(("middle", 0.6), rate=16000), 16000)
    soundfile.write(base / "inner" / "d-high.mp3", np.stack([sound(("high", 1), rate=32000)] * 2, axis=1), 32000)
    soundfile.write(base / "inner" / ".hidden" / "x.wav", sound(("low", 0.5)), RATE)
    soundfile.write(base / ".y.wav", sound(("low", 0.5)), RATE)
    (base / "inner" / "notes.txt").write_text("not a recording")
    whole = (base / "a-low.wav").read_bytes()
    (base / "e-empty.wav").write_bytes(b"")
    (base / "f-text.wav").write_text("this is no sound")
    (base / "g-cut.wav").write_bytes(whole[: len(whole) // 2])
    (base / "h-no-samples.wav").write_bytes(whole[:40] + struct.pack("<I", 0))
    soundfile.write(base / "i-nan.wav", np.full(4000, np.nan), RATE, subtype="FLOAT")
    (base / "j-folder.wav").mkdir()
    return base


@pytest.fixture
def broken() -> list[str]:
    """The files in `folder` that cannot be tagged."""
    return ["e-empty.wav", "f-text.wav", "g-cut.wav", "h-no-samples.wav", "i-nan.wav"]


@pytest.fixture
def run(model_folder):
    """run(*arguments) -> the outcome of `tag MODEL *arguments`."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(tag_command)

    def call(*arguments):
        outcome = CliRunner().invoke(app, [str(model_folder), *map(str, arguments)])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit | SampleCNNError):
            raise outcome.exception  # no command may raise other exceptions
        return outcome

    return call


@pytest.fixture(scope="session")
def refused():
    """refused(outcome) -> the message of the usage error that a command ended with."""

    def message(outcome) -> str:
        assert isinstance(outcome.exception, UsageError), outcome
        return str(outcome.exception)

    return message
