"""The registry of engines, and the choice of engine and precision for a model.

The precision is chosen first, by the options and the machine. Among the engines with that precision, the number of
segments then determines which finishes first. So a file has the same scores alone and among many, up to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.extras import is_installed, missing_extra
from samplecnn.hardware import choose_device, choose_precision
from samplecnn.inference.base import Engine
from samplecnn.models.folding import fold
from samplecnn.models.graph import Graph
from samplecnn.system.cpu import may_have_gpu

if TYPE_CHECKING:
    import torch

    from samplecnn.models import SampleCNN

PRECISIONS = ("auto", "fp32", "bf16")
FEW_SEGMENTS = 128  # below this number, start-up time matters more than speed


@dataclass(frozen=True)
class Kind:
    """An engine, installed or not.

    Args:
        reference: "module:class" in this package. The class has `open(net, precision, device, few)`; with `few`,
            start-up time matters more than speed.
        modules: modules that it imports.
        precisions: precisions that it supports, the exact one first.
        emulates: whether it emulates bfloat16 in software: slower than fp32, with results like those of other engines.
        devices: devices that it runs on.
        numpy_first: segments up to which NumPy, which has no start-up cost, finishes before it.
    """

    reference: str
    modules: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    emulates: bool = False
    devices: tuple[str, ...] = ("cpu",)
    numpy_first: int = 4

    @property
    def missing(self) -> str | None:
        """A required module that is not installed."""
        return next((name for name in self.modules if not is_installed(name)), None)

    @property
    def installed(self) -> bool:
        return self.missing is None

    @property
    def needs_benchmark(self) -> bool:
        """Whether it has two precisions, of which a benchmark selects the faster one."""
        return len(self.precisions) > 1 and not self.emulates

    @property
    def opener(self) -> Callable[[Graph, str, Any, bool], Engine]:
        module, _, name = self.reference.partition(":")
        return getattr(import_module(f"samplecnn.inference.{module}"), name).open  # type: ignore[no-any-return]


ENGINES = {
    "torch": Kind("torch_engine:TorchEngine", ("torch",), ("fp32", "bf16"), devices=("cpu", "cuda"), numpy_first=48),
    "numpy": Kind("numpy_engine:NumpyEngine", (), ("fp32", "bf16"), emulates=True),
    "openvino": Kind("openvino_engine:OpenVinoEngine", ("openvino",), ("fp32", "bf16")),
    "onnx": Kind("onnx_engine:OnnxEngine", ("onnx", "onnxruntime")),
}
# On many segments, fastest first; where kernels compiled by numba support the network, PyTorch's engine is the fastest.
BY_SPEED = ("openvino", "torch", "onnx", "numpy")
# On fewer than FEW_SEGMENTS segments, first to finish first: importing OpenVINO or ONNX Runtime takes a few tenths of a
# second, PyTorch about two seconds.
BY_START = ("openvino", "onnx", "torch", "numpy")
BENCHMARKED = ("torch", "openvino")  # with engine and precision auto, the first installed one selects the precision


def installed() -> list[str]:
    """Names of the installed engines."""
    return [name for name, kind in ENGINES.items() if kind.installed]


def open_engine(
    model: "SampleCNN | Graph",
    name: str = "auto",
    precision: str = "auto",
    *,
    segments: int | None = None,
    device: "str | torch.device | None" = None,
) -> Engine:
    """Opens an engine for a model, with its current weights.

    Args:
        model: a model with its task, which is not modified, or the result of `samplecnn.model_files.load_graph`.
        name: "torch", "numpy", "openvino", "onnx"; "auto" selects the fastest that is installed, for few segments the
            one with the lowest start-up time.
        precision: "fp32" is exact up to rounding; "bf16" has 8 significant bits; "auto" selects the faster one on this
            machine (`hardware.auto_precision`), independent of `segments`.
        segments: expected number of segments; None: few or unknown.
        device: "cpu", "cuda"; None: the model's device, for a folded network a GPU if available. Engines other than
            torch run on a CPU.

    Raises:
        UsageError: no such engine, precision or device; an engine that is not installed, or not for this device; a
            model without a task.

    Example:
        >>> engine = open_engine(samplecnn.load("log/20261122_101500-sounds-se_multi"))
        >>> engine(np.zeros((5, 729), np.float32)).shape
        (5, 3)
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not known; use {', '.join(PRECISIONS)}")
    if name != "auto" and name not in ENGINES:
        raise UsageError(f"engine {name!r} is not known; use auto, {', '.join(ENGINES)}")
    if name != "auto" and ENGINES[name].missing is not None:
        raise missing_extra(f"engine {name}", ENGINES[name].missing or "")
    net = model if isinstance(model, Graph) else fold(model)
    target = _target_device(model, name, device)
    if target is not None and name != "auto" and target.type not in ENGINES[name].devices:
        devices = " or ".join(ENGINES[name].devices)
        raise UsageError(f"engine {name} runs on {devices}, not on {target}; use --engine torch")
    precision = decide_precision(name, precision, target)
    if name == "auto":
        name = choose(net, precision, target, segments, imported=not isinstance(model, Graph))
    if precision not in ENGINES[name].precisions:
        others = [other for other, kind in ENGINES.items() if precision in kind.precisions and not kind.emulates]
        supported = " or ".join(ENGINES[name].precisions)
        raise UsageError(f"engine {name} supports {supported}, not {precision}; use --engine {' or '.join(others)}")
    return ENGINES[name].opener(net, precision, target, segments is None or segments < FEW_SEGMENTS)


def decide_precision(name: str, precision: str, device: "torch.device | None") -> str:
    """Resolves the precision "auto" to the faster one on this machine; other precisions are returned unchanged.

    Args:
        name: name of the engine, or "auto".
        precision: one of PRECISIONS.
        device: device of the computation; None: a CPU.
    """
    if precision != "auto":
        return precision
    on_cpu = device is None or device.type == "cpu"
    candidates = BENCHMARKED if name == "auto" else (name,)
    benchmarked = next((each for each in candidates if ENGINES[each].installed and ENGINES[each].needs_benchmark), None)
    if benchmarked is None:
        return "fp32"
    use = "inference" if benchmarked == "torch" else f"inference-{benchmarked}"
    return choose_precision("auto", None if on_cpu else device, use, lambda: _measure(benchmarked))


def _measure(name: str) -> Any:
    from samplecnn.inference.precision import measure

    if name != "torch":
        return measure(lambda net, precision: ENGINES[name].opener(net, precision, None, True))
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # spinning threads would count as CPU time
    try:
        from samplecnn.kernels import selection

        if selection.for_inference(torch.float32) is not None:
            return selection.inference_rates()
        return measure(lambda net, precision: ENGINES[name].opener(net, precision, None, True))
    finally:
        torch.set_num_threads(threads)


def _target_device(model: "SampleCNN | Graph", name: str, device: "str | torch.device | None") -> "torch.device | None":
    """The device to run on; None: a CPU, determined without importing PyTorch if possible."""
    if device == "cpu":
        return None
    if device is not None:
        return choose_device(device)
    if not isinstance(model, Graph):
        found = next(model.parameters()).device
        return None if found.type == "cpu" else found
    gpu_engine = name == "auto" or "cuda" in ENGINES[name].devices
    return choose_device(None) if gpu_engine and may_have_gpu() and ENGINES["torch"].installed else None


def choose(
    net: Graph, precision: str, device: "torch.device | None", segments: int | None, imported: bool = False
) -> str:
    """The installed engine with a precision that finishes first.

    Args:
        net: the network.
        precision: "fp32" or "bf16".
        device: device of the computation; None: a CPU.
        segments: expected number of segments; None: few or unknown.
        imported: whether PyTorch is already imported.
    """
    if device is not None and device.type != "cpu":
        return "torch"
    usable = [name for name in installed() if precision in ENGINES[name].precisions]
    if segments is None or segments < FEW_SEGMENTS:
        if imported and "torch" in usable:
            return "torch"
        first = next(name for name in BY_START if name in usable)
        return "numpy" if segments is not None and segments <= ENGINES[first].numpy_first else first
    if "torch" in usable:
        from samplecnn.hardware import dtype
        from samplecnn.inference.fused_engine import is_supported

        if is_supported(net, dtype(precision), choose_device("cpu")):
            return "torch"
    return next(name for name in BY_SPEED if name in usable)
