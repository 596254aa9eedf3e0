"""The engines, a line of ENGINES each, and which of them runs a model in which precision.

The precision is decided first, by the options and the machine. The number of segments then decides which engine of that
precision is done first, so that a file has the same scores alone and among many, up to the rounding of the precision.
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
QUICK_START = 128  # segments below which a short start-up counts for more than speed


@dataclass(frozen=True)
class Kind:
    """An engine that may be installed.

    Args:
        place: "module:class" of this package. The class has `open(net, precision, device, few)`; with `few`, a short
            start-up counts for more than speed.
        modules: it imports.
        precisions: that it computes in, the exact one first.
        emulates: bfloat16 is rounded to in software: slower than fp32, for results like those of engines that have it.
        devices: that it runs on.
        numpy_first: segments up to which NumPy, which has no start-up cost, finishes before it.
    """

    place: str
    modules: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    emulates: bool = False
    devices: tuple[str, ...] = ("cpu",)
    numpy_first: int = 4

    @property
    def missing(self) -> str | None:
        """A module it needs that is not installed."""
        return next((name for name in self.modules if not is_installed(name)), None)

    @property
    def installed(self) -> bool:
        return self.missing is None

    @property
    def decides(self) -> bool:
        """Whether it has two precisions of which the faster one is to be found by measuring."""
        return len(self.precisions) > 1 and not self.emulates

    @property
    def opener(self) -> Callable[[Graph, str, Any, bool], Engine]:
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"samplecnn.inference.{module}"), name).open  # type: ignore[no-any-return]


ENGINES = {
    "torch": Kind("torch_engine:TorchEngine", ("torch",), ("fp32", "bf16"), devices=("cpu", "cuda"), numpy_first=48),
    "numpy": Kind("numpy_engine:NumpyEngine", (), ("fp32", "bf16"), emulates=True),
    "openvino": Kind("openvino_engine:OpenVinoEngine", ("openvino",), ("fp32", "bf16")),
    "onnx": Kind("onnx_engine:OnnxEngine", ("onnx", "onnxruntime")),
}
BY_SPEED = ("openvino", "torch", "onnx", "numpy")  # on many segments, fastest first
# On fewer than QUICK_START segments, the one that finishes first: importing OpenVINO or ONNX Runtime takes some tenths
# of a second, PyTorch about two seconds.
BY_START = ("openvino", "onnx", "torch", "numpy")
DECIDING = ("torch", "openvino")  # the first one installed decides the precision where engine and precision are auto


def installed() -> list[str]:
    """Names of the engines that can be opened here."""
    return [name for name, kind in ENGINES.items() if kind.installed]


def open_engine(
    model: "SampleCNN | Graph",
    name: str = "auto",
    precision: str = "auto",
    *,
    segments: int | None = None,
    device: "str | torch.device | None" = None,
) -> Engine:
    """An engine for a model, with the values that it has now.

    Args:
        model: with its task; it is left as it is. Or what `samplecnn.model_files.load_graph` gives.
        name: "torch", "numpy", "openvino", "onnx"; "auto" takes the fastest that is installed, for few segments the
            one with the lowest start-up time.
        precision: "fp32" is exact up to rounding; "bf16" has 8 bits; "auto" takes the faster one on this machine
            (`hardware.auto_precision`). It does not depend on `segments`.
        segments: about how many there will be; None: few, or not known.
        device: "cpu", "cuda"; None is where the model lies, for a folded one a GPU where there is one. Engines other
            than torch run on a CPU.

    Raises:
        UsageError: no such engine, precision or device; an engine that is not installed, or not for this device; a
            model without a task.

    Example:
        >>> engine = open_engine(samplecnn.load("log/20261122_101500-sounds-se"))
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
    place = _place(model, name, device)
    if place is not None and name != "auto" and place.type not in ENGINES[name].devices:
        devices = " or ".join(ENGINES[name].devices)
        raise UsageError(f"engine {name} runs on {devices}, not on {place}; use --engine torch there")
    precision = decide_precision(name, precision, place)
    if name == "auto":
        name = choose(net, precision, place, segments, imported=not isinstance(model, Graph))
    if precision not in ENGINES[name].precisions:
        fast = [other for other, kind in ENGINES.items() if precision in kind.precisions and not kind.emulates]
        own = " or ".join(ENGINES[name].precisions)
        raise UsageError(f"engine {name} computes in {own}, not {precision}; use --engine {' or '.join(fast)}")
    return ENGINES[name].opener(net, precision, place, segments is None or segments < QUICK_START)


def decide_precision(name: str, precision: str, device: "torch.device | None") -> str:
    """The precision of an engine: the one asked for, or where that is "auto" the faster one on this machine.

    Args:
        name: of the engine, or "auto".
        precision: one of PRECISIONS.
        device: that computes; None: a CPU.
    """
    if precision != "auto":
        return precision
    on_cpu = device is None or device.type == "cpu"
    candidates = DECIDING if name == "auto" else (name,)
    judge = next((each for each in candidates if ENGINES[each].installed and ENGINES[each].decides), None)
    if judge is None:
        return "fp32"
    use = "inference" if judge == "torch" else f"inference-{judge}"
    return choose_precision("auto", None if on_cpu else device, use, lambda: _measure(judge))


def _measure(name: str) -> Any:
    from samplecnn.inference.precision import measure

    if name != "torch":
        return measure(lambda net, precision: ENGINES[name].opener(net, precision, None, True))
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for one another by spinning would be counted as computing
    try:
        return measure(lambda net, precision: ENGINES[name].opener(net, precision, None, True))
    finally:
        torch.set_num_threads(threads)


def _place(model: "SampleCNN | Graph", name: str, device: "str | torch.device | None") -> "torch.device | None":
    """The device to run on; None, a CPU, where that is clear without PyTorch."""
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
    """The installed engine of a precision that is done first with so many segments.

    Args:
        net: the network.
        precision: "fp32" or "bf16".
        device: that computes; None: a CPU.
        segments: how many there will be; None: few, or not known.
        imported: PyTorch is imported already.
    """
    if device is not None and device.type != "cpu":
        return "torch"
    usable = [name for name in installed() if precision in ENGINES[name].precisions]
    if segments is None or segments < QUICK_START:
        if imported and "torch" in usable:
            return "torch"
        first = next(name for name in BY_START if name in usable)
        return "numpy" if segments is not None and segments <= ENGINES[first].numpy_first else first
    if precision == "bf16" and "torch" in usable:
        from samplecnn.hardware import dtype
        from samplecnn.inference.amx_engine import is_supported

        if is_supported(net, dtype(precision), choose_device("cpu")):
            return "torch"
    return next(name for name in BY_SPEED if name in usable)
