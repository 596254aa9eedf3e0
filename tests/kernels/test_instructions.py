"""The instructions that numba generates for sums of products in registers, here and on ARM64."""

import re

import pytest

pytest.importorskip("numba", reason="numba is not installed (the extra `fast`)")

from llvmlite import binding as llvm
from numba import njit, types

from samplecnn.kernels.compiling import target_has
from samplecnn.kernels.winograd_vectors import ROWS, SIDES, UNROLLED, multiply_tiles

SUMS = ROWS * SIDES * 16 * UNROLLED  # float32 multiplied and added per iteration


@pytest.fixture(scope="module")
def compiled():
    @njit
    def products(a, stride, b, half, count, target):
        multiply_tiles(a, stride, b, half, count, target)

    products.compile((types.int64,) * 6)
    return products


@pytest.mark.skipif(not target_has("fma"), reason="no fused multiply-add for x86 here")
def test_products_are_added_in_one_instruction(compiled):
    (assembly,) = compiled.inspect_asm().values()
    lanes = 16 if target_has("avx512f") else 8
    assert len(re.findall(r"vfn?madd\d+ps", assembly)) >= SUMS // lanes
    assert not re.search(r"vmulps|vf\w+ss", assembly)


def test_arm64_uses_neon(compiled):
    """Code for another CPU, from the same instructions of LLVM: it is generated, not run."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple("aarch64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("llvmlite was built without ARM64")
    machine = target.create_target_machine(cpu="generic", opt=3)
    (text,) = compiled.inspect_llvm().values()
    text = re.sub(r'target triple = ".*"', f'target triple = "{target.triple}"', text)
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', text)
    assembly = machine.emit_assembly(llvm.parse_assembly(text))
    assert len(re.findall(r"fmla\s+v\d+\.4s", assembly)) >= SUMS // 4
    assert not re.search(r"fmul\s+v|fmadd\s+s", assembly)
