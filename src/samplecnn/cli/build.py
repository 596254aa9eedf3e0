"""samplecnn build: decodes recordings into shards."""

from pathlib import Path
from typing import Annotated, cast

import typer

from samplecnn.cli.choices import DATA_SETS, KINDS, PADDINGS, SHARD_FORMATS, choice
from samplecnn.cli.shared import LabelFrom, Ray, next_command
from samplecnn.errors import UsageError
from samplecnn.system import log
from samplecnn.task import Kind, Padding

MAX_SHOWN = 5  # skipped recordings that are printed with the reason; the report lists all


def build(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help=f"{{{DATA_SETS}}}, a folder with one sub-folder per class or with labels in it, or a manifest (CSV, "
            "Parquet, JSON lines).",
        ),
    ],
    data_dir: Annotated[
        Path, typer.Option(metavar="PATH", help="Folder of the data sets; shards go to PATH/NAME/FORMAT.")
    ] = Path("./data"),
    format: Annotated[
        str, choice(of=SHARD_FORMATS, help="tfrecord is the original's format, which takes twice the space.")
    ] = "arrow",
    padding: Annotated[
        str,
        choice(
            of=PADDINGS,
            help="How short clips are padded: tile repeats the clip, zero adds silence, stretch repeats every "
            "sample, as the original does.",
        ),
    ] = "tile",
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Decoding processes; by default one per core.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the clips' order and, for a folder or manifest, of the split.")
    ] = 0,
    sample_rate: Annotated[int | None, typer.Option(min=1, metavar="HZ", help="Sample rate. [default: 22050]")] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Length of a segment in samples, or in seconds: 5s. [default: 1s, or that of the data set]",
        ),
    ] = None,
    clip_seconds: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="S", help="Folder or manifest: seconds used of each recording. [default: all]"),
    ] = None,
    kind: Annotated[
        str | None,
        choice(
            of=KINDS,
            help="Folder or manifest: any number of classes per clip, or exactly one. [default: inferred from the "
            "labels]",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Folder or manifest: probability above which a class counts as present. [default: 0.5]"
        ),
    ] = None,
    skip_unlabelled: Annotated[
        bool,
        typer.Option(
            "--skip-unlabelled",
            help="Manifest: skip rows without a label. By default they are clips without any of the classes.",
        ),
    ] = False,
    path_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Manifest: column of the paths. [default: path, file, filename]")
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Manifest: column of the labels. [default: labels, label, class, category]"),
    ] = None,
    label_separator: Annotated[
        str | None,
        typer.Option(metavar="CHARACTER", help="Manifest: separator of labels in a cell. [default: |]"),
    ] = None,
    label_from: LabelFrom = None,
    accept_truncated: Annotated[
        bool,
        typer.Option(
            "--accept-truncated",
            help="Keep the decodable part of truncated or damaged recordings. By default they are skipped.",
        ),
    ] = False,
    background: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Recordings without any of the classes: clips of them become the rejecting class _background_.",
        ),
    ] = None,
    unknown: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Sounds similar to the classes, such as other words: they become the class _unknown_.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild existing shards.")] = False,
    ray: Ray = None,
) -> None:
    """Decode a data set's recordings into shards for training.

    The same command continues an interrupted build. Recordings that cannot be used are skipped and listed, with the
    reason, in report.csv in the folder of the shards.
    """
    from samplecnn.shards import build as build_shards

    try:
        report = build_shards(
            dataset,
            data_dir,
            workers=workers,
            seed=seed,
            padding=cast(Padding, padding),
            format=format,
            force=force,
            progress=True,
            sample_rate=sample_rate,
            window=window_samples(window, sample_rate or 22050),
            clip_seconds=clip_seconds,
            kind=cast(Kind | None, kind),
            threshold=threshold,
            skip_unlabelled=skip_unlabelled,
            path_column=path_column,
            label_column=label_column,
            label_separator=label_separator,
            label_from=label_from,
            accept_truncated=accept_truncated,
            background=background,
            unknown=unknown,
            ray=ray,
        )
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues the build", err=True)
        raise
    for line in report.lines(shown=MAX_SHOWN):
        log.show(line)
    next_command("train", dataset, *([] if data_dir == Path("./data") else ["--data-dir", str(data_dir)]))


def window_samples(window: str | None, sample_rate: int) -> int | None:
    """Converts `--window` to samples: "59049" is samples, "5s" is seconds."""
    if window is None:
        return None
    try:
        return round(float(window[:-1]) * sample_rate) if window.endswith("s") else int(window)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--window {window}: expected samples (22050) or seconds with an s (1.5s)") from error
