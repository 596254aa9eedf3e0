"""Resolves a command-line target to a model, a recording or a data set."""

import os
from pathlib import Path
from typing import Any, Protocol

from samplecnn.errors import UsageError
from samplecnn.extras import is_installed


class Info(Protocol):
    """A description."""

    def lines(self) -> list[str]:
        """Human-readable lines."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `kind` is "model", "recording" or "dataset"."""


def describe(target: str | Path, data_dir: str | Path = "./data", label_from: str | None = None) -> Info:
    """Describes a model, a recording or a data set.

    Args:
        target: a run directory, a .safetensors or an .h5 file; a recording; a packaged model's name, unless a file, a
            folder or a data set that was built has it; the id of a model on the hub; or a data set: its name, a folder,
            a manifest.
        data_dir: folder of the data sets.
        label_from: of a folder: pattern of the recordings' names (`datasets.file_names.Pattern`).

    Raises:
        UsageError: it is none of these, or not a folder with `label_from`.
        SampleCNNError: a model whose files are damaged.
    """
    from samplecnn.datasets import REGISTRY
    from samplecnn.datasets.manifest_reader import is_manifest_name
    from samplecnn.info.dataset import DataSetDescription
    from samplecnn.info.model import ModelDescription
    from samplecnn.info.recording import RecordingDescription
    from samplecnn.interop.hub.cache import possible_id
    from samplecnn.model_files import CONFIG, WEIGHTS, is_keras
    from samplecnn.recordings import SUFFIXES
    from samplecnn.zoo.packaged import packaged_folder

    name, path = str(target), Path(target).expanduser()
    if name not in REGISTRY and label_from is None:
        is_run = os.path.isfile(path / WEIGHTS) or os.path.isfile(path / CONFIG)  # noqa: PTH113 (names may be too long)
        if is_run or path.suffix == ".safetensors" or is_keras(path):
            return ModelDescription.of(path)
        if os.path.isfile(path) and not is_manifest_name(path):  # noqa: PTH113
            return RecordingDescription.of(path)
        is_built = (Path(data_dir) / name).is_dir()
        if not os.path.exists(path) and not is_built and packaged_folder(name):  # noqa: PTH110
            return ModelDescription.of(Path(name))
        if not os.path.exists(path) and not is_built:  # noqa: PTH110
            is_file_name = path.suffix.lower() in SUFFIXES or is_manifest_name(path)
            if not is_file_name and possible_id(name) and is_installed("huggingface_hub"):
                return ModelDescription.of(Path(name))
            raise UsageError(
                f"{name}: there is no such model, recording or data set; give a run directory, a model or sound file, "
                f"a folder or manifest, or one of {', '.join(REGISTRY)}"
            )
    return DataSetDescription.of(name, data_dir, label_from)
