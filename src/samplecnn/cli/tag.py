"""samplecnn tag MODEL PATH...: tags for recordings."""

from typing import Annotated

import typer

from samplecnn.cli.choices import TAG_FORMATS, choice
from samplecnn.cli.shared import BatchSize, Device, Engine, EnginePrecision, Model
from samplecnn.system import log


def tag_command(
    model: Model,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Recordings, folders to search for recordings, TFRecords, folders of TFRecords."
        ),
    ],
    format: Annotated[
        str,
        choice(
            of=TAG_FORMATS,
            help="table: a line for each file; json: one document; jsonl: one object a line; "
            "csv: a row for each file with columns path, error and one for every class.",
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
    """Tag recordings with a trained model: files and folders in; a table, JSON, JSON lines or CSV out.

    A recording is cut into windows; its score is their mean. A file that cannot be used is listed with its error and
    the others are tagged; the exit code is then 1. The engine in use is named on stderr.
    """
    from samplecnn.tagging.tag_files import tag_paths
    from samplecnn.tagging.writers import Selection

    selection = Selection(top, threshold, over_time)
    report = tag_paths(
        model,
        paths,
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
    )
    for line in report.lines():
        log.report(line)
    if report.failed:
        raise typer.Exit(1)
