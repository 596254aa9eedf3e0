"""`samplecnn bench train`: the peer is the same network, the work is counted right; how fast, no test decides."""

import pytest
import torch
from typer.testing import CliRunner

from samplecnn.bench.plain import PlainSampleCNN
from samplecnn.bench.train import bench_train, forward_flops, matrix_rate
from samplecnn.cli.app import app
from samplecnn.models import BLOCKS, ModelConfig, SampleCNN


def plain_values(model: SampleCNN) -> dict[str, torch.Tensor]:
    """A network's values under the names of the plain one."""
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


def test_work_is_counted_right():
    assert forward_flops(ModelConfig(block="se", num_blocks=9), 59049) == pytest.approx(3.46e9, rel=0.01)
    one = ModelConfig(block="basic", num_blocks=1, features=2, num_classes=1)
    assert forward_flops(one, 9) == 2 * (
        3 * 1 * 2 * 3 + 3 * 2 * 4 * 3
    )  # conv0 on 3 steps, then 3 steps of 2 x 4 kernels
    assert matrix_rate(torch.float32, size=64, times=3) > 0


def test_measures_and_tells(tmp_path):
    result = bench_train("se", window=729, num_classes=3, features=8, batch_size=4, steps=1, rounds=2)
    names = [row["name"] for row in result["contenders"]]
    assert names[0] == "samplecnn, fp32" and "plain PyTorch, fp32" in names
    assert all(len(row["rates"]) == 2 and min(row["rates"]) > 0 for row in result["contenders"])
    words = ["bench", "train", "--block", "res1", "--window", "729", "--batch-size", "2", "--rounds", "1"]
    outcome = CliRunner().invoke(app, [*words, "--picture", str(tmp_path / "train.png")], catch_exceptions=False)
    assert outcome.exit_code == 0 and "plain PyTorch, fp32" in outcome.stdout and "limit:" in outcome.stdout
    assert (tmp_path / "train.png").read_bytes().startswith(b"\x89PNG")
