"""What the machine can do, and how PyTorch is set up for it."""

import os
import subprocess
import sys

import pytest
import torch

from samplecnn import hardware
from samplecnn.errors import UsageError
from samplecnn.hardware import choose_precision, has_bf16, has_tf32, tuned

CPU = torch.device("cpu")


def test_bf16_is_for_cpus_that_have_it_and_may_use_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    for name in hardware.ISA_LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert has_bf16(CPU) and choose_precision("auto", CPU) == "bf16"
    for limit, allowed in (("AVX2", False), ("avx512_core_bf16", False), ("AVX512_CORE_AMX", True), ("ALL", True)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert has_bf16(CPU) == allowed, limit
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not has_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE")
    assert choose_precision("auto", CPU) == "fp32" and choose_precision("bf16", CPU) == "bf16"


def test_a_limit_in_the_environment_reaches_the_choice():
    program = (
        "import torch; from samplecnn.hardware import choose_precision as c; print(c('auto', torch.device('cpu')))"
    )
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=limited, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fp32"


def test_precisions_are_named_and_tf32_is_for_gpus():
    assert not has_tf32(CPU)
    with pytest.raises(UsageError, match=r"tf32 is for NVIDIA GPUs.*not for this cpu"):
        choose_precision("tf32", CPU)
    with pytest.raises(UsageError, match="use auto, fp32, tf32, bf16"):
        choose_precision("fp64", CPU)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_on_a_gpu_float32_is_multiplied_as_asked_and_only_meanwhile(precision):
    """PyTorch keeps these settings on machines without a GPU too."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    with tuned(torch.device("cuda"), precision):
        rounded = precision == "tf32"
        assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == (rounded, rounded, True)
    with tuned(CPU, precision):
        assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == before
    assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == before
