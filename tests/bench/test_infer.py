"""`bench_infer`: every installed engine and runtime is measured; no test depends on speed."""

import numpy as np
import pytest
import torch

from samplecnn.bench import infer
from samplecnn.bench.infer import bench_infer, scale_infer
from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.inference import ENGINES, installed

SMALL = {"window": 729, "num_classes": 3, "features": 8, "batch_size": 30}


def test_every_engine_and_every_peer_is_measured():
    result = bench_infer("rese2", multi=True, rounds=2, **SMALL)
    names = [row["name"] for row in result["contenders"]]
    ours = [row["name"] for row in result["contenders"] if row["ours"]]
    assert len(set(names)) == len(names) and {name.split(", ")[1] for name in ours} == set(installed())
    assert ours[0] == "samplecnn, torch, fp32" and "plain PyTorch, fp32" in names
    for name in ("openvino", "onnx"):
        peers = [row for row in names if row.startswith("plain network, O") and row[15:].lower().startswith(name)]
        assert len(peers) >= ENGINES[name].installed
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in result["contenders"])
    assert result["bench"] == "infer" and result["unit"] == "segments/s" and result["limit"]["rate"] > 0
    assert result["settings"]["block"] == "rese2" and result["settings"]["batch_size"] == 30


def test_the_peers_compute_the_same_network(monkeypatch):
    """ONNX Runtime and OpenVINO compute the same outputs of the plain network as PyTorch."""
    config = infer.architecture("se", False, 729, 3, 8)
    torch.manual_seed(0)
    network = PlainSampleCNN(config)
    with torch.no_grad():
        network.train()(torch.randn(16, 729))
    monkeypatch.setattr(infer, "_with_sigmoid", lambda config: torch.nn.Sequential(network, torch.nn.Sigmoid()).eval())
    outputs = []
    monkeypatch.setattr(infer, "_turn", lambda run, calls, segments: outputs.append(run()))
    segments = np.random.default_rng(0).standard_normal((4, 729)).astype(np.float32)
    infer._plain_onnx(config, segments, 1)
    infer._plain_openvino(config, segments, 1, "fp32")
    if not outputs:
        pytest.skip("neither ONNX Runtime nor OpenVINO is installed")
    with torch.inference_mode():
        wanted = torch.sigmoid(network.eval()(torch.from_numpy(segments))).numpy()
    for found in outputs:
        np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-5)


def test_growth_with_the_work():
    result = scale_infer((1, 3), rounds=2, **SMALL)
    assert [point["work"] for point in result["points"]] == [30, 90]
    assert all(len(point["seconds"]) == 2 and min(point["seconds"]) > 0 for point in result["points"])
    assert all(point["peak_rss"] > 1 << 20 for point in result["points"]) and result["unit"] == "segments"


@pytest.mark.slow
def test_with_tensorflow(tensorflow_python):
    result = bench_infer("rese1", rounds=1, tensorflow=str(tensorflow_python), **SMALL)
    peers = [row for row in result["contenders"] if row["name"].startswith("TensorFlow")]
    assert peers and all(row["median"] > 0 for row in peers) and "tensorflow" in result["machine"]
