"""Against TensorFlow itself: files are read in both directions with the same outputs."""

import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import samplecnn
from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.errors import SampleCNNError
from samplecnn.interop.keras import h5
from samplecnn.models import BLOCKS

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("keras_original.py")
CLOSE = 1e-5
NETWORKS = {
    **{block: {"block": block, "multi": i % 2 == 0} for i, block in enumerate(BLOCKS)},
    "rese2_wide": {"block": "rese2", "multi": True, "features": 16, "ratio": 2.0, "activation": "softmax", "blocks": 4},
    "se_narrow": {"block": "se", "multi": False, "features": 5, "ratio": 0.7, "blocks": 3},
}
OLDER = {
    "older_rese": {"block": "rese2", "multi": True, "ratio": 4, "year": 2018, "classes": 50},
    "older_res": {"block": "res2", "multi": False, "year": 2018, "blocks": 4},
    "older_se": {"block": "se", "multi": True, "ratio": 16, "year": 2018, "classes": 50},
    "older_basic": {"block": "basic", "multi": False, "year": 2018},
}
# Keras 3 comes with TensorFlow; tf_keras, Keras 2, reads files as the Keras of the original's time did.
LIBRARIES = [
    pytest.param((), list(NETWORKS), list(OLDER), id="keras3"),
    pytest.param(("tf_keras",), ["rese2_wide", "se_narrow"], ["older_rese"], id="keras2"),
]
USUAL = {"blocks": 3, "classes": 4, "features": 8, "ratio": 0.5, "activation": "sigmoid"}


def run_jobs(python: Path, jobs: list[dict], folder: Path, *library: str) -> None:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = subprocess.run([python, SCRIPT, folder / "jobs.json", *library], capture_output=True, text=True)
    if library and "No module named 'tf_keras'" in done.stderr:
        pytest.skip("tf_keras is not there")
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def wave(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wave") / "x.npy"
    noise = np.random.default_rng(0).standard_normal((2, 1000)) * [[0.3], [3]]
    np.save(path, noise.astype(np.float32))
    return path


def ours(network: dict) -> SampleCNN:
    """A model with the architecture that the script gets, and values for which every layer matters."""
    torch.manual_seed(0)
    config = ModelConfig(
        network["block"], network["multi"], network["blocks"], network["classes"], network["features"], network["ratio"]
    )
    kind = "multilabel" if network["activation"] == "sigmoid" else "multiclass"
    model = SampleCNN(config, Task("t", tuple("abcdefg"[: network["classes"]]), kind, window=1000))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim > 1:
                value.normal_(0, (value[0].numel()) ** -0.5)
            elif "norm" in name and name.endswith(("weight", "running_var")):
                value.uniform_(0.5, 1.5)
            else:
                value.normal_(0, 0.3)
    return model.eval()


def outputs(model: SampleCNN, wave: Path) -> np.ndarray:
    with torch.no_grad():
        return model.probabilities(torch.from_numpy(np.load(wave))).numpy()


@pytest.mark.parametrize(("library", "names", "older"), LIBRARIES)
def test_keras_gives_the_outputs_of_what_we_write(tensorflow_python, wave, tmp_path, library, names, older):
    jobs, models = [], {}
    for name in names:
        network = {**USUAL, **NETWORKS[name]}
        models[name] = ours(network)
        job = {"file": str(tmp_path / f"{name}.h5"), "x": str(wave)}
        h5.write(models[name], job["file"])
        jobs.append({**job, "do": "whole", "y": str(tmp_path / f"{name}-whole.npy")})
        jobs.append({**job, "do": "by_name", "network": network, "y": str(tmp_path / f"{name}-by_name.npy")})
    run_jobs(tensorflow_python, jobs, tmp_path, *library)
    for name, model in models.items():
        expected = outputs(model, wave)
        assert expected.std(axis=0).min() > 10 * CLOSE  # the outputs tell something
        for way in ("whole", "by_name"):
            assert np.abs(np.load(tmp_path / f"{name}-{way}.npy") - expected).max() < CLOSE, (name, way)


@pytest.mark.parametrize(("library", "names", "older"), LIBRARIES)
def test_we_give_the_outputs_of_what_keras_writes(tensorflow_python, wave, tmp_path, library, names, older):
    jobs, expected = [], {}
    for name in [*names, *older]:
        expected[name] = {**USUAL, **{**NETWORKS, **OLDER}[name]}
        (tmp_path / name).mkdir()
        files = ["whole.h5", "part.weights.h5"] if not library else ["whole.h5", "part.h5"]
        files = [str(tmp_path / name / file) for file in files]
        y = str(tmp_path / f"{name}.npy")
        jobs.append({"do": "make", "network": expected[name], "files": files, "x": str(wave), "y": y})
    run_jobs(tensorflow_python, jobs, tmp_path, *library)
    for name, network in expected.items():
        for file in (tmp_path / name).iterdir():
            model = samplecnn.load(file)
            assert model.config.block == network["block"] and model.config.multi == network["multi"]
            assert model.task.name == ("mtt" if network["classes"] == 50 else file.stem)
            if network["activation"] == "softmax" and file.stem != "whole":
                continue  # weights alone do not tell the activation
            assert np.abs(outputs(model, wave) - np.load(tmp_path / f"{name}.npy")).max() < CLOSE, (name, file.name)


def test_keras_weights_without_names_and_archives_are_refused_with_a_remedy(tensorflow_python, wave, tmp_path):
    network = {**USUAL, "block": "se", "multi": False}
    files = [str(tmp_path / "whole.keras"), str(tmp_path / "part.weights.h5")]
    job = {"do": "make", "network": network, "files": files, "x": str(wave), "y": str(tmp_path / "y.npy")}
    run_jobs(tensorflow_python, [job], tmp_path)
    with pytest.raises(SampleCNNError, match="archive"):
        samplecnn.load(files[0])
    with h5py.File(files[1], "r+") as file:
        del file["layers/conv1d/vars"].attrs["name"]
    with pytest.raises(SampleCNNError, match=r"model\.save"):
        samplecnn.load(files[1])
