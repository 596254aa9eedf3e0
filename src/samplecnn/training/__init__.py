"""Training: one loop, the original's stage schedule, checkpoints from which a run resumes bit for bit.

Names are imported when first used: the options need no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplecnn.training.final import train_on_all
    from samplecnn.training.options import TrainOptions
    from samplecnn.training.result import TrainResult
    from samplecnn.training.resuming import resume
    from samplecnn.training.setup import train

_MODULES = {
    "TrainOptions": "options",
    "TrainResult": "result",
    "resume": "resuming",
    "train": "setup",
    "train_on_all": "final",
}
__all__ = ["TrainOptions", "TrainResult", "resume", "train", "train_on_all"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"samplecnn.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.training' has no attribute {name!r}")
