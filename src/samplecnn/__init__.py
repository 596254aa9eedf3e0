"""Audio classification straight from the waveform with SampleCNN.

The public names are imported when first used, so that `import samplecnn` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from samplecnn.comparison import compare
    from samplecnn.evaluation import evaluate
    from samplecnn.index import read_index, update_index
    from samplecnn.interop.export import export
    from samplecnn.model_files import load
    from samplecnn.models import ModelConfig, SampleCNN
    from samplecnn.shards import build
    from samplecnn.tagging import Embedder, Tagger
    from samplecnn.task import Task
    from samplecnn.training import resume, train, train_on_all

_MODULES = {
    "load": "samplecnn.model_files",
    "SampleCNN": "samplecnn.models",
    "ModelConfig": "samplecnn.models",
    "Task": "samplecnn.task",
    "Tagger": "samplecnn.tagging",
    "Embedder": "samplecnn.tagging",
    "build": "samplecnn.shards",
    "train": "samplecnn.training",
    "resume": "samplecnn.training",
    "train_on_all": "samplecnn.training",
    "read_index": "samplecnn.index",
    "update_index": "samplecnn.index",
    "evaluate": "samplecnn.evaluation",
    "compare": "samplecnn.comparison",
    "export": "samplecnn.interop.export",
}
__all__ = [
    "Embedder",
    "ModelConfig",
    "SampleCNN",
    "Tagger",
    "Task",
    "build",
    "compare",
    "evaluate",
    "export",
    "load",
    "read_index",
    "resume",
    "train",
    "train_on_all",
    "update_index",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        try:
            return getattr(import_module(_MODULES[name]), name)
        except ModuleNotFoundError as error:
            from samplecnn.extras import from_import_error

            raise from_import_error(f"samplecnn.{name}", error) from error
    raise AttributeError(f"module 'samplecnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
