"""Reads PyTorch checkpoints of unknown origin.

Code in a file is never executed: `torch.load` reads it with `weights_only`. A zip is checked record by record first
(sizes, checksums, no compression) and then memory-mapped, so it cannot request more memory than its size. Objects
of a training framework next to the weights are replaced by empty stand-ins.
"""

import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samplecnn.errors import SampleCNNError, UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")  # keys of the weights in checkpoints
SETTINGS = ("hyper_parameters", "hparams", "args", "config")
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".tar")
PREFIXES = ("module.", "_orig_mod.")  # added by DataParallel and by torch.compile

# Modules whose objects (counters, settings) training frameworks save next to the weights.
BOOKKEEPING = (
    "argparse", "pathlib", "pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "omegaconf", "numpy",
)  # fmt: skip

# Loading such a file otherwise would run its code, so the program that wrote it must save it again.
REMEDY = "save the weights alone in the program that made it: torch.save(model.state_dict(), 'weights.pt')"
ADVICE = ("weights_only", "trust")  # words in PyTorch's advice, which suggests to run the code in a file


class StandIn:
    """Replaces an object whose class is not trusted; keeps its stored attributes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Args:
        path: the file.
        tensors: tensors by name, without the prefixes of wrappers; views of the file.
        settings: the hyper-parameters of the training, if the file has them.
    """

    path: Path
    tensors: dict[str, Tensor]
    settings: dict[str, Any]


def read(path: str | Path) -> Checkpoint:
    """Reads a state dict, or a checkpoint that contains one: PyTorch's zip or legacy format, or safetensors.

    Raises:
        UsageError: there is no such file.
        SampleCNNError: not a checkpoint, damaged, or containing code.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    held = _safetensors(path) if path.suffix == ".safetensors" else load_file(path)
    values, settings = _state_dict(held, path)
    return Checkpoint(path, _without_wrappers(values), settings)


def load_file(path: Path, mapped: bool = True) -> Any:
    """What `torch.save` wrote, without running any code of it.

    Args:
        path: a regular file.
        mapped: tensors of a zip stay in the file, which must then not change.

    Raises:
        SampleCNNError: not such a file, damaged, or containing code.
    """
    with path.open("rb") as file:
        start = file.read(4)
        zipped = start[:2] == b"PK"
        if not zipped and start[:1] != b"\x80":
            raise SampleCNNError(f"{path}: not a PyTorch checkpoint; expected a file written by torch.save")
        stand_ins = _check_zip(path) if zipped else []
        file.seek(0)
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                torch.serialization.safe_globals([(StandIn, name) for name in stand_ins]),
            ):
                held = torch.load(path if zipped else file, "cpu", weights_only=True, mmap=zipped and mapped)
        except MemoryError as error:
            raise SampleCNNError(f"{path}: damaged: it requests more memory than available") from error
        except Exception as error:  # a damaged pickle can raise anything
            raise _refusal(path, error) from error
        # The legacy format lists its storages at the end: a skipped one would stay uninitialised.
        if not zipped and file.read(1):
            raise SampleCNNError(f"{path}: damaged: data after its end; copy it again from its source")
    return held


def _check_zip(path: Path) -> list[str]:
    """Checks what torch.load does not check; returns the names of classes that need stand-ins."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            names = [record.filename for record in records]
            if not any(name.endswith("data.pkl") for name in names):
                inner = next((name for name in names if name.endswith(CHECKPOINT_SUFFIXES)), None)
                if inner is not None:
                    raise SampleCNNError(f"{path}: a zip archive that holds {inner}; unpack it and convert that")
                raise SampleCNNError(f"{path}: a zip archive, but not a PyTorch checkpoint")
            if any("/code/" in name for name in names):
                raise SampleCNNError(f"{path}: a TorchScript program, not weights; {REMEDY}")
            if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                raise SampleCNNError(f"{path}: compressed records, which torch.save does not write; save it again")
            if sum(record.file_size for record in records) > path.stat().st_size:
                raise SampleCNNError(f"{path}: damaged: its records are larger than the file")
            bad = archive.testzip()
        if bad is not None:
            raise SampleCNNError(f"{path}: damaged: wrong checksum of {bad}; copy it again from its source")
        needed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except SampleCNNError:
        raise
    except Exception as error:  # zipfile and torch raise many types
        raise _refusal(path, error) from error
    for name in needed:
        if name.split(".")[0] not in BOOKKEEPING:
            raise SampleCNNError(f"{path}: holds an object of {name}, which is code; {REMEDY}")
    return needed


def _refusal(path: Path, error: Exception) -> SampleCNNError:
    text = str(error)
    named = re.search(r"GLOBAL (\S+) (?:was not|whose)", text)
    if named:
        return SampleCNNError(f"{path}: holds an object of {named[1]}, which is code; {REMEDY}")
    if isinstance(error, pickle.UnpicklingError):  # PyTorch adds advice on how to load the file despite the error
        text = text.split("WeightsUnpickler error:")[-1].split("Check the documentation")[0]
    detail = (text.strip().splitlines() or [""])[0][:150]
    if not detail or any(word in detail for word in ADVICE):
        detail = type(error).__name__
    return SampleCNNError(f"{path}: damaged, or not a PyTorch checkpoint ({detail}); copy it again from its source")


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise SampleCNNError(f"{path}: damaged, or not safetensors ({error}); copy it again") from error


def _state_dict(held: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and settings in a saved structure of any program."""
    if isinstance(held, StandIn):
        raise SampleCNNError(f"{path}: a whole pickled object, not weights; {REMEDY}")
    if not isinstance(held, dict):
        raise SampleCNNError(f"{path}: holds a {type(held).__name__}, not a state dict (tensors by name)")
    settings: dict[str, Any] = {}
    for key in SETTINGS:
        found = held.get(key)
        found = vars(found) if isinstance(found, StandIn) else found
        if isinstance(found, dict):
            settings |= {str(name): value for name, value in found.items()}
    if "random_state" in held and "best" in held:
        raise UsageError(f"{path}: the state of a training run of samplecnn; give the run's directory instead")
    inner = next((held[key] for key in WRAPPERS if isinstance(held.get(key), dict)), held)
    tensors = {
        name: value.detach() for name, value in inner.items() if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise SampleCNNError(f"{path}: holds no tensors by name; expected a state dict")
    for name, value in tensors.items():
        # Checked before copying: a few bytes can describe a tensor of any size.
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise SampleCNNError(f"{path}: {name} is not a plain tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise SampleCNNError(f"{path}: damaged: {name} has the shape {list(value.shape)}, more than the file holds")
    return tensors, settings


def _without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _without_wrappers({name.removeprefix(prefix): value for name, value in tensors.items()})
    return tensors
