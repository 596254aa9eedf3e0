"""Audio classification straight from the waveform with SampleCNN.

The public names are imported when first used, so that `import samplecnn` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from samplecnn.evaluation import evaluate
    from samplecnn.model_files import load
    from samplecnn.models import ModelConfig, SampleCNN
    from samplecnn.shards import build
    from samplecnn.tagging import Tagger
    from samplecnn.task import Task
    from samplecnn.training import train

_HOMES = {
    "load": "samplecnn.model_files",
    "SampleCNN": "samplecnn.models",
    "ModelConfig": "samplecnn.models",
    "Task": "samplecnn.task",
    "Tagger": "samplecnn.tagging",
    "build": "samplecnn.shards",
    "train": "samplecnn.training",
    "evaluate": "samplecnn.evaluation",
}
__all__ = ["ModelConfig", "SampleCNN", "Tagger", "Task", "build", "evaluate", "load", "train"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'samplecnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
