"""`samplecnn bench train`: the peer is the same network and the work is counted correctly; no test depends on speed."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from samplecnn.bench import batchsizes, steps
from samplecnn.bench.epochs import NoiseSegments, epoch_seconds, epochs
from samplecnn.bench.matmul import matrix_rate
from samplecnn.bench.peers import PROGRAMS, Peer
from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.bench.steps import Kind, Steps, kinds, noise_task
from samplecnn.bench.train import _peer_settings, bench_train, scale_train
from samplecnn.cli.app import app
from samplecnn.errors import UsageError
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN


def plain_values(model: SampleCNN) -> dict[str, torch.Tensor]:
    """The parameters of a network under the names of the plain one."""
    names = {"conv0": "first.0", "norm0": "first.1", "final_fc": "head.0", "final_norm": "head.1", "logit": "logit"}
    for i in range(model.config.num_blocks):
        ours, theirs = f"blocks.{i}", f"blocks.{i}"
        names |= {f"{ours}.conv": f"{theirs}.convs.0.0", f"{ours}.norm": f"{theirs}.convs.0.1"}
        for j in range(2):
            names |= {f"{ours}.convs.{j}": f"{theirs}.convs.{j}.0", f"{ours}.norms.{j}": f"{theirs}.convs.{j}.1"}
            names[f"{ours}.excitation.ex{j}"] = f"{theirs}.excitation.{2 * j}"
        names |= {f"{ours}.scut_conv": f"{theirs}.shortcut.0", f"{ours}.scut_norm": f"{theirs}.shortcut.1"}
    return {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in model.state_dict().items()
    }


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_peer_is_the_same_network(block, multi):
    torch.manual_seed(0)
    config = ModelConfig(block=block, multi=multi, num_blocks=4, num_classes=5, features=8)
    ours, plain = SampleCNN(config).eval(), PlainSampleCNN(config).eval()
    missing, unexpected = plain.load_state_dict(plain_values(ours), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    x = torch.randn(3, 729)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), ours(x), rtol=1e-4, atol=1e-5)


def test_flops_are_counted():
    assert matrix_rate(torch.float32, size=64, times=3) > 0


def test_the_command_measures_and_draws(tmp_path):
    result = bench_train("se", window=729, num_classes=3, features=8, batch_size=4, steps=1, rounds=2)
    names = [row["name"] for row in result["contenders"]]
    assert names[0] == "samplecnn, fp32" and "plain PyTorch, fp32" in names
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in result["contenders"])
    arguments = ["bench", "train", "--block", "res1", "--window", "729", "--batch-size", "2", "--rounds", "1"]
    outcome = CliRunner().invoke(app, [*arguments, "--picture", str(tmp_path / "train.png")], catch_exceptions=False)
    assert outcome.exit_code == 0 and "plain PyTorch, fp32" in outcome.stdout and "PyTorch's matmul:" in outcome.stdout
    assert (tmp_path / "train.png").read_bytes().startswith(b"\x89PNG")


CPU, SMALL = torch.device("cpu"), ModelConfig(block="res2", multi=True, num_blocks=4, num_classes=3, features=8)


def test_an_unavailable_device():
    with pytest.raises(UsageError, match="cannot be used here"):
        bench_train("se", window=729, device="tpu")


def test_each_launch_mode_is_a_contender_on_a_gpu(monkeypatch):
    monkeypatch.setattr(steps, "has_tf32", lambda device: True)
    names = [kind.name for kind in kinds(torch.device("cuda"), "bf16")]
    assert len(set(names)) == len(names)
    for name in (
        "samplecnn, bf16", "samplecnn, bf16, CUDA graph", "samplecnn, bf16, compiled, CUDA graph",
        "samplecnn, fp32, CUDA graph", "plain PyTorch, fp32", "plain PyTorch, tf32",
        "plain PyTorch, bf16 autocast", "plain PyTorch, bf16 autocast, compiled, CUDA graph",
    ):  # fmt: skip
        assert name in names
    assert [kind.name for kind in kinds(CPU, "fp32")] == ["samplecnn, fp32", "plain PyTorch, fp32"]


def test_an_epoch_of_noise_uses_every_segment():
    noise = NoiseSegments(10, noise_task(729, 3))
    assert len(noise) == 10 and noise.gather([3, 9]).dtype == np.int16
    many = NoiseSegments(1000, noise_task(729, 3))
    assert np.array_equal(many.gather([5]), many.gather([5 + len(many.noise)])) and len(many.noise) < 1000
    network = Steps(Kind("fp32"), SMALL, 729, 4, 1, CPU)
    seen = []
    step = network.step
    network.step = lambda optimizer, audio, labels, rate: (
        seen.append(len(audio)),
        step(optimizer, audio, labels, rate),
    )[1]
    before = network.model.logit.weight.clone()
    assert epoch_seconds(network, noise, batch_size=4, readers=2) > 0
    assert seen == [4, 4, 2] and not torch.equal(before, network.model.logit.weight)


def test_batches_grow_until_the_rate_does_not_or_memory_is_exhausted(monkeypatch):
    real, rates = batchsizes._measured, {4: 10.0, 16: 15.0, 64: 15.1}

    def measured(kind, config, window, size, *rest):
        if size not in rates:
            raise torch.OutOfMemoryError
        return {**real(kind, config, window, size, *rest), "median": rates[size]}

    monkeypatch.setattr(batchsizes, "_measured", measured)
    lines: list[str] = []
    settings = ([Kind("fp32")], SMALL, 729, 4, 1, 2, CPU, lines.append)
    (row,) = batchsizes.best_batches(*settings)
    assert [point["batch_size"] for point in row["points"]] == [4, 16, 64] and row["best_batch"] == 64
    assert all(len(point["rates"]) == 2 and min(point["rates"]) > 0 for point in row["points"])
    del rates[64]
    (row,) = batchsizes.best_batches(*settings)
    assert row["best_batch"] == 16 and "does not hold a batch of 64" in lines[-1]
    rows = epochs(Kind("fp32"), SMALL, 729, [4, 8], CPU, segments=9)
    assert [row["batch_size"] for row in rows] == [4, 8] and all(row["seconds"] > 0 for row in rows)


@pytest.mark.slow
def test_training_time_over_the_epoch_length():
    result = scale_train((1, 2), window=729, num_classes=3, features=8, batch_size=4, rounds=2)
    assert result["bench"] == "train" and result["unit"] == "segments"
    assert [point["work"] for point in result["points"]] == [8, 16]
    assert all(len(point["seconds"]) == 2 and min(point["seconds"]) > 0 for point in result["points"])
    assert all(50e6 < point["peak_rss"] < 4e9 for point in result["points"])
    json.dumps(result)


@pytest.mark.slow
def test_with_tensorflow(tensorflow_python, monkeypatch):
    settings = _peer_settings(SMALL, 729, 4, 2, "bf16", "cpu")
    peer = Peer(tensorflow_python, PROGRAMS / "tensorflow_train.py", settings)
    assert peer.about["parameters"] == SampleCNN(SMALL).num_values() and peer() == 8
    peer.close()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")  # oneDNN reads it once, samplecnn each time: fp32 only
    small = {"window": 81, "num_classes": 3, "features": 8, "batch_size": 4, "steps": 1, "rounds": 1}
    result = bench_train("se", tensorflow=tensorflow_python, **small)
    rows = {row["name"]: row for row in result["contenders"]}
    assert list(rows) == ["samplecnn, fp32", "plain PyTorch, fp32", "TensorFlow, fp32"]
    assert rows["TensorFlow, fp32"]["median"] > 0 and not rows["TensorFlow, fp32"]["ours"]
    assert "tensorflow" in result["machine"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu():
    small = {"window": 729, "num_classes": 3, "features": 32, "batch_size": 8, "steps": 2, "rounds": 2}
    result = bench_train("se", device="cuda", epoch=100, **small)
    assert not result["left_out"] and result["machine"]["gpu"]
    assert [row["segments"] for row in result["epochs"]][:1] == [100]
    assert all(row["peak_memory"] > 0 for row in result["best_batches"])
    json.dumps(result)
