"""samplecnn tag MODEL PATH...: what is heard in recordings."""

from enum import StrEnum
from typing import Annotated

import typer

from samplecnn.cli.shared import Device, Engine, Model, Precision


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def tag_command(
    model: Model,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Recordings, folders to search for recordings, TFRecords, folders of them."
        ),
    ],
    format: Annotated[
        Format,
        typer.Option(
            help="table: a line for each file; json: one document; jsonl: an object a line; "
            "csv: a row for each file with columns path, error and one for every class."
        ),
    ] = Format.table,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="Show only the best N classes; if not given, 5 in a table and all elsewhere.", metavar="N"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show only classes whose score lies above this. CSV leaves the others empty."),
    ] = None,
    over_time: Annotated[
        bool, typer.Option("--over-time", help="Give the scores of every segment, with its time.")
    ] = False,
    hop: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Start a window every so many seconds, so that windows overlap; rounded by a hundredth at most.",
            metavar="SECONDS",
            show_default="a window",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write to this file, which appears when it is whole.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Segments a step; the tags do not depend on it.")] = 32,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an --output that broke off (jsonl, csv); what is there is kept."),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            help="What runs the model; auto: the fastest that is installed, where there is little to do the one that "
            "starts soonest."
        ),
    ] = Engine.auto,
    precision: Annotated[
        Precision, typer.Option(help="fp32 is exact; auto takes bf16, of 8 bits, where the hardware has it.")
    ] = Precision.auto,
    device: Device = None,
) -> None:
    """Tag recordings with a trained model: files and folders in; a table, JSON, JSON lines or CSV out.

    All of a recording is used, window by window; its score is the mean. A file that cannot be used is listed with its
    error, and the rest go on; the exit code is then 1. What ran the model is said on stderr.
    """
    from samplecnn.tagging.tag_files import tag_paths
    from samplecnn.tagging.writers import Selection

    selection = Selection(top, threshold, over_time)
    report = tag_paths(
        model, paths, format.value, output, selection, batch_size, device, resume, engine.value, precision.value, hop
    )
    for line in report.lines():
        typer.echo(line, err=True)
    if report.failed:
        raise typer.Exit(1)
