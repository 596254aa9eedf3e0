"""samplecnn analyze MODEL explain CLIP, and analyze MODEL report DATASET."""

from typing import Annotated

import typer

from samplecnn.cli.shared import BatchSize, Built, DataDir, Device, Model, NumReaders, SkipCorrupt, require_pytorch
from samplecnn.system import log


def explain_command(
    model: Model,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A recording, or a record of a TFRecord: FILE#NUMBER.")],
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A tag to explain; may be repeated. By default the most probable ones."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="K", help="Explain the K most probable tags; by default at most 3, and none below 0.01."
        ),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Explain only the N windows of a long recording in which the tags score highest."
        ),
    ] = 4,
    over_time: Annotated[
        bool,
        typer.Option(
            "--over-time",
            help="Explain all windows: N on each page of a .pdf, or in each of several numbered plots.",
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for the plot explain-CLIP.png. By default `analysis` in the model's run directory if it is "
            "in one, else the current folder.",
        ),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE", help="Path of the plot instead: .png, .svg or .pdf.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write the numbers: .csv, .parquet or .json.")
    ] = None,
    bands: Annotated[int, typer.Option(min=1, help="Number of frequency bands, equally wide in mel.")] = 16,
    moments: Annotated[int, typer.Option(min=1, help="Number of time intervals that a window is split into.")] = 50,
    steps: Annotated[
        int, typer.Option(min=1, help="Integration steps from silence to the sound; more are slower and more exact.")
    ] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Waveforms per batch; the result does not depend on it.")] = 8,
    accept_truncated: Annotated[
        bool,
        typer.Option("--accept-truncated", help="Explain the decodable part of a truncated or damaged recording."),
    ] = False,
    device: Device = None,
) -> None:
    """Explain a recording's tags: which times and frequencies they depend on, as text, plot and table."""
    require_pytorch("samplecnn analyze explain")
    from samplecnn.analysis.explained_window import Settings
    from samplecnn.analysis.run_explain import run_explain

    settings = Settings(bands, moments, steps, batch_size)
    run_explain(
        model, clip, tag or (), top, windows, over_time, output, picture, table, settings, device, accept_truncated
    )


def report_command(
    model: Model,
    dataset: Built,
    data_dir: DataDir = "./data",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A folder for report-DATASET.html, or a file ending in .html. By default `analysis` in the model's "
            "run directory if it is in one, else the current folder.",
        ),
    ] = None,
    mistakes: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of worst mistakes to show, with audio players.")
    ] = 12,
    explained: Annotated[
        int, typer.Option(min=0, metavar="N", help="Explain the first N mistakes, see `analyze explain`.")
    ] = 4,
    no_filters: Annotated[bool, typer.Option("--no-filters", help="Skip the filters.")] = False,
    no_excitations: Annotated[bool, typer.Option("--no-excitations", help="Skip the excitations.")] = False,
    filter_steps: Annotated[int | None, typer.Option(min=1, help="Steps of gradient ascent for the filters.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap samples for the confidence intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap and of the filters' noise.")] = 0,
    batch_size: BatchSize = 23,
    num_readers: NumReaders = 8,
    skip_corrupt: SkipCorrupt = False,
    device: Device = None,
) -> None:
    """Write one HTML file about a model: scores with confidence intervals, mistakes to listen to, curves, plots,
    settings.

    The page works offline, follows the light or dark theme, and fits a phone's screen.
    """
    require_pytorch("samplecnn analyze report")
    from samplecnn.analysis.reporting import Contents, report
    from samplecnn.system.allocator import keep_freed_memory

    keep_freed_memory()
    contents = Contents(mistakes, explained, not no_filters, not no_excitations, filter_steps, draws, seed)
    path = report(
        model,
        dataset,
        output,
        data_dir=data_dir,
        contents=contents,
        batch_size=batch_size,
        num_readers=num_readers,
        device=device,
        skip_corrupt=skip_corrupt,
        progress=True,
    )
    if not log.is_quiet():
        log.show(f"report: {path}")
