"""The cache of compiled kernels, and behaviour if it cannot be written."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="numba is not installed (the extra `fast`)")

CALL = """
import numpy as np
from samplecnn.kernels.norm_passes import moments
sums = np.zeros((2, 4))
moments(0, 6, np.arange(24, dtype=np.float32).reshape(6, 4), np.zeros(4, np.float32), sums)
computed = sums[0].tolist() == [60, 66, 72, 78]
print(computed, sum(moments.stats.cache_hits.values()), sum(moments.stats.cache_misses.values()))
"""


@pytest.fixture
def package(root, tmp_path):
    """A package with a copy of the kernels, none of them compiled, and without what imports PyTorch."""
    kernels = tmp_path / "samplecnn" / "kernels"
    shutil.copytree(root / "src" / "samplecnn" / "kernels", kernels, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (kernels, kernels.parent):
        (folder / "__init__.py").write_text("")
    return kernels.parent


def call(package, prepare: str = "", **environment):
    """Whether a kernel computed, and its numbers of cache hits and misses."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CACHE")}
    variables = {**inherited, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    result = subprocess.run(
        [sys.executable, "-c", prepare + CALL], capture_output=True, text=True, env=variables, timeout=280
    )
    assert result.returncode == 0, result.stderr
    computed, hits, misses = result.stdout.split()
    assert computed == "True"
    return int(hits), int(misses)


def test_a_change_of_any_kernel_source_compiles_all_again(package):
    assert call(package) == (0, 1)
    assert call(package) == (1, 0)
    callee = package / "kernels" / "bfloat16.py"
    callee.write_text(callee.read_text() + "\n# changed\n")
    assert call(package) == (0, 1)


def test_without_a_writable_folder_kernels_are_compiled_and_not_cached(package, tmp_path):
    """Files where numba would create its folders, in the package and at home: not even root can write there."""
    (package / "kernels" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    home = str(tmp_path / "home")
    for _ in range(2):
        assert call(package, HOME=home, XDG_CACHE_HOME=home + "/cache")[0] == 0


def test_on_a_full_disk_kernels_are_compiled_and_not_cached(package):
    """No file may grow beyond 0 bytes."""
    pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    assert call(package, limit)[0] == 0
    assert call(package) == (0, 1), "no half-written file is left"
