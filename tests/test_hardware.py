"""What the machine can do, which precision is faster on it, and how PyTorch is set up for it. No test goes by time."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from samplecnn import hardware
from samplecnn.errors import UsageError
from samplecnn.hardware import auto_precision, choose_precision, describe, has_tf32, known_precision, tuned
from samplecnn.system import cache, cpu
from samplecnn.training import precision as training_precision

CPU = torch.device("cpu")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with bfloat16, without limits in the environment, and with an empty cache folder: that folder."""
    for name in (*cpu.LIMITS, hardware.OVERRIDE, "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"avx2", "avx512_bf16"}))
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Measured:
    """Replaces a measurement; counts the calls."""

    def __init__(self, fp32: float, bf16: float) -> None:
        self.rates, self.count = {"fp32": fp32, "bf16": bf16}, 0

    def __call__(self) -> dict[str, float]:
        self.count += 1
        return self.rates


def test_the_faster_precision_is_chosen_and_cached(machine):
    fast, slow = Measured(10, 20), Measured(20, 10)
    assert choose_precision("auto", CPU, "training", fast) == "bf16"
    assert choose_precision("auto", CPU, "inference", slow) == "fp32"
    assert choose_precision("auto", None, "training", slow) == "bf16", "kept, and another one's for inference"
    assert choose_precision("auto", None, "inference", fast) == "fp32"
    assert (fast.count, slow.count) == (1, 1) and len(list(machine.iterdir())) == 2
    choice = known_precision("training")
    assert choice is not None and choice.rates == {"fp32": 10, "bf16": 20} and "2.00 times" in choice.reason


def test_a_tie_selects_fp32(machine):
    assert auto_precision("training", Measured(10, 10.2)).precision == "fp32"


def test_another_machine_or_version_measures_again(machine, monkeypatch):
    assert auto_precision("training", Measured(10, 20)).precision == "bf16"
    changes = {
        "cpu": lambda: monkeypatch.setattr(hardware, "cpu_name", lambda: "another CPU"),
        "version": lambda: monkeypatch.setattr(hardware, "_versions", lambda: {"torch": "9.9"}),
        "samplecnn": lambda: monkeypatch.setattr(hardware, "__version__", "99"),
        "limit": lambda: monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16"),
        "limit of PyTorch": lambda: monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2"),
        "threads": lambda: monkeypatch.setenv("OMP_NUM_THREADS", "3"),
    }
    for name, change in changes.items():
        change()
        assert known_precision("training") is None, name
        measured = Measured(20, 10)
        assert auto_precision("training", measured).precision == "fp32" and measured.count == 1, name


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"null", b"[1]", b'{"key": {}, "value": {"fp32": 1.0, "bf16": 2.0}}', b"[" * 100_000],
)
def test_a_damaged_cache_is_ignored_and_replaced(machine, content):
    auto_precision("training", Measured(10, 20))
    [file] = machine.iterdir()
    file.write_bytes(content)
    assert known_precision("training") is None
    assert auto_precision("training", Measured(20, 10)).precision == "fp32"
    choice = known_precision("training")
    assert choice is not None and choice.precision == "fp32"
    assert [path.name for path in machine.iterdir()] == [file.name]


@pytest.mark.parametrize("value", [{"fp32": 1.0}, {"fp32": "1", "bf16": 2.0}, {"fp32": 0.0, "bf16": 2.0}, 7])
def test_a_cached_value_that_is_no_measurement_is_ignored(machine, value):
    auto_precision("training", Measured(10, 20))
    [file] = machine.iterdir()
    file.write_text(json.dumps({**json.loads(file.read_text()), "value": value}))
    assert known_precision("training") is None


def test_a_cache_that_cannot_be_written_is_no_error(machine, monkeypatch):
    machine.write_text("a file where the folder should be")
    for _ in range(2):
        measured = Measured(10, 20)
        assert auto_precision("training", measured).precision == "bf16" and measured.count == 1
    assert "not writable" in dict(describe())["cache"]
    machine.unlink()
    monkeypatch.setattr(cache, "cache_dir", lambda: None)
    assert auto_precision("training", Measured(10, 20)).precision == "bf16" and not machine.exists()


def test_the_first_of_several_processes_wins(machine):
    """All of them use the same result, whatever each of them measured."""
    key = {"cpu": "one"}
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda n: cache.remember("x", key, n, lambda v: isinstance(v, int)), range(64)))
    stored = cache.recall("x", key, lambda value: isinstance(value, int))
    assert kept.count(stored) == 64 and len(list(machine.iterdir())) == 1


def test_the_cache_folder_is_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.cache_dir() == tmp_path / ".cache" / "samplecnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "samplecnn"
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "own"))
    assert cache.cache_dir() == tmp_path / "own"


def test_nothing_is_measured_without_bfloat16(machine, monkeypatch):
    def measure():
        raise AssertionError("measured")

    for limit in ("AVX2", "avx512_core"):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert choose_precision("auto", CPU, "training", measure) == "fp32", limit
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE")
    assert choose_precision("auto", CPU, "training", measure) == "fp32"
    assert choose_precision("bf16", CPU, "training", measure) == "bf16", "an explicit precision is used"
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert choose_precision("auto", CPU, "training", Measured(1, 2)) == "bf16"
    monkeypatch.setattr(cpu, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    assert choose_precision("auto", CPU, "training", measure) == "fp32"
    monkeypatch.setattr(cpu, "cpu_flags", lambda: None)  # a system that does not list them
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "DEFAULT")
    assert choose_precision("auto", CPU, "training", Measured(1, 2)) == "bf16"


def test_hardware_that_fails_in_bfloat16_computes_in_float32(machine):
    def measure():
        raise RuntimeError("bf16 path needs the cpu support")

    assert auto_precision("inference", measure).precision == "fp32"
    assert not machine.exists() or not list(machine.iterdir())


def test_the_environment_overrides_the_measurement(machine, monkeypatch):
    measured = Measured(10, 20)
    monkeypatch.setenv(hardware.OVERRIDE, "fp32")
    assert choose_precision("auto", CPU, "training", measured) == "fp32" and measured.count == 0
    assert choose_precision("bf16", CPU, "training", measured) == "bf16"
    monkeypatch.setenv(hardware.OVERRIDE, "fp8")
    with pytest.raises(UsageError, match="SAMPLECNN_AUTO_PRECISION=fp8: use fp32, bf16 or auto"):
        choose_precision("auto", CPU, "training", measured)


def test_the_training_measurement_runs_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(training_precision, "CONVOLUTIONS", ((8, 8, 30), (8, 16, 9)))
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    rates = training_precision.measure()
    assert set(rates) == {"fp32", "bf16"} and min(rates.values()) > 0
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads


def test_the_machine_is_described(machine):
    auto_precision("training", Measured(10, 20))
    rows = dict(describe())
    assert rows["training precision"] == "bf16, measured: bf16 has 2.00 times the speed of fp32"
    assert rows["inference precision"] == "not measured yet"
    assert rows["torch"] == torch.__version__.partition("+")[0] or rows["torch"] == torch.__version__
    assert str(machine) in rows["cache"] and rows["CPU"] and int(rows["threads"]) >= 1


def test_a_limit_in_the_environment_reaches_the_choice():
    program = "from samplecnn.hardware import choose_precision as c; print(c('auto', None, 'training', None))"
    limited = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=limited, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "fp32"


def test_unknown_precisions_and_tf32_without_a_gpu_are_refused():
    assert not has_tf32(CPU)
    for device in (CPU, None):
        with pytest.raises(UsageError, match=r"tf32 is for NVIDIA GPUs.*not for this cpu"):
            choose_precision("tf32", device, "training", Measured(1, 1))
    with pytest.raises(UsageError, match="use auto, fp32, tf32, bf16"):
        choose_precision("fp64", CPU, "training", Measured(1, 1))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_settings_for_a_gpu_are_set_and_restored(precision):
    """PyTorch keeps these settings on machines without a GPU too."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    with tuned(torch.device("cuda"), precision):
        rounded = precision == "tf32"
        assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == (rounded, rounded, True)
    with tuned(CPU, precision):
        assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == before
    assert (cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark) == before


def test_mps_falls_back_to_the_cpu_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert hardware.choose_device("mps") == CPU
    assert "device mps cannot be used" in capsys.readouterr().err


def test_on_mps_training_differs_in_what_apple_gpus_lack(monkeypatch):
    """A stub of such a machine: PyTorch's calls for it are recorded, tensors stay on the CPU."""
    from samplecnn.training.step import mode_of

    mps, states = torch.device("mps"), [torch.tensor([1, 2], dtype=torch.uint8)]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", states.append)
    assert hardware.choose_device("mps") == mps
    assert choose_precision("auto", mps, "training", Measured(1, 9)) == "fp32"  # nothing is measured
    with pytest.raises(UsageError, match="tf32 is for NVIDIA GPUs"):
        choose_precision("tf32", mps, "training", Measured(1, 9))
    saved = hardware.random_state(mps)
    states.append(torch.tensor([7], dtype=torch.uint8))
    hardware.set_random_state(mps, saved)
    assert torch.equal(states[-1], torch.tensor([1, 2], dtype=torch.uint8))  # resumes bit for bit
    assert hardware.random_state(CPU) is None
    assert mode_of(False, mps, print) == "eager"
    with tuned(mps, "fp32"):  # changes no setting of NVIDIA GPUs
        pass
