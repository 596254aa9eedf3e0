"""The analyses with all that is kept of them: pictures and tables in a folder, words on stdout."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.analysis.paths import check_output, output_folder
from samplecnn.system.files import write_json, written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from samplecnn.analysis.excitation import Excitations
    from samplecnn.analysis.filters import Filters
    from samplecnn.analysis.summary import Summary


TOO_FEW = 0.5  # of the variance between classes by chance, above which nothing is said of classes


def run_summary(
    model: str, output: str | None = None, json: str | None = None, samples: int | None = None
) -> "Summary":
    """`summarize` a model at a path: the table on stdout, its drawing as OUTPUT/summary.png.

    Args:
        model: a run directory, a .safetensors, an .h5.
        output: folder of the drawing; see `output_folder`.
        json: file for all rows.
        samples: length of the input; the model's window if not given.
    """
    from samplecnn.analysis.plots import draw_summary
    from samplecnn.analysis.summary import summarize
    from samplecnn.analysis.summary_table import print_summary
    from samplecnn.evaluation.probabilities import load_on_device

    summary = summarize(load_on_device(model, "cpu"), samples)
    folder = output_folder(model, output)
    _check_json(json)
    if json is not None:
        write_json(json, summary.to_dict())
    print_summary(summary)
    _tell([] if json is None else [f"table: {json}"], [_saved(draw_summary(summary), folder / "summary.png")])
    return summary


def run_filters(
    model: str,
    output: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    layers: list[str] | None = None,
    precision: str = "auto",
    device: str | None = None,
) -> "Filters":
    """`learn_filters` of a model at a path: a picture of each layer, of all peaks and of the first layer's own filters,
    and the spectra as OUTPUT/filters.parquet."""
    import pyarrow.parquet as pq

    from samplecnn.analysis.filters import STEPS, learn_filters
    from samplecnn.analysis.plots import draw_filters, draw_first_layer, draw_peaks
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.system.allocator import keep_freed_memory

    keep_freed_memory()
    loaded = load_on_device(model, device)
    folder = output_folder(model, output)
    found = learn_filters(loaded, STEPS if steps is None else steps, seed, True, layers, precision)
    table = folder / "filters.parquet"
    with written_aside(table) as aside:
        pq.write_table(found.table(), aside, compression="zstd")
    for layer in found.layers:
        peaks = layer.peak_hz[~np.isnan(layer.peak_hz)]
        low, middle, high = np.percentile(peaks, (5, 50, 95)) if len(peaks) else (math.nan,) * 3
        dead = f", {layer.dead} dead" if layer.dead else ""
        print(
            f"{layer.name}: {len(layer)} filters{dead}, half of them peak below {middle:,.0f} Hz, "
            f"nine tenths between {low:,.0f} and {high:,.0f} Hz"
        )
    pictures = [_saved(draw_filters(found, name), folder / f"filters-{name}.png") for name in found.names]
    pictures.append(_saved(draw_peaks(found), folder / "filters-peaks.png"))
    pictures.append(_saved(draw_first_layer(found), folder / "first-layer.png"))
    _tell([f"table: {table}"], pictures)
    return found


def run_excitations(
    model: str,
    dataset: str,
    data_dir: str = "./data",
    output: str | None = None,
    split: str = "test",
    batch_size: int = 23,
    json: str | None = None,
    device: str | None = None,
) -> "Excitations":
    """`excitations` of a model at a path over a built data set: five pictures, and all values as a Parquet file."""
    from samplecnn.analysis import plots
    from samplecnn.analysis.excitation import excitation_places, excitations, no_excitations
    from samplecnn.evaluation.evaluator import check_fit
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.shards import open_split
    from samplecnn.system.allocator import keep_freed_memory

    keep_freed_memory()
    segments = open_split(dataset, data_dir, split)
    loaded = load_on_device(model, device)
    assert loaded.task is not None  # resolve has seen to it
    if not excitation_places(loaded):
        raise no_excitations(loaded, model)
    check_fit(loaded.task, segments.task, model, dataset)
    folder = output_folder(model, output)
    _check_json(json)
    table = folder / "excitations.parquet"
    found = excitations(loaded, segments, batch_size, True, table)
    if json is not None:
        write_json(json, found.to_dict())
    for line in in_words(found):
        print(line)
    drawn = {
        "excitations-units.png": plots.draw_excitations_units,
        "excitations-distribution.png": plots.draw_excitations_distribution,
        "excitations-spread.png": plots.draw_excitations_spread,
        "excitations-loudness.png": plots.draw_excitations_loudness,
    }
    pictures = [_saved(draw(found), folder / name) for name, draw in drawn.items()]
    if np.count_nonzero(found.counts) > 1:
        pictures.append(_saved(plots.draw_excitations_clusters(found), folder / "excitations-clusters.png"))
    _tell([f"table: {table}"] + ([] if json is None else [f"figures: {json}"]), pictures)
    return found


def in_words(found: "Excitations") -> list[str]:
    """What excitations show, a line for each block and one for the whole."""
    lines = []
    for index, block in enumerate(found.blocks):
        lines.append(
            f"{block.name}: {block.units} units, mean {block.mean.mean():.3f}, spread across classes "
            f"{found.spread[index]:.4f}, between classes {_percent(found.between[index])} of the variance, "
            f"with loudness |r| {_figure(found.loudness_correlation[index])}"
        )
    places = np.arange(len(found.blocks))
    if found.chance > TOO_FEW:
        labels, present = int(found.counts.sum()), np.count_nonzero(found.counts)
        lines.append(
            f"{labels:,} segments of {present:,} classes are too few to tell what belongs to a class: by chance "
            f"{_percent(found.chance)} of the variance would lie between classes"
        )
    elif len(places) > 2 and not np.isnan(found.between).any():
        slope = np.corrcoef(places[1:], found.between[1:])[0, 1] if np.ptp(found.between[1:]) > 0 else 0.0
        trend = "grows" if slope > 0.5 else "shrinks" if slope < -0.5 else "neither grows nor shrinks"
        line = (
            f"behind the first block the share between classes {trend} with depth (from "
            f"{_percent(found.between[1])} to {_percent(found.between[-1])}; by chance {_percent(found.chance)})"
        )
        if not np.isnan(found.loudness_correlation).all():
            loud = int(np.nanargmax(found.loudness_correlation))
            line += f"; the block that follows loudness most is {found.names[loud]}"
        lines.append(line)
    return lines


def _check_json(path: str | None) -> None:
    if path is not None:
        check_output(Path(path), (), "table")


def _saved(figure: "Figure", path: Path) -> Path:
    from samplecnn.analysis.plots import save_figure

    return save_figure(figure, path)


def _tell(notes: list[str], pictures: list[Path]) -> None:
    sys.stdout.flush()
    for line in [*notes, *(f"picture: {path}" for path in pictures)]:
        print(line, file=sys.stderr)


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
