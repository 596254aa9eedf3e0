"""Pictures of the results of `samplecnn.analysis`: each function takes a result and returns a matplotlib Figure."""

from samplecnn.analysis.plots.excitations import (
    draw_excitations_clusters,
    draw_excitations_distribution,
    draw_excitations_loudness,
    draw_excitations_spread,
    draw_excitations_units,
)
from samplecnn.analysis.plots.explanation import draw_explanation
from samplecnn.analysis.plots.filters import draw_filters, draw_first_layer, draw_peaks
from samplecnn.analysis.plots.summary import draw_summary
from samplecnn.system.plotting import save_figure

__all__ = [
    "draw_excitations_clusters",
    "draw_excitations_distribution",
    "draw_excitations_loudness",
    "draw_excitations_spread",
    "draw_excitations_units",
    "draw_explanation",
    "draw_filters",
    "draw_first_layer",
    "draw_peaks",
    "draw_summary",
    "save_figure",
]
