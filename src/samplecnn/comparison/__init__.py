"""Comparisons: a grid of training options over seeds and folds next to quick baselines, resumable run by run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplecnn.comparison.runner import compare
    from samplecnn.comparison.table import Comparison, Row

_MODULES = {"compare": "runner", "Comparison": "table", "Row": "table"}
__all__ = ["Comparison", "Row", "compare"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"samplecnn.comparison.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.comparison' has no attribute {name!r}")
