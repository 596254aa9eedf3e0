"""samplecnn tag MODEL PATH...: tags for recordings."""

from typing import Annotated

import typer

from samplecnn.cli.choices import TAG_FORMATS, choice
from samplecnn.cli.outputs import (
    About,
    ClassThreshold,
    EmbeddingsFile,
    FilesFrom,
    Hysteresis,
    MaxGap,
    MinSeconds,
    NoAbout,
    OutputDir,
    OutputFile,
    OverTime,
    Overwrite,
    Refractory,
    Smooth,
    SmoothingKind,
    Threshold,
    Top,
    about_option,
    event_rules,
    files_read,
)
from samplecnn.cli.shared import BatchSize, Device, Engine, EnginePrecision, Model, Ray
from samplecnn.system import log


def tag_command(
    context: typer.Context,
    model: Model,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Recordings, folders to search for recordings, TFRecords, folders of TFRecords."
        ),
    ] = None,
    files_from: FilesFrom = None,
    format: Annotated[
        list[str],
        choice(
            of=TAG_FORMATS,
            several=True,
            help="One or more, separated by commas or repeated. table: one line per file; json: one document; jsonl: "
            "one object per line; csv: one row per file with columns path, error and one per class; csv-long: one row "
            "per class. audacity to svg: one file per recording.",
        ),
    ] = ["table"],  # noqa: B006 - typer copies it
    top: Top = None,
    threshold: Threshold = None,
    over_time: OverTime = False,
    hop: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Seconds from the start of one window to the next, so that windows overlap; rounded by at most 1 %.",
            metavar="SECONDS",
            show_default="one window",
        ),
    ] = None,
    output: OutputFile = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    about: About = None,
    no_about: NoAbout = False,
    embeddings: EmbeddingsFile = None,
    embedding_layer: Annotated[
        str,
        typer.Option(
            metavar="LAYER", help="Layer of the embeddings: hidden, the last hidden layer, or a block's number."
        ),
    ] = "hidden",
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Show events (start, end, class, score) instead of scores: intervals with a class above --threshold, "
            "by default that of the model.",
        ),
    ] = False,
    class_threshold: ClassThreshold = None,
    smooth: Smooth = 1,
    smoothing: SmoothingKind = "median",
    hysteresis: Hysteresis = 1.0,
    max_gap: MaxGap = 0.0,
    min_seconds: MinSeconds = 0.0,
    refractory: Refractory = 0.0,
    batch_size: BatchSize = 32,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            allow_from_autoenv=False,
            help="Continue an interrupted run into --output (jsonl, csv) or --output-dir, or with --embeddings.",
        ),
    ] = False,
    accept_truncated: Annotated[
        bool,
        typer.Option(
            "--accept-truncated",
            help="Tag the decodable part of truncated or damaged recordings; adds the column note to CSV.",
        ),
    ] = False,
    engine: Engine = "auto",
    precision: EnginePrecision = "auto",
    device: Device = None,
    ray: Ray = None,
) -> None:
    """Tag recordings with a trained model: files and folders, to tables, JSON, CSV, Parquet, labels, captions.

    A recording is cut into windows; its scores are their means. A file that cannot be used is listed with its error and
    the others are tagged; the exit code is then 1. The engine in use is printed on stderr.
    """
    from samplecnn.errors import UsageError
    from samplecnn.tagging.events import EventRules
    from samplecnn.tagging.find import listed_paths
    from samplecnn.tagging.tag_files import tag_paths
    from samplecnn.tagging.writers import Selection

    given = [*(paths or []), *(listed_paths(files_from) if files_from is not None else [])]
    if not given:
        raise UsageError("no recordings given; pass files or folders, or a list of them with --files-from")
    rules = event_rules(threshold, class_threshold, smooth, smoothing, hysteresis, max_gap, min_seconds, refractory)
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
        about=about_option(about, no_about),
        embeddings=embeddings,
        embedding_layer=embedding_layer,
        ray=ray,
        inputs=files_read(context, files_from),
    )
    for line in report.lines():
        log.report(line)
    if report.failed:
        raise typer.Exit(1)
