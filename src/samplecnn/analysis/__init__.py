"""Analyses of trained networks as arrays and tables; `samplecnn.analysis.plots` draws them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplecnn.analysis.excitation import excitations
    from samplecnn.analysis.excitation_result import Excitations
    from samplecnn.analysis.explainer import explain, explain_over_time
    from samplecnn.analysis.explanation import Explanation
    from samplecnn.analysis.filters import Filters, learn_filters
    from samplecnn.analysis.reporting import report
    from samplecnn.analysis.summary import Summary, summarize

_MODULES = {
    "Excitations": "excitation_result",
    "excitations": "excitation",
    "Explanation": "explanation",
    "explain": "explainer",
    "explain_over_time": "explainer",
    "Filters": "filters",
    "learn_filters": "filters",
    "report": "reporting",
    "Summary": "summary",
    "summarize": "summary",
}
__all__ = [
    "Excitations",
    "Explanation",
    "Filters",
    "Summary",
    "excitations",
    "explain",
    "explain_over_time",
    "learn_filters",
    "report",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"samplecnn.analysis.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.analysis' has no attribute {name!r}")
