"""samplecnn prepare: downloads published data sets to DATA/<name>/raw."""

from pathlib import Path
from typing import Annotated

import typer

from samplecnn.cli.choices import PUBLISHED, choice_argument


def prepare(
    dataset: Annotated[
        str, choice_argument(of=PUBLISHED, metavar="DATASET", help=f"{{{PUBLISHED}}}: a published data set.")
    ],
    data_dir: Annotated[Path, typer.Option(metavar="PATH", help="The data set goes to PATH/NAME/raw.")] = Path(
        "./data"
    ),
    mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of a folder with the same files, tried before the public ones."),
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep the downloaded archives after unpacking.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Download missing files even if an earlier run has finished."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes that decrypt zips; by default one per core, at most 8."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Seconds without data after which a connection is closed.")
    ] = 60.0,
    attempts: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Consecutive failures without a new byte before the next address is tried."
        ),
    ] = 5,
) -> None:
    """Download, verify and unpack a published data set: an interrupted download resumes when it is run again."""
    from samplecnn.datasets.download.http import Network
    from samplecnn.datasets.download.prepare import prepare as run

    report = run(
        dataset,
        data_dir,
        mirror=mirror,
        keep_archives=keep_archives,
        again=again,
        workers=workers,
        network=Network(timeout=timeout, attempts=attempts),
    )
    typer.echo(report.licence)
    typer.echo(report.text())
    raise typer.Exit(0 if report.complete else 1)
