"""Models on disk: a folder with `model.safetensors` and `config.json`, or an `.h5` of the original code.

`load_stored` and `load_graph` read both without PyTorch; `load` makes a PyTorch module of them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.extras import require
from samplecnn.interop.hub import cache as hub
from samplecnn.models.config import DESCRIPTION as MODEL
from samplecnn.models.config import ModelConfig
from samplecnn.models.stored import StoredModel
from samplecnn.parsing import anything, fields, is_whole, list_of, number, or_null, read_object, table_of, text, whole
from samplecnn.system.files import write_bytes, write_json
from samplecnn.task import DESCRIPTION as TASK
from samplecnn.task import Task
from samplecnn.zoo.packaged import no_such_model, packaged_folder, resolved

if TYPE_CHECKING:
    import torch

    from samplecnn.models import SampleCNN
    from samplecnn.models.graph import Graph

WEIGHTS, CONFIG = hub.WEIGHTS, hub.CONFIG
FORMAT_VERSION = 1

TRAINING = fields({"options": or_null(table_of(anything()))}, optional=["options"])
CALIBRATION = fields({"scale": list_of(number(0, 1e6, above=True)), "shift": list_of(number(-1e6, 1e6))})
OUTPUT_LAYER = "logit"


def _version(value: Any, key: str) -> str:
    if is_whole(value, FORMAT_VERSION + 1, 10**6):
        return f"format {value} is newer than this samplecnn; upgrade samplecnn"
    return whole(FORMAT_VERSION, FORMAT_VERSION)(value, key)


DESCRIPTION = fields(
    {
        "format_version": _version,
        "model": MODEL,
        "task": TASK,
        "sha256": or_null(text(64)),
        "training": or_null(TRAINING),
        "calibration": or_null(CALIBRATION),
        "listening": or_null(table_of(anything())),  # see `listening.operating_point`
    },
    optional=["sha256", "training", "calibration", "listening"],
)


def save(
    model: "SampleCNN | StoredModel",
    folder: str | Path,
    training: dict[str, Any] | None = None,
    *,
    half: bool = False,
    card: dict[str, Any] | None = None,
) -> None:
    """Writes the weights and all that is needed to use them: architecture, task and class names.

    The folder can be pushed to a model hub as it is. config.json also holds the hash of the weights (SHA-256), which
    tells whether the two files belong together.

    Args:
        model: with its task.
        folder: is made where it does not exist.
        training: how the model was trained, as plain values, for config.json.
        half: stores weights (arrays of two or more dimensions) in float16, which halves the file; biases and batch-norm
            statistics stay in float32.
        card: what the list of packaged models shows, for config.json.

    Raises:
        SampleCNNError: the model has no task, or a weight is too large for float16.
    """
    import hashlib

    from safetensors.numpy import save as serialise

    stored = model if isinstance(model, StoredModel) else StoredModel.of(model)
    folder = Path(folder)
    values = {name: _half(name, value) if half else value for name, value in stored.values.items()}
    weights = serialise({name: np.ascontiguousarray(value) for name, value in values.items()})
    write_bytes(folder / WEIGHTS, weights)
    description = {
        "format_version": FORMAT_VERSION,
        "model": stored.config.to_dict(),
        "task": stored.task.to_dict(),
        "sha256": hashlib.sha256(weights).hexdigest(),
        **({} if training is None else {"training": training}),
        **({} if card is None else {"card": card}),
    }
    write_json(folder / CONFIG, description)


def _half(name: str, value: np.ndarray) -> np.ndarray:
    """Weights in float16; arrays of one dimension as they are."""
    if value.ndim < 2:
        return value
    if np.abs(value).max(initial=0) > np.finfo(np.float16).max:
        raise SampleCNNError(f"{name} has values that float16 cannot hold; keep the model in float32")
    return value.astype(np.float16)


def load(path: str | Path, device: "str | torch.device" = "cpu") -> "SampleCNN":
    """Loads a trained model as a PyTorch module, ready for use.

    Args:
        path: a path that exists (a run directory, a `.safetensors` with its config.json, an original `.h5`), else a
            packaged model's name, else a hub id (`org/name`, `org/name@revision`), downloaded unless it is cached.
        device: where the weights go.

    Returns:
        The SampleCNN in eval mode, with `.task` and `.config`.

    Raises:
        UsageError: there is no model at `path`.
        SampleCNNError: files that are damaged or do not fit each other; the hub cannot be reached.

    Example:
        >>> model = samplecnn.load("log/20261122_101500-sounds-se_multi")
        >>> model.task.classes
        ('beep', 'hiss', 'hum')
    """
    require("samplecnn.load", "train")
    path = _file_of(path)
    stored = _read(path)
    try:
        return stored.module().to(device)
    except SampleCNNError as error:
        raise _misfit(path, error) from error


def load_graph(path: str | Path) -> "Graph":
    """The network for inference of a model (`inference.open_engine`), batch norms folded; arguments as for `load`."""
    return _checked(path)[1]


def load_stored(path: str | Path) -> StoredModel:
    """Weights, architecture and task as they are in a model's file; arguments as for `load`."""
    return _checked(path)[0]


def _checked(path: str | Path) -> "tuple[StoredModel, Graph]":
    path = _file_of(path)
    stored = _read(path)
    try:
        return stored, stored.fold()  # checks every name and shape
    except SampleCNNError as error:
        raise _misfit(path, error) from error


def _misfit(path: Path, error: SampleCNNError) -> SampleCNNError:
    return SampleCNNError(f"{path}: does not fit the architecture in {CONFIG}: {error}")


def _read(path: Path) -> StoredModel:
    if is_keras(path):
        from samplecnn.interop.keras import h5

        return h5.read(path)
    values = read_description(path)
    (config, task), weights = _described(path, values), _safetensors(path)
    if values.get("calibration") is not None:
        _calibrate(weights, values["calibration"], path)
    return StoredModel(weights, config, task, values.get("card"), values.get("listening"))


def _calibrate(weights: dict[str, np.ndarray], calibration: dict[str, Any], path: Path) -> None:
    """Puts a factor and a shift for each logit into the output layer, so that every engine and export has them."""
    scale, shift = (np.array(calibration[name], np.float32) for name in ("scale", "shift"))
    weight, bias = (weights.get(f"{OUTPUT_LAYER}.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None:
        return  # a layer that is missing is reported with the others that are
    if not len(scale) == len(shift) == len(bias):
        raise SampleCNNError(
            f"{path.with_name(CONFIG)}: {len(scale):,} values of calibration for {len(bias):,} classes; copy it from "
            f"where {path.name} came"
        )
    weights[f"{OUTPUT_LAYER}.weight"] = weight * scale[:, None]
    weights[f"{OUTPUT_LAYER}.bias"] = bias * scale + shift


def description_of(path: str | Path) -> dict[str, Any]:
    """The content of a model's config.json (`read_description`); {} for a Keras file, which has none."""
    file = _file_of(path)
    return {} if is_keras(file) else read_description(file)


def calibration_of(path: str | Path) -> dict[str, Any] | None:
    """The calibration in a model's config.json: `scale` and `shift`, lists of a number for each class; None: none."""
    return description_of(path).get("calibration")


def training_of(path: str | Path) -> dict[str, Any] | None:
    """How a model was trained, from its config.json; None where that is not recorded."""
    return description_of(path).get("training")


def update_description(path: str | Path, changes: dict[str, Any]) -> None:
    """Replaces entries of a model's config.json; its weights stay as they are.

    Args:
        path: a run directory, or a .safetensors with its config.json.
        changes: by key.

    Raises:
        UsageError: a packaged model, one of the hub, or a model without config.json.
    """
    file = _file_of(path)
    if not Path(path).exists() and hub.possible_id(path) is not None:
        raise UsageError(f"{path}: a model of the hub is not changed; copy it with `samplecnn pull {path} FOLDER`")
    if is_keras(file):
        raise UsageError(f"{path}: has no config.json; make a folder of it with `samplecnn convert {path} FOLDER`")
    if packaged_folder(file.parent.name) == file.parent:
        raise UsageError(f"{path}: a packaged model is not changed; copy it with `samplecnn convert {path} FOLDER`")
    write_json(file.with_name(CONFIG), read_description(file) | changes)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors, in float32; bfloat16, which NumPy does not have, is widened."""
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise SampleCNNError(f"{path}: damaged ({error}); copy it again from where the model came") from error
    return {name: _array(tensor, f"{path}: {name}") for name, tensor in tensors}


VARIANCE = "running_var"
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def _array(tensor: Any, where: str) -> np.ndarray:
    kind, data = tensor["dtype"], tensor["data"]
    if kind == "BF16":
        flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in FLOATS:
        flat = np.frombuffer(data, FLOATS[kind]).astype(np.float32, copy=False)
    else:
        raise SampleCNNError(f"{where} is of type {kind}, expected floats; copy the file again")
    if not np.isfinite(flat.sum()) and not np.isfinite(flat).all():  # a sum is the faster test, and can overflow
        raise SampleCNNError(f"{where} has values that are not finite numbers; copy the file again")
    if where.endswith(VARIANCE) and flat.size and flat.min() < 0:
        raise SampleCNNError(f"{where} has variances below 0; copy the file again")
    return flat.reshape(tensor["shape"])


def _file_of(path: str | Path) -> Path:
    """The file of weights at `path`, or of the model of this name: a .safetensors, or a Keras file."""
    path = resolved(path)
    if path.is_dir():
        path = path / WEIGHTS
        if not path.exists():
            raise UsageError(f"{path.parent}: no {WEIGHTS} here; give the directory of a run that has saved a model")
    if not path.exists():
        raise no_such_model(path, "give a run directory, a .safetensors or an .h5")
    if not path.is_file():  # reading a pipe could wait for ever
        raise UsageError(f"{path}: not a regular file; give a run directory, a .safetensors or an .h5")
    if path.suffix != ".safetensors" and not is_keras(path):
        raise UsageError(f"{path}: not a model; give a run directory, a .safetensors or an .h5")
    return path


def is_keras(path: Path) -> bool:
    """Whether a path is a Keras file: by its name, or by its first bytes if a download renamed it."""
    from samplecnn.interop.keras.sandbox import SIGNATURE

    if path.suffix.lower() in (".h5", ".hdf5", ".keras", ".keras_h5"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read_description(path: Path) -> dict[str, Any]:
    """The content of the config.json next to a .safetensors; files of other programs have no `sha256` and `training`.

    Raises:
        SampleCNNError: absent, not a regular file, damaged, of a later version, or a value that cannot be, named.
    """
    remedy = f"it holds the class names; copy it from where {path.name} came"
    return read_object(path.with_name(CONFIG), remedy, DESCRIPTION)


def _described(path: Path, values: dict[str, Any]) -> tuple[ModelConfig, Task]:
    """Architecture and task from the content of the config.json next to a .safetensors."""
    try:
        return ModelConfig.from_dict(values["model"]), Task.from_dict(values["task"])
    except SampleCNNError as error:  # values that do not fit each other
        raise SampleCNNError(f"{path.with_name(CONFIG)}: {error}; copy it from where {path.name} came") from error
