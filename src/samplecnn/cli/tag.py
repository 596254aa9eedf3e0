"""samplecnn tag MODEL PATH...: tags for recordings."""

from typing import Annotated, cast

import typer

from samplecnn.cli.choices import SMOOTHINGS, TAG_FORMATS, choice
from samplecnn.cli.shared import BatchSize, Device, Engine, EnginePrecision, Model
from samplecnn.system import log


def tag_command(
    model: Model,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Recordings, folders to search for recordings, TFRecords, folders of TFRecords."
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Also take paths from this file, or - for stdin: lines, or separated by NUL."
        ),
    ] = None,
    format: Annotated[
        str,
        choice(
            of=TAG_FORMATS,
            several=True,
            help="One or more, separated by commas. table: a line for each file; json: one document; jsonl: one object "
            "a line; csv: a row for each file with columns path, error and one for every class; csv-long: a row for "
            "each class. audacity to svg: a file for each recording.",
        ),
    ] = "table",
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show only the best N classes; by default 5 in a table, else all."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show only classes with a score above this. CSV leaves the others empty."),
    ] = None,
    over_time: Annotated[
        bool, typer.Option("--over-time", help="Give the scores of every window, with its time.")
    ] = False,
    hop: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Seconds from the start of one window to the next, so that windows overlap; rounded by at most 1 %.",
            metavar="SECONDS",
            show_default="one window",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, once it is complete.")
    ] = None,
    output_dir: Annotated[
        str | None,
        typer.Option(
            "--output-dir",
            metavar="DIR",
            help="Write every format into this folder, files of recordings in the same sub-folders as theirs.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files in --output-dir that exist already.")
    ] = False,
    about: Annotated[
        bool,
        typer.Option("--about", help="Also write what made the tags (model, hash, engine, ...) to OUTPUT.about.json."),
    ] = False,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Also write embeddings of the recordings, with --over-time of the windows, to this .parquet or .npz.",
        ),
    ] = None,
    embedding_layer: Annotated[
        str, typer.Option(metavar="LAYER", help="Of embeddings: hidden, the last hidden layer, or a block's number.")
    ] = "hidden",
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Give events (start, end, class, score) instead of scores: where a class is above --threshold, by "
            "default the model's own.",
        ),
    ] = False,
    class_threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS=VALUE", help="Of events: the threshold of one class; may be repeated."),
    ] = None,
    smooth: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of events: windows to smooth scores over, an odd number.")
    ] = 1,
    smoothing: Annotated[str, choice(of=SMOOTHINGS, help="Of events: how scores are smoothed.")] = "median",
    hysteresis: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Of events: extend them while scores are above this share of the threshold.",
        ),
    ] = 1.0,
    max_gap: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Of events: join those of a class that are this close.")
    ] = 0.0,
    min_seconds: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Of events: drop shorter ones.")] = 0.0,
    refractory: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Of events: drop those that begin this soon after the end of the last of the class.",
        ),
    ] = 0.0,
    batch_size: BatchSize = 32,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            allow_from_autoenv=False,
            help="Continue an interrupted --output (jsonl, csv), keep its rows.",
        ),
    ] = False,
    accept_truncated: Annotated[
        bool,
        typer.Option(
            "--accept-truncated",
            help="Tag what can be decoded of recordings that are cut short or damaged; CSV gets a column note.",
        ),
    ] = False,
    engine: Engine = "auto",
    precision: EnginePrecision = "auto",
    device: Device = None,
) -> None:
    """Tag recordings with a trained model: files and folders in; tables, JSON, CSV, Parquet, labels, captions out.

    A recording is cut into windows; its score is their mean. A file that cannot be used is listed with its error and
    the others are tagged; the exit code is then 1. The engine in use is named on stderr.
    """
    from samplecnn.errors import UsageError
    from samplecnn.tagging.events import EventRules, Smoothing, class_thresholds
    from samplecnn.tagging.find import listed_paths
    from samplecnn.tagging.tag_files import tag_paths
    from samplecnn.tagging.writers import Selection

    given = [*(paths or []), *(listed_paths(files_from) if files_from is not None else [])]
    if not given:
        raise UsageError("no recordings are given; name files or folders, or a list of them by --files-from")
    limit = class_thresholds(class_threshold, threshold) if class_threshold else threshold
    kind = cast(Smoothing, smoothing)
    rules = EventRules(limit, smooth, kind, hysteresis, max_gap, min_seconds, refractory)
    selection = Selection(top, threshold, over_time, events=rules if events or rules != EventRules(threshold) else None)
    report = tag_paths(
        model,
        given,
        format,
        output,
        selection,
        batch_size,
        device,
        resume,
        engine,
        precision,
        hop,
        accept_truncated=accept_truncated,
        output_dir=output_dir,
        overwrite=overwrite,
        about=about,
        embeddings=embeddings,
        embedding_layer=embedding_layer,
    )
    for line in report.lines():
        log.report(line)
    if report.failed:
        raise typer.Exit(1)
