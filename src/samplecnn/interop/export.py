"""Exports models to formats of other programs. A format is a function (model, path) and a line in FORMATS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samplecnn.errors import UsageError
from samplecnn.extras import require

if TYPE_CHECKING:
    from samplecnn.models import SampleCNN
    from samplecnn.models.config import ModelConfig
    from samplecnn.models.stored import StoredModel

    Model = SampleCNN | StoredModel


@dataclass(frozen=True)
class Format:
    """A file format for models.

    Args:
        write: writes a model to a path, atomically.
        endings: file name suffixes, by which programs recognise the format.
        opened_with: the call with which the other program opens the file, with {path!r}; the command prints it.
        unsupported: the part of an architecture that the format cannot represent; None if it can represent all.
    """

    write: Callable[["Model", Path], None]
    endings: tuple[str, ...]
    opened_with: str
    unsupported: Callable[["ModelConfig"], str | None]


def _keras_h5(model: "Model", path: Path) -> None:
    from samplecnn.interop.keras import h5

    h5.write(model, path)


def _unsupported_by_keras(config: "ModelConfig") -> str | None:
    from samplecnn.interop import keras

    return keras.unsupported(config)


def _onnx(model: "Model", path: Path) -> None:
    from samplecnn.interop import runtimes

    runtimes.write_onnx(model, path)


def _openvino(model: "Model", path: Path) -> None:
    from samplecnn.interop import runtimes

    runtimes.write_openvino(model, path)


def _torch(model: "Model", path: Path) -> None:
    require("export to a PyTorch program", "train")
    from samplecnn.interop import torch_program

    torch_program.write_torch(model, path)


def _html(model: "Model", path: Path) -> None:
    from samplecnn.interop.html.page import write_html

    write_html(model, path)


def _unsupported_by_html(config: "ModelConfig") -> str | None:
    from samplecnn.interop.html.page import unsupported

    return unsupported(config)


FORMATS = {
    "keras-h5": Format(
        _keras_h5,
        (".h5", ".hdf5"),
        "tf.keras.models.load_model({path!r}), and the original's eval.py",
        _unsupported_by_keras,
    ),
    "onnx": Format(_onnx, (".onnx",), "onnxruntime.InferenceSession({path!r})", lambda config: None),
    "openvino": Format(_openvino, (".xml",), "openvino.Core().compile_model({path!r})", lambda config: None),
    "torch": Format(_torch, (".pt2",), "torch.export.load({path!r}).module()", lambda config: None),
    "html": Format(_html, (".html", ".htm"), "a browser", _unsupported_by_html),
}


def export(model: "Model", path: str | Path, to: str) -> None:
    """Writes a model in another program's format.

    Args:
        model: from `samplecnn.load` or `model_files.load_stored`.
        path: the file to write, atomically.
        to: a name in FORMATS.

    Raises:
        UsageError: there is no such format, the file name has another ending, or the format cannot represent the model.
    """
    path = Path(path)
    check(path, to)
    FORMATS[to].write(model, path)


def check(path: Path, to: str) -> None:
    """Checks format and file name before a model is loaded. Raises UsageError."""
    if to not in FORMATS:
        raise UsageError(f"--to {to}: choose one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise UsageError(f"{path}: a folder; give the name of the file to write")
    if path.suffix not in FORMATS[to].endings:
        raise UsageError(
            f"{path}: a name for {to} ends in {' or '.join(FORMATS[to].endings)}; programs recognise the format by it"
        )
