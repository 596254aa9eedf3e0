"""Models on disk: a folder with `model.safetensors` and `config.json`, or a file of the original."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.models.config import ModelConfig
from samplecnn.system.files import write_json, written_aside
from samplecnn.task import Task

if TYPE_CHECKING:
    import torch

    from samplecnn.models import SampleCNN
    from samplecnn.models.graph import Graph

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT_VERSION = 1


def save(model: "SampleCNN", folder: str | Path) -> None:
    """Writes the weights and all that is needed to use them: architecture, task and class names.

    The folder can be pushed to a model hub as it is.
    """
    from safetensors.torch import save_file

    if model.task is None:
        raise SampleCNNError("a model without a task cannot be saved; give SampleCNN(config, task) one")
    folder = Path(folder)
    with written_aside(folder / WEIGHTS) as aside:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, aside)
    description = {"format_version": FORMAT_VERSION, "model": model.config.to_dict(), "task": model.task.to_dict()}
    write_json(folder / CONFIG, description)


def load(path: str | Path, device: "str | torch.device" = "cpu") -> "SampleCNN":
    """Loads a trained model, ready for use.

    Args:
        path: a run directory, a `.safetensors` with its config.json beside it, or an original `.h5`.
        device: where the weights go.

    Returns:
        The SampleCNN in eval mode, with `.task` and `.config`.

    Raises:
        UsageError: there is no model at `path`.
        SampleCNNError: the files are damaged or do not fit each other.

    Example:
        >>> model = samplecnn.load("log/20261122_101500-scd-se")  # doctest: +SKIP
        >>> model.task.classes[:3]  # doctest: +SKIP
        ('backward', 'bed', 'bird')
    """
    path = _file_of(path)
    if is_keras(path):
        from samplecnn.interop.keras import h5

        model = h5.read(path)
    else:
        model = _load_safetensors(path)
    return model.to(device).eval()


def load_folded(path: str | Path) -> "Graph":
    """Loads what is left of a trained model for inference (`engines.open_engine`), a run directory without PyTorch.

    Args, Raises: as `load`.
    """
    from samplecnn.models.graph import fold, fold_values

    path = _file_of(path)
    if not is_keras(path):
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        config, task = _described(path)
        try:
            return fold_values(load_file(path), config, task)
        except (SafetensorError, SampleCNNError, TypeError):
            pass  # in a type that NumPy has not, or damaged, which is told below
    return fold(load(path))


def _file_of(path: str | Path) -> Path:
    """The file of weights at `path`: a .safetensors, or one of Keras."""
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS
        if not path.exists():
            raise UsageError(f"{path.parent}: no {WEIGHTS} here; give a run directory of a training that got that far")
    if not path.exists():
        raise UsageError(f"{path}: there is no such model; give a run directory, a .safetensors or an .h5")
    if path.suffix != ".safetensors" and not is_keras(path):
        raise UsageError(f"{path}: not a model; give a run directory, a .safetensors or an .h5")
    return path


def is_keras(path: Path) -> bool:
    """Whether it is a file of Keras by its name or, whatever it is called after a download, by its first bytes."""
    from samplecnn.interop.keras.sandbox import SIGNATURE

    if path.suffix.lower() in (".h5", ".hdf5", ".keras", ".keras_h5"):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def _described(path: Path) -> tuple[ModelConfig, Task]:
    """What stands beside a .safetensors."""
    description = path.with_name(CONFIG)
    if not description.exists():
        raise SampleCNNError(f"{description}: missing; it holds the class names and belongs beside {path.name}")
    try:
        values = json.loads(description.read_text(encoding="utf-8"))
        version, config, task = values["format_version"], values["model"], values["task"]
    except (ValueError, KeyError, TypeError) as error:
        raise SampleCNNError(f"{description}: damaged ({error!r}); copy it again from where the model came") from error
    if version != FORMAT_VERSION:
        raise SampleCNNError(f"{description}: format {version} is newer than this samplecnn; upgrade samplecnn")
    return ModelConfig.from_dict(config), Task.from_dict(task)


def _load_safetensors(path: Path) -> "SampleCNN":
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from samplecnn.models import SampleCNN

    model = SampleCNN(*_described(path))
    try:
        model.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise SampleCNNError(f"{path}: damaged ({error}); copy it again from where the model came") from error
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise SampleCNNError(f"{path}: does not fit the architecture in {CONFIG}: {detail}") from error
    return model
