"""ONNX, OpenVINO and PyTorch files, read by their runtimes alone."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.audio import standardise
from samplecnn.errors import SampleCNNError
from samplecnn.inference import open_engine
from samplecnn.interop import runtimes
from samplecnn.interop.export import export
from samplecnn.models.embedding import with_embedding
from samplecnn.models.fitting import config_for_window
from samplecnn.models.folding import fold
from samplecnn.models.stored import StoredModel

onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

CONFIGS = {
    "se": ModelConfig("se", num_blocks=4, num_classes=3, features=16),
    "rese2-multi": ModelConfig("rese2", multi=True, num_blocks=4, num_classes=3, features=8),
    "unaligned": ModelConfig("basic", num_blocks=4, num_classes=3, features=8),
    "logmel": None,
}


def network(name, kind="multiclass"):
    torch.manual_seed(1)
    window = {"unaligned": 800, "logmel": 4000}.get(name, 729)
    task = Task("t", ("a", "b", "ü|c"), kind, 8000, window, mean=0.01, std=0.2, threshold=0.3, padding="zero")
    config = CONFIGS[name] or config_for_window(window, 8000, frontend="logmel", num_classes=3, features=8)
    model = SampleCNN(config, task).eval()
    with torch.no_grad():  # so that the outputs depend on the input
        for name, values in model.state_dict().items():
            if name.endswith("running_mean"):
                values.normal_(0, 0.1)
            elif name.endswith("running_var"):
                values.uniform_(0.5, 1.5)
            elif values.ndim > 1:
                values.normal_(0, (0.05 if name.startswith("logit") else 1.5) / values[0].numel() ** 0.5)
    return model


@pytest.fixture
def waves():
    return lambda samples: (0.2 * np.random.default_rng(3).standard_normal((5, samples))).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_both_runtimes_give_the_models_own_values(name, tmp_path, waves):
    model = network(name, "multilabel" if name == "se" else "multiclass")
    task, wave = model.task, waves(model.task.window)
    expected = open_engine(with_embedding(fold(model), "hidden"), "numpy", "fp32").columns(standardise(wave, task))
    assert np.ptp(expected[:, :3], axis=0).max() > 0.002  # twenty times the tolerance
    card = {"licence": "MIT, data CC BY", "about": "", "score": {}} if name == "se" else None
    export(replace(StoredModel.of(model), card=card), tmp_path / "m.onnx", "onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    got = np.concatenate(session.run(["probabilities", "embedding"], {"wave": wave}), axis=1)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(task.classes) and json.loads(about["thresholds"]) == [0.3] * 3
    assert about.get("licence") == (card and "MIT, data CC BY") and "about" not in about
    assert (int(about["sample_rate"]), int(about["window"]), about["kind"]) == (8000, task.window, task.kind)
    export(model, tmp_path / "m.xml", "openvino")
    read = openvino.Core().read_model(str(tmp_path / "m.xml"))
    assert json.loads(read.get_rt_info(["samplecnn", "classes"]).value) == list(task.classes)
    compiled = openvino.Core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for part in (wave, wave[:1]):  # any batch
        found = compiled(part)
        got = np.concatenate([found["probabilities"], found["embedding"]], axis=1)
        np.testing.assert_allclose(got, expected[: len(part)], rtol=1e-3, atol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.xml", "m.bin"}


@pytest.mark.parametrize("renames", [0, 1])
def test_openvino_killed_between_its_files_never_reads_the_weights_of_another_model(tmp_path, monkeypatch, renames):
    path, done, real = tmp_path / "m.xml", [], Path.replace

    def killed(self, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return real(self, target)

    export(network("se"), path, "openvino")
    before = (path.read_bytes(), path.with_suffix(".bin").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export(network("rese2-multi"), path, "openvino")
    assert not path.exists() or (path.read_bytes(), path.with_suffix(".bin").read_bytes()) == before
    export(network("rese2-multi"), path, "openvino")
    assert path.exists() and {file.name for file in tmp_path.iterdir()} == {"m.xml", "m.bin"}


def test_a_runtime_that_computes_something_else_leaves_nothing(tmp_path, monkeypatch):
    """A graph with another mean than the model's: the comparison finds it."""
    model = network("se")
    real = runtimes.onnx_model

    def wrong(net):
        return real(replace(net, task=net.task.with_statistics(0.5, net.task.std)))

    monkeypatch.setattr(runtimes, "onnx_model", wrong)
    for name, to in (("m.onnx", "onnx"), ("m.xml", "openvino")):
        with pytest.raises(SampleCNNError, match="nothing was written"):
            export(model, tmp_path / name, to)
    assert list(tmp_path.iterdir()) == []


ALONE = """
import json, sys, numpy, torch
extra = {"samplecnn.json": ""}
module = torch.export.load(sys.argv[1], extra_files=extra).module()
waves = torch.from_numpy(numpy.load(sys.argv[2]))
with torch.no_grad():
    for part in (waves, waves[:1]):
        found = module(part)
        columns = torch.cat((found["probabilities"], found["embedding"]), dim=1)
        numpy.save(f"{sys.argv[3]}/{len(part)}.npy", columns.numpy())
about = json.loads(extra["samplecnn.json"])
assert not any("samplecnn" in name for name in sys.modules)
print(json.dumps(about))
"""


def test_pytorch_alone_gives_the_models_own_values(tmp_path, waves):
    model = network("logmel")
    task, wave = model.task, waves(model.task.window)
    expected = open_engine(with_embedding(fold(model), "hidden"), "numpy", "fp32").columns(standardise(wave, task))
    export(model, tmp_path / "m.pt2", "torch")
    np.save(tmp_path / "waves.npy", wave)
    call = [sys.executable, "-c", ALONE, str(tmp_path / "m.pt2"), str(tmp_path / "waves.npy"), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert json.loads(about["classes"]) == list(task.classes) and json.loads(about["window"]) == task.window
    for count in (5, 1):  # any batch
        np.testing.assert_allclose(np.load(tmp_path / f"{count}.npy"), expected[:count], rtol=1e-3, atol=1e-4)


def test_a_program_that_computes_something_else_leaves_nothing(tmp_path, monkeypatch):
    from samplecnn.interop import torch_program

    real = torch_program.Program.forward
    monkeypatch.setattr(torch_program.Program, "forward", lambda self, wave: real(self, wave * 0.5))
    with pytest.raises(SampleCNNError, match="nothing was written"):
        export(network("unaligned"), tmp_path / "m.pt2", "torch")
    assert list(tmp_path.iterdir()) == []
