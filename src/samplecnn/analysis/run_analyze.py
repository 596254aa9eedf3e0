"""`samplecnn analyze MODEL summary|filters|excitations`: sentences and tables on stdout, pictures in a folder."""

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from samplecnn.analysis.excitation_text import sentences
from samplecnn.analysis.output_paths import check_output, output_folder
from samplecnn.evaluation.score_table import PIPE_WIDTH
from samplecnn.system import log
from samplecnn.system.files import write_json, written_aside
from samplecnn.system.plotting import save_figure

if TYPE_CHECKING:
    from samplecnn.analysis.excitation_result import Excitations
    from samplecnn.analysis.filters import Filters, LayerFilters
    from samplecnn.analysis.summary import LayerSummary, Summary


def run_summary(
    model: str, output: str | None = None, json: str | None = None, samples: int | None = None
) -> "Summary":
    """`summarize` for a model at a path: the table on stdout, its drawing as OUTPUT/summary.png.

    Args:
        model: a run directory, a .safetensors, an .h5.
        output: folder of the drawing; see `output_paths.output_folder`.
        json: path of a file with all rows.
        samples: length of the input; the model's window if not given.
    """
    from samplecnn.analysis.plots.summary import draw_summary
    from samplecnn.analysis.summary import summarize
    from samplecnn.evaluation.probabilities import load_on_device

    summary = summarize(load_on_device(model, "cpu"), samples)
    folder = output_folder(model, output)
    _check_json(json)
    if json is not None:
        write_json(json, summary.to_dict())
    print_summary(summary)
    picture = save_figure(draw_summary(summary), folder / "summary.png")
    _list_files([] if json is None else [f"table: {json}"], [picture])
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
    """`learn_filters` for a model at a path: the spectra as OUTPUT/filters.parquet, and pictures of each layer's
    spectra, of all peaks and of the first layer's weights.

    Args:
        model, output: as for `run_summary`.
        steps, seed, layers, precision: as for `learn_filters`.
        device: "cpu", "cuda"; None uses a GPU if there is one.
    """
    import pyarrow.parquet as pq

    from samplecnn.analysis.filters import STEPS, learn_filters
    from samplecnn.analysis.plots.filters import draw_filters, draw_first_layer, draw_peaks
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.system.allocator import keep_freed_memory

    keep_freed_memory()
    loaded = load_on_device(model, device)
    folder = output_folder(model, output)
    found = learn_filters(
        loaded, steps=STEPS if steps is None else steps, seed=seed, layers=layers, precision=precision, progress=True
    )
    table = folder / "filters.parquet"
    with written_aside(table) as aside:
        pq.write_table(found.table(), aside, compression="zstd")
    for layer in found.layers:
        log.show(_peaks_sentence(layer))
    pictures = [save_figure(draw_filters(found, name), folder / f"filters-{name}.png") for name in found.names]
    pictures.append(save_figure(draw_peaks(found), folder / "filters-peaks.png"))
    if len(found.taps):
        pictures.append(save_figure(draw_first_layer(found), folder / "first-layer.png"))
    else:
        log.show("no picture of a first layer: log-mel frames are in the place of the first convolution")
    _list_files([f"table: {table}"], pictures)
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
    """`excitations` for a model at a path over a built data set: five pictures, and all values as a Parquet file.

    Args:
        model, output: as for `run_summary`.
        dataset: the data set as it was built: a name, a folder or a manifest; or a folder of TFRecords.
        data_dir: folder of the built data sets.
        split: "train", "val" or "test".
        batch_size: segments per step.
        json: path of a file with the statistics of every block.
        device: "cpu", "cuda"; None uses a GPU if there is one.
    """
    from samplecnn.analysis.excitation import excitation_modules, excitations, no_excitations
    from samplecnn.analysis.plots import excitations as plots
    from samplecnn.evaluation.evaluator import check_fit
    from samplecnn.evaluation.probabilities import load_on_device
    from samplecnn.shards import open_split
    from samplecnn.system.allocator import keep_freed_memory

    keep_freed_memory()
    segments = open_split(dataset, data_dir, split)
    loaded = load_on_device(model, device)
    assert loaded.task is not None  # load_on_device has checked it
    if not excitation_modules(loaded):
        raise no_excitations(loaded, model)
    check_fit(loaded.task, segments.task, model, dataset)
    folder = output_folder(model, output)
    _check_json(json)
    table = folder / "excitations.parquet"
    found = excitations(loaded, segments, batch_size=batch_size, parquet=table, progress=True)
    if json is not None:
        write_json(json, found.to_dict())
    for line in sentences(found):
        log.show(line)
    drawings = {
        "excitations-units.png": plots.draw_excitations_units,
        "excitations-distribution.png": plots.draw_excitations_distribution,
        "excitations-spread.png": plots.draw_excitations_spread,
        "excitations-loudness.png": plots.draw_excitations_loudness,
    }
    if np.count_nonzero(found.counts) > 1:
        drawings["excitations-clusters.png"] = plots.draw_excitations_clusters
    pictures = [save_figure(draw(found), folder / name) for name, draw in drawings.items()]
    _list_files([f"table: {table}"] + ([] if json is None else [f"figures: {json}"]), pictures)
    return found


def print_summary(summary: "Summary", file: IO[str] | None = None) -> None:
    """Prints one row per layer and the totals, to `file` or stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    file = file or sys.stdout
    width = None if file.isatty() else PIPE_WIDTH
    console = Console(file=file, highlight=False, markup=False, emoji=False, width=width)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    headings = ("kernel", "stride", "time × features", "field", "ms", "hop", "ms", "weights", "stats", "MMAC/s", "kB")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in summary.layers:
        table.add_row(row.name, *_cells(summary, row), end_section=row.name == summary.ends[row.group].name)
    console.print(table)
    totals = summary.totals
    seconds = summary.samples / summary.sample_rate
    lines = [
        f"input: {summary.samples:,} samples, {seconds:.3g} s at {summary.sample_rate:,} Hz; outputs: "
        f"{summary.classes:,} classes",
        f"{totals['trainable']:,} trainable weights and {totals['statistics']:,} batch-norm statistics "
        f"({totals['parameter_bytes'] / 1e6:,.1f} MB), "
        f"{totals['macs_per_second'] / 1e6:,.1f} million multiply-adds per second of sound",
        f"activations in float32: {totals['activation_bytes'] / 1e6:,.1f} MB in total, "
        f"{totals['peak_activation_bytes'] / 1e6:,.1f} MB at once",
        f"receptive field of the last block: {totals['receptive_field']:,} samples "
        f"({totals['receptive_field_ms']:,.0f} ms), hop {totals['hop']:,} samples ({totals['hop_ms']:,.0f} ms)",
    ]
    if any(row.kind == "excitation" for row in summary.layers):
        lines.append("excitations also depend on the whole input, through one scale factor per feature")
    print("\n".join(lines), file=file)


def _cells(summary: "Summary", row: "LayerSummary") -> list[str]:
    field, hop = row.receptive_field, row.hop
    return [
        "" if row.kernel is None else str(row.kernel),
        "" if row.stride is None else str(row.stride),
        f"{row.time:,} × {row.features:,}",
        "all" if field is None else f"{field:,}",
        "" if field is None else f"{summary.milliseconds(field):,.2f}",
        "" if hop is None else f"{hop:,}",
        "" if hop is None else f"{summary.milliseconds(hop):,.2f}",
        f"{row.trainable:,}" if row.trainable else "",
        f"{row.statistics:,}" if row.statistics else "",
        f"{summary.macs_per_second(row.macs) / 1e6:,.2f}" if row.macs else "",
        f"{row.activation_bytes / 1e3:,.1f}",
    ]


def _peaks_sentence(layer: "LayerFilters") -> str:
    peaks = layer.peak_hz[~np.isnan(layer.peak_hz)]
    dead = f", {layer.dead} dead" if layer.dead else ""
    head = f"{layer.name}: {len(layer)} filters{dead}"
    if not len(peaks):
        return head
    low, middle, high = np.percentile(peaks, (5, 50, 95))
    return f"{head}, half of them peak below {middle:,.0f} Hz, nine tenths between {low:,.0f} and {high:,.0f} Hz"


def _check_json(path: str | None) -> None:
    if path is not None:
        check_output(Path(path), (), "table")


def _list_files(notes: list[str], pictures: list[Path]) -> None:
    """Lists the written files on stderr."""
    sys.stdout.flush()
    for line in [*notes, *(f"picture: {path}" for path in pictures)]:
        log.note(line)
