"""samplecnn build: recordings into shards."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, cast

import typer

from samplecnn.errors import UsageError
from samplecnn.task import Padding

SHOWN = 5  # reasons for skipping that are printed; the report has them all


class Format(StrEnum):
    arrow = "arrow"
    tfrecord = "tfrecord"


def build(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="mtt, scd, dcs, demo, a folder with one sub-folder per class, or a CSV/Parquet manifest (path,labels)",
        ),
    ],
    data_dir: Annotated[Path, typer.Option(help="where data sets lie; shards go to DATA_DIR/NAME/FORMAT")] = Path(
        "./data"
    ),
    format: Annotated[
        Format,
        typer.Option(help="arrow; tfrecord writes the original's files to DATA_DIR/NAME/tfrecord, of twice the size"),
    ] = Format.arrow,
    padding: Annotated[
        str,
        typer.Option(help="how short clips are filled up: tile (repeat), zero (silence), stretch (as the original)"),
    ] = "tile",
    workers: Annotated[int | None, typer.Option(help="processes that decode; one per core by default", min=1)] = None,
    seed: Annotated[int, typer.Option(help="of the clips' order and, for your own recordings, of the split")] = 0,
    sample_rate: Annotated[int | None, typer.Option(help="Hz, for your own recordings [default: 22050]", min=1)] = None,
    window: Annotated[
        str | None,
        typer.Option(help="length of a segment in samples, or with an s in seconds (5s), for your own [default: 1s]"),
    ] = None,
    clip_seconds: Annotated[
        float | None, typer.Option(help="seconds used of each of your own recordings [default: all of it]", min=0.0)
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="multilabel or multiclass, for your own recordings [default: as the labels are]")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="probability above which a class counts as present, for your own [default: 0.5]"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="build again what is built already")] = False,
) -> None:
    """Decode a data set's recordings into shards for training.

    An interrupted build goes on where it stopped when the same command is given again. Recordings that cannot be
    used are skipped and listed, with the reason, in report.csv beside the shards.
    """
    from samplecnn.shards import build as build_shards

    if dataset == "demo":
        from samplecnn.datasets.generated import generate

        generate(data_dir / "demo" / "raw")
    report = build_shards(
        dataset,
        data_dir,
        workers=workers,
        seed=seed,
        padding=cast(Padding, padding),
        format=format.value,
        force=force,
        sample_rate=sample_rate,
        window=window_samples(window, sample_rate or 22050),
        clip_seconds=clip_seconds,
        kind=kind,
        threshold=threshold,
    )
    for line in report.lines(shown=SHOWN):
        typer.echo(line)
    where = "" if data_dir == Path("./data") else f" --data-dir {data_dir}"
    typer.echo(f"next: samplecnn train {dataset}{where}")


def window_samples(window: str | None, sample_rate: int) -> int | None:
    """`--window` in samples: "59049" as it is, "5s" times the rate."""
    if window is None:
        return None
    try:
        return round(float(window[:-1]) * sample_rate) if window.endswith("s") else int(window)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--window {window}: expected samples (22050) or seconds with an s (1.5s)") from error
