"""Which engines there are, and which one to take: a line in ENGINES each."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from samplecnn.errors import UsageError
from samplecnn.inference.base import Engine
from samplecnn.models.graph import Graph, fold

if TYPE_CHECKING:
    import torch

    from samplecnn.models import SampleCNN

PRECISIONS = ("auto", "fp32", "bf16")
FEW = 128  # segments below which a quick start counts for more than speed
FEWEST = 48  # segments up to which NumPy is done before PyTorch is imported: 2 s, in which it runs about as many


@dataclass(frozen=True)
class Kind:
    """An engine that may be installed.

    Args:
        place: "module:class" of this package. The class has `open(net, precision, device, few)`; with `few`, a quick
            start counts for more than speed.
        needs: modules it cannot do without.
        extra: of samplecnn, which installs them.
        precisions: that it computes in, the exact one first.
        devices: that it runs on.
    """

    place: str
    needs: tuple[str, ...]
    extra: str
    precisions: tuple[str, ...]
    devices: tuple[str, ...] = ("cpu",)

    @property
    def installed(self) -> bool:
        return all(find_spec(name) is not None for name in self.needs)

    def precisions_on(self, device: "torch.device | None") -> list[str]:
        """Those that pay on a device (None: a CPU): what it has no units for is left out."""
        if device is None or self.precisions == ("fp32",):
            return ["fp32"]
        from samplecnn.hardware import has_bf16

        return [name for name in self.precisions if name == "fp32" or has_bf16(device)]

    def chosen(self, precision: str, device: "torch.device | None") -> str:
        """The precision that "auto" means there, or the one asked for."""
        if precision == "auto":
            return "bf16" if "bf16" in self.precisions_on(device) else "fp32"
        return precision

    @property
    def opener(self) -> Callable[[Graph, str, Any, bool], Engine]:
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"samplecnn.inference.{module}"), name).open


ENGINES = {
    "torch": Kind("torch_engine:TorchEngine", (), "", ("fp32", "bf16"), ("cpu", "cuda")),
    "numpy": Kind("numpy_engine:NumpyEngine", (), "", ("fp32",)),
    "openvino": Kind("openvino_engine:OpenVinoEngine", ("openvino",), "openvino", ("fp32", "bf16")),
    "onnx": Kind("onnx_engine:OnnxEngine", ("onnx", "onnxruntime"), "onnx", ("fp32",)),
}


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
        name: "torch", "numpy", "openvino", "onnx"; "auto" takes the fastest that is installed, where there is little to
            do the one that starts soonest, and for a handful of segments of a folded model the one that needs no start.
        precision: "fp32" is exact up to rounding; "bf16"; "auto" takes bf16 where the hardware has it.
        segments: about how many there will be; None for few, or not known: then it starts soon and runs slower.
        device: "cpu", "cuda"; None is where the model lies, for a folded one a GPU where there is one and it is of use.
            Engines other than torch run on a CPU.

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
    net = model if isinstance(model, Graph) else fold(model)
    if name == "auto" and net is model and device in (None, "cpu") and at_once(precision, segments):
        name = "numpy"
    place = _place(model, name, device)
    if name == "auto" and place is not None:
        name = choose(net, precision, place, segments)
    kind = ENGINES[name]
    if not kind.installed:
        raise UsageError(f"engine {name} is not installed; run `pip install 'samplecnn[{kind.extra}]'`")
    if place is not None and place.type not in kind.devices:
        raise UsageError(f"engine {name} runs on {' or '.join(kind.devices)}, not on {place}; use --engine torch there")
    precision = kind.chosen(precision, place)
    if precision not in kind.precisions:
        others = " or ".join(other for other, kind in ENGINES.items() if precision in kind.precisions)
        raise UsageError(
            f"engine {name} computes in {' or '.join(kind.precisions)}, not {precision}; use --engine {others}"
        )
    return kind.opener(net, precision, place, is_few(segments))


def _place(model: "SampleCNN | Graph", name: str, device: "str | torch.device | None") -> "torch.device | None":
    """The device to run on; None, a CPU, where that can be said without PyTorch."""
    if name == "numpy" and (device == "cpu" or (device is None and isinstance(model, Graph))):
        return None
    from samplecnn.evaluation.inference import choose_device

    if device is None and not isinstance(model, Graph):
        return next(model.parameters()).device
    cpu_alone = name != "auto" and ENGINES[name].devices == ("cpu",)
    return choose_device("cpu" if device is None and cpu_alone else device)


def is_few(segments: int | None) -> bool:
    return segments is None or segments < FEW


def at_once(precision: str, segments: int | None) -> bool:
    """Whether so few segments are known to be all that NumPy is done before another engine has started."""
    return segments is not None and segments <= FEWEST and precision != "bf16"


def choose(net: Graph, precision: str, device: "torch.device", segments: int | None) -> str:
    """The engine that is done first with so many segments, PyTorch being there."""
    if device.type != "cpu" or is_few(segments) or not ENGINES["openvino"].installed:
        return "torch"
    from samplecnn.hardware import DTYPES
    from samplecnn.inference.amx_engine import fit

    chosen = ENGINES["torch"].chosen(precision, device)
    return "torch" if chosen == "bf16" and fit(net, DTYPES[chosen], device) else "openvino"
