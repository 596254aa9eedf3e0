"""Pictures of what `samplecnn.analysis` finds: functions that draw a matplotlib Figure and compute nothing else."""

from samplecnn.analysis.plots.excitations import (
    draw_excitations_clusters,
    draw_excitations_distribution,
    draw_excitations_loudness,
    draw_excitations_spread,
    draw_excitations_units,
)
from samplecnn.analysis.plots.filters import draw_filters, draw_first_layer, draw_peaks
from samplecnn.analysis.plots.style import save_figure
from samplecnn.analysis.plots.summary import draw_summary

__all__ = [
    "draw_excitations_clusters",
    "draw_excitations_distribution",
    "draw_excitations_loudness",
    "draw_excitations_spread",
    "draw_excitations_units",
    "draw_filters",
    "draw_first_layer",
    "draw_peaks",
    "draw_summary",
    "save_figure",
]
