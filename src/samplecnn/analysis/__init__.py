"""What a trained network hears, as arrays and tables (this package) and as pictures (`samplecnn.analysis.plots`)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplecnn.analysis.excitation import Excitations, excitations
    from samplecnn.analysis.explanation import Explanation, explain, explain_over_time
    from samplecnn.analysis.filters import Filters, learn_filters
    from samplecnn.analysis.reporting import report
    from samplecnn.analysis.summary import Summary, summarize

_HOMES = {
    "Excitations": "excitation",
    "excitations": "excitation",
    "Explanation": "explanation",
    "explain": "explanation",
    "explain_over_time": "explanation",
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
    if name in _HOMES:
        return getattr(import_module(f"samplecnn.analysis.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'samplecnn.analysis' has no attribute {name!r}")
