"""samplecnn index: a collection is run through a model once; what is asked of it later needs no sound."""

from typing import Annotated, Any

import typer

from samplecnn.cli.choices import TAG_FORMATS, choice
from samplecnn.cli.outputs import (
    ClassThreshold,
    Hysteresis,
    MaxGap,
    MinSeconds,
    OutputDir,
    OutputFile,
    Overwrite,
    Refractory,
    Smooth,
    SmoothingKind,
    Threshold,
    Top,
    event_rules,
)
from samplecnn.cli.shared import AsJson, BatchSize, Device, Engine, EnginePrecision
from samplecnn.cli.verbs import Verb, with_common
from samplecnn.system import log

IndexFolder = Annotated[str, typer.Argument(metavar="INDEX", help="The folder of the index.")]
Paths = Annotated[
    list[str] | None, typer.Argument(metavar="PATH", help="Files and folders of the index; by default all.")
]
Formats = Annotated[
    str,
    choice(of=TAG_FORMATS, several=True, help="One or more, separated by commas, as in `samplecnn tag`."),
]
Tag = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="CLASS[=SCORE]",
        help="Only files with a score of this class above SCORE, by default the model's threshold; may be repeated: "
        "all must hold.",
    ),
]
EmbeddingsFile = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="FILE",
        help="Also write embeddings of the recordings, with --over-time of the windows, to this .parquet or .npz.",
    ),
]
About = Annotated[bool, typer.Option("--about", help="Also write what made the tags to OUTPUT.about.json.")]


def update_command(
    index: IndexFolder,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH", help="Recordings, and folders to search for them; by default those of earlier updates."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="As `samplecnn tag` takes it. A new index needs one; else the index's own."),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Also take paths from this file, or - for stdin: lines, or separated by NUL."
        ),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            metavar="SECONDS",
            help="Seconds from the start of one window to the next; of a new index.",
            show_default="one window",
        ),
    ] = None,
    embedding_layer: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="Of embeddings: hidden, the last hidden layer, or a block's number; of a new index.",
            show_default="hidden",
        ),
    ] = None,
    accept_truncated: Annotated[
        bool,
        typer.Option(
            "--accept-truncated", help="Tag what can be decoded of truncated or damaged recordings; of a new index."
        ),
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Also try unchanged files again that could not be used before.")
    ] = False,
    batch_size: BatchSize = 32,
    engine: Engine = "auto",
    precision: EnginePrecision = "auto",
    device: Device = None,
) -> None:
    """Make an index or bring it up to date: only files that are new or have changed are run through the model.

    Moved and copied files are recognised by their content, deleted ones are marked. Every recording is kept as soon as
    it is tagged; an update that was interrupted is continued by the same command.
    """
    from samplecnn.index import update_index
    from samplecnn.tagging.find import listed_paths

    given = [*(paths or []), *(listed_paths(files_from) if files_from is not None else [])]
    report = update_index(
        index,
        model,
        given,
        hop=hop,
        precision=precision,
        embedding_layer=embedding_layer,
        accept_truncated=accept_truncated or None,
        retry=retry,
        engine=engine,
        batch_size=batch_size,
        device=device,
    )
    for line in report.lines():
        log.report(line)
    log.show(f"{index}: {report.summary()}")
    if report.tagged.failed:
        raise typer.Exit(1)


def tags_command(
    index: IndexFolder,
    paths: Paths = None,
    format: Formats = "table",
    top: Top = None,
    threshold: Threshold = None,
    tag: Tag = None,
    over_time: Annotated[
        bool, typer.Option("--over-time", help="Give the scores of every window, with its time.")
    ] = False,
    errors: Annotated[bool, typer.Option("--errors", help="Only files that cannot be used, with the reason.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also files that were gone at the last update.")] = False,
    output: OutputFile = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    about: About = False,
    embeddings: EmbeddingsFile = None,
) -> None:
    """Show the tags of an index's files: in every format of `samplecnn tag`, filtered by path, class and score."""
    from samplecnn.index import read_index
    from samplecnn.index.output import with_tags, write_tags
    from samplecnn.tagging.writers import Selection

    known = read_index(index)
    rows = with_tags(known, known.select(paths or [], deleted), tag or [])
    if errors:
        rows = rows[known.failed[rows]]
    write_tags(
        known,
        rows,
        format,
        output,
        selection=Selection(top, threshold, over_time, notes=known.settings.accept_truncated),
        output_dir=output_dir,
        overwrite=overwrite,
        about=about,
        embeddings=embeddings,
    )


def events_command(
    index: IndexFolder,
    paths: Paths = None,
    format: Formats = "table",
    top: Top = None,
    threshold: Threshold = None,
    tag: Tag = None,
    class_threshold: ClassThreshold = None,
    smooth: Smooth = 1,
    smoothing: SmoothingKind = "median",
    hysteresis: Hysteresis = 1.0,
    max_gap: MaxGap = 0.0,
    min_seconds: MinSeconds = 0.0,
    refractory: Refractory = 0.0,
    output: OutputFile = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    about: About = False,
) -> None:
    """Show the events of an index's files (start, end, class, score): in every format of `samplecnn tag`.

    Thresholds, smoothing and the other rules are applied to the stored scores, so each call can have its own.
    """
    from samplecnn.index import read_index
    from samplecnn.index.output import with_tags, write_tags
    from samplecnn.tagging.writers import Selection

    rules = event_rules(threshold, class_threshold, smooth, smoothing, hysteresis, max_gap, min_seconds, refractory)
    known = read_index(index)
    write_tags(
        known,
        with_tags(known, known.select(paths or []), tag or []),
        format,
        output,
        selection=Selection(top, threshold, events=rules, notes=known.settings.accept_truncated),
        output_dir=output_dir,
        overwrite=overwrite,
        about=about,
    )


def info_command(index: IndexFolder, json: AsJson = False) -> None:
    """Describe an index: files, errors, hours, size, model, hop, and what made it."""
    from samplecnn.index.summary import describe_index

    described = describe_index(index)
    if json:
        log.show(log.json_text(described.to_dict(), indent=2))
    else:
        log.show("\n".join(described.lines()))


index: Any = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Keep an index of a collection: tags, events and embeddings of all files, brought up to date by what is new.",
)
index.command("update", cls=Verb, short_help="Make an index or bring it up to date")(with_common(update_command))
index.command("tags", cls=Verb, short_help="Show the tags of an index's files")(with_common(tags_command))
index.command("events", cls=Verb, short_help="Show the events of an index's files")(with_common(events_command))
index.command("info", cls=Verb, short_help="Describe an index")(with_common(info_command))
