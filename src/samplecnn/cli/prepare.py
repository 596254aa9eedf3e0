"""samplecnn prepare: the published data sets, from their links to DATA/<name>/raw."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    dataset: Annotated[str, typer.Argument(help="mtt, scd or dcs.", metavar="DATASET")],
    data_dir: Annotated[Path, typer.Option(help="The data set goes to DATA_DIR/<name>/raw.")] = Path("./data"),
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder that holds the same files; asked before the public ones.")
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep the downloaded archives when they are unpacked.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Fetch anew what is missing although an earlier run had finished."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that open encrypted zips (default: one per processor, up to 8)."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of silence that end a connection.")] = 60.0,
    attempts: Annotated[
        int, typer.Option(min=1, help="Failures in a row, without a new byte, before the next address is tried.")
    ] = 5,
) -> None:
    """Download, verify and unpack a published data set; run it again to go on after an interruption."""
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
