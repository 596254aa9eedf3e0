"""The machine: its CPU and devices, how PyTorch is set up for them, and which precision is fastest there.

Nothing here imports PyTorch before a function that needs it is called.
"""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from samplecnn import __version__
from samplecnn.errors import UsageError
from samplecnn.extras import require
from samplecnn.system.cache import cache_dir, is_writable, recall, remember
from samplecnn.system.cpu import LIMITS, REPORTED_FLAGS, cpu_flags, cpu_name, may_use_bf16, num_threads, usable_cpus
from samplecnn.system.log import note

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "tf32", "bf16")
OVERRIDE = "SAMPLECNN_AUTO_PRECISION"  # what "auto" means on a CPU, instead of a measurement
MARGIN = 1.05  # how much faster bfloat16 must be: fp32 is exact, and noise should not decide a tie

USES = ("training", "inference", "inference-openvino")  # separate measurements; the last one for OpenVINO
COMPUTING = ("numpy", "torch", "numba", "openvino", "onnxruntime")  # packages whose version affects the speed

Measure = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Choice:
    """A precision and why it was chosen.

    Args:
        precision: "fp32" or "bf16".
        reason: short text for users.
        rates: work per CPU second in each precision; empty if not measured.
    """

    precision: str
    reason: str
    rates: Mapping[str, float]


def choose_device(name: "str | torch.device | None") -> "torch.device":
    """The device of that name ("cpu", "cuda", "cuda:1", "mps"); None takes an NVIDIA or AMD GPU if there is one.

    "mps", the GPU of an Apple computer, becomes the CPU with a note where PyTorch cannot use it.

    Raises:
        UsageError: unknown name, or a device that this machine does not have.
    """
    require(f"device {name or 'auto'}", "train")
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "mps":
            return _mps_or_cpu(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {name!r} cannot be used here; use cpu, or cuda on a machine with a GPU") from error
    if device.type == "meta":
        raise UsageError("device 'meta' holds no values; use cpu, or cuda on a machine with a GPU")
    return device


def device_name(device: "torch.device") -> str:
    """The model name of a GPU, or of the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def _mps_or_cpu(device: "torch.device") -> "torch.device":
    import torch

    if torch.backends.mps.is_available():
        return device
    built = torch.backends.mps.is_built()
    reason = "there is no GPU of Apple's here" if built else "this PyTorch is built without it"
    note(f"device mps cannot be used, {reason}: the CPU is used")
    return torch.device("cpu")


def random_state(device: "torch.device") -> "torch.Tensor | None":
    """The state of a GPU's random numbers; None for a CPU, whose state is PyTorch's own."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


def set_random_state(device: "torch.device", state: "torch.Tensor | None") -> None:
    """Restores what `random_state` gave, if it is of such a device."""
    import torch

    if state is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    if state is not None and device.type == "mps":
        torch.mps.set_rng_state(state)


def has_tf32(device: "torch.device") -> bool:
    """Whether the device multiplies float32 with 10 bits of mantissa in matrix units: NVIDIA GPUs from Ampere on."""
    import torch

    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def choose_precision(name: str, device: "torch.device | None", use: str, measure: Measure) -> str:
    """ "fp32", "tf32" or "bf16"; "auto" takes the faster of fp32 and bf16 on this machine.

    fp32 is exact everywhere. tf32 keeps 32-bit floats and multiplies them with 10 bits of mantissa.

    Args:
        name: the requested precision, or "auto".
        device: the device that computes; None: a CPU, without PyTorch.
        use, measure: arguments for `auto_precision`, used on a CPU.

    Raises:
        UsageError: unknown name, or tf32 on a device without it.
    """
    if name not in ("auto", *PRECISIONS):
        raise UsageError(f"precision {name!r} is not known; use auto, {', '.join(PRECISIONS)}")
    if name == "tf32" and (device is None or not has_tf32(device)):
        kind = "cpu" if device is None else device.type
        raise UsageError(f"precision tf32 is for NVIDIA GPUs from Ampere on, not for this {kind}; use auto")
    if name != "auto":
        return name
    if device is None or device.type == "cpu":
        return auto_precision(use, measure).precision
    if device.type != "cuda":
        return "fp32"
    import torch

    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def auto_precision(use: str, measure: Measure) -> Choice:
    """The faster precision on this machine's CPU, measured once and then cached.

    Nothing is measured if OVERRIDE is set or the CPU has no bfloat16.

    Args:
        use: name of the measurement in the cache: one of USES.
        measure: returns the work done per second in "fp32" and in "bf16"; takes about a second.

    Raises:
        UsageError: OVERRIDE has another value than fp32, bf16 or auto.
    """
    known = known_precision(use)
    if known is not None:
        return known
    try:
        rates = {name: float(rate) for name, rate in measure().items()}
    except RuntimeError as error:  # oneDNN refuses bfloat16 under some limits
        return Choice("fp32", f"bf16 cannot be used: {str(error).partition(chr(10))[0]}", {})
    return _measured(remember(f"precision-{use}", _key(), rates, _are_rates))


def known_precision(use: str) -> Choice | None:
    """The result of `auto_precision` if it is known without a measurement; otherwise None."""
    override = os.environ.get(OVERRIDE, "").lower()
    if override in ("fp32", "bf16"):
        return Choice(override, f"set by {OVERRIDE}", {})
    if override not in ("", "auto"):
        raise UsageError(f"{OVERRIDE}={override}: use fp32, bf16 or auto")
    if not may_use_bf16():
        return Choice("fp32", "the CPU has no bfloat16, or may not use it", {})
    rates = recall(f"precision-{use}", _key(), _are_rates)
    return None if rates is None else _measured(rates)


def _measured(rates: Mapping[str, float]) -> Choice:
    ratio = rates["bf16"] / rates["fp32"]
    chosen = "bf16" if ratio > MARGIN else "fp32"
    return Choice(chosen, f"measured: bf16 has {ratio:.2f} times the speed of fp32", rates)


def _are_rates(value: Any) -> bool:
    numbers = [value.get(name) for name in ("fp32", "bf16")] if isinstance(value, dict) else [None]
    return all(isinstance(number, float) and 0 < number < float("inf") for number in numbers)


def _key() -> dict[str, Any]:
    """Everything that the faster precision depends on."""
    return {
        "cpu": cpu_name(),
        "flags": sorted((cpu_flags() or frozenset()) & set(REPORTED_FLAGS)),
        "cpus": usable_cpus(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "limits": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "versions": {"samplecnn": __version__, **_versions()},
    }


@cache
def _versions() -> dict[str, str]:
    """Versions of the installed packages in COMPUTING."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in COMPUTING:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def describe() -> list[tuple[str, str]]:
    """The machine as (label, value) pairs for display; imports and measures nothing.

    The precision that `auto` resolves to is included if it has been measured already.
    """
    flags = cpu_flags()
    listed = " ".join(flag for flag in REPORTED_FLAGS if flags and flag in flags)
    limits = ", ".join(f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ)
    folder = cache_dir()
    pairs = [
        ("CPU", f"{cpu_name()}, {usable_cpus()} usable"),
        ("instruction sets", listed or "not listed by this system"),
        ("limited by", limits or "nothing"),
        ("threads", str(num_threads())),
        ("Python", platform.python_version()),
        *((name, _versions().get(name, "not installed")) for name in COMPUTING),
    ]
    for use in USES:
        choice = known_precision(use)
        pairs.append((f"{use} precision", f"{choice.precision}, {choice.reason}" if choice else "not measured yet"))
    writable = "" if is_writable() else " (not writable: measured again by every process)"
    return [*pairs, ("cache", "none: no home folder" if folder is None else f"{folder}{writable}")]


def dtype(precision: str) -> "torch.dtype":
    """The dtype of tensors in a precision."""
    import torch

    return {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}[precision]


@contextmanager
def tuned(device: "torch.device", precision: str) -> Iterator[None]:
    """Context with PyTorch's settings for computing on a GPU; on a CPU nothing changes.

    float32 is multiplied exactly unless `precision` is tf32 (PyTorch's default rounds in convolutions and not in matrix
    products). cuDNN benchmarks its algorithms on every new shape, of which training has two.
    """
    if device.type != "cuda":
        yield
        return
    import torch

    rounded = precision == "tf32"
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = rounded, rounded, True
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before
