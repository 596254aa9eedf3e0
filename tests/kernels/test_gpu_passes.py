"""The fused passes for GPUs give PyTorch's results, here by Triton's interpreter: networks with and without them."""

import os
import subprocess
import sys

import pytest
import torch

from samplecnn.kernels import gpu
from samplecnn.models import ModelConfig, SampleCNN

WINDOW = 250  # 83 frames behind the first convolution: no pooling leaves a whole number


ON_GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # read when Triton is imported, so in another process


@pytest.mark.skipif(ON_GPU or INTERPRETED, reason="the tests below run in this process")
def test_by_the_interpreter():
    pytest.importorskip("triton", reason="Triton comes with PyTorch for CUDA; `pip install triton` brings it elsewhere")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", __file__]
    ended = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0 and "6 passed" in ended.stdout, ended.stdout


def trained(config: ModelConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Logits, gradients and running statistics of a training step."""
    device = torch.device("cuda" if ON_GPU else "cpu")
    torch.manual_seed(0)
    model = SampleCNN(config).train()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn(value.shape))  # no scale is 1, no offset 0
    model.to(device).compute_dtype = dtype
    wave = (torch.randn(6, WINDOW) + 0.1).to(device)
    logits = model(wave)
    (logits.square().mean() + logits.mean()).backward()
    gradients = {f"gradient of {name}": value.grad for name, value in model.named_parameters()}
    # A bias before a batch norm has no effect: its gradient is rounding error in one network, 0 in the other.
    kept = {name: value for name, value in gradients.items() if not ("conv" in name and name.endswith("bias"))}
    return {"logits": logits.detach(), **kept, **dict(model.named_buffers())}


def test_without_triton_a_line_says_so_once(monkeypatch, capsys):
    for name in ("triton", "samplecnn.kernels.gpu.passes"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(gpu, "passes", raising=False)
    gpu._works.cache_clear()
    assert not gpu._works(torch.device("cpu")) and not gpu._works(torch.device("cpu"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "training without the fused passes for GPUs" in line
    gpu._works.cache_clear()


@pytest.mark.skipif(not (ON_GPU or INTERPRETED), reason="run by the test above")
@pytest.mark.parametrize(
    ("block", "features", "pool"), [("se", 8, 3), ("basic", 24, 2), ("rese2", 8, 3), ("res1", 8, 3), ("se", 144, 3)]
)
def test_a_training_step_with_the_fused_passes(block, features, pool, monkeypatch):
    blocks = 2 if features > 100 else 3
    size = {} if pool == 3 else {"pool_size": pool, "first_size": 3}
    config = ModelConfig(block=block, num_blocks=blocks, num_classes=3, features=features, dropout=0.0, **size)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr("samplecnn.models.stages.dropout", lambda x, share, training: x)
    monkeypatch.setattr(gpu, "is_usable", lambda x: False)
    expected = trained(config, torch.float32)
    monkeypatch.setattr(gpu, "is_usable", lambda x: True)
    found = trained(config, torch.float32)
    assert expected.keys() == found.keys() and len(found) > 10
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=2e-3, atol=2e-5, msg=name)
    half = trained(config, torch.bfloat16)
    assert torch.nn.functional.cosine_similarity(half["logits"].flatten(), expected["logits"].flatten(), dim=0) > 0.99
