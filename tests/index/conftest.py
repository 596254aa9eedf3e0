"""A small random network, and a collection of recordings for it. Nothing here needs PyTorch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from samplecnn import model_files
from samplecnn.cli.app import app
from samplecnn.errors import SampleCNNError
from samplecnn.inference.precision import random_model
from samplecnn.models.config import ModelConfig
from samplecnn.task import Task

RATE, WINDOW = 8000, 729


def save_model(folder: Path, seed_shift: float = 0.0) -> Path:
    task = Task("t", ("low", "path", "high"), "multilabel", RATE, WINDOW, mean=0.01 + seed_shift, std=0.2)
    model = random_model(ModelConfig(block="se", num_blocks=4, num_classes=3, features=8), task)
    model_files.save(model, folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory) -> Path:
    """The same classes, other scores."""
    folder = tmp_path_factory.mktemp("other") / "run"
    task = Task("t", ("low", "path", "high"), "multilabel", RATE, WINDOW, mean=0.3, std=0.05)
    model_files.save(random_model(ModelConfig(block="basic", num_blocks=4, num_classes=3, features=8), task), folder)
    return folder


@pytest.fixture
def noise():
    """noise(path, seed, seconds): writes a recording that no other seed gives."""

    def write(path: Path, seed: int, seconds: float = 0.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = np.random.default_rng(seed).normal(size=round(seconds * RATE))
        soundfile.write(path, (0.02 + 0.03 * (seed % 7)) * wave, RATE)
        return path

    return write


@pytest.fixture
def sounds(tmp_path, noise) -> Path:
    """Ten recordings of different lengths in two folders, and one that is none."""
    folder = tmp_path / "sounds"
    for number in range(10):
        noise(folder / ("a" if number < 5 else "b") / f"{number}.wav", number, 0.3 + 0.1 * number)
    (folder / "b" / "broken.wav").write_text("this is no sound")
    return folder


@pytest.fixture
def index(tmp_path, model, sounds) -> Path:
    """An index of `sounds`, with overlapping windows."""
    from samplecnn.index import update_index

    update_index(tmp_path / "sounds.index", model, [sounds], hop=0.05, engine="numpy", precision="fp32")
    return tmp_path / "sounds.index"


@pytest.fixture
def run():
    """run(*words) -> the outcome of `samplecnn index *words`."""

    def call(*words):
        outcome = CliRunner().invoke(app, ["index", *map(str, words)])
        if outcome.exception is not None and not isinstance(outcome.exception, SystemExit | SampleCNNError):
            raise outcome.exception  # what no command should let through
        return outcome

    return call


@pytest.fixture
def rows():
    """rows(index) -> everything that an index knows of its files, comparable: by path, without internal numbers."""
    from samplecnn.index import read_index

    def read(folder: Path) -> dict[str, tuple]:
        index = read_index(folder)
        found = {}
        for row, path in enumerate(index.paths):
            facts = index.facts(row)
            known = [facts[name] for name in facts if name not in ("recording", "part", "row", "engine")]
            arrays: list[bytes] = [index.scores[row].tobytes()]
            if facts["error"] is None:
                tags = index.outcome(row)
                arrays += [tags.over_time.tobytes(), tags.starts.tobytes(), index.embedding_records(row).tobytes()]
            found[path] = (*known, *arrays)
        return found

    return read


def run_until(step: int | None, places: list[tuple[Any, str]], work: Callable[[], object], log: Path) -> int:
    """Runs `work` in a process of its own that ends, without any cleaning up, right before its `step`-th call of one of
    the methods `places`; returns its exit status, 9 if it ended so. What it writes to stderr is added to `log`.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 1
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        left = [step]

        def counted(method):
            def call(*arguments, **options):
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] < 0:
                        os._exit(9)
                return method(*arguments, **options)

            return call

        for place, name in places:
            setattr(place, name, counted(getattr(place, name)))
        work()
        status = 0
    finally:
        os._exit(status)
