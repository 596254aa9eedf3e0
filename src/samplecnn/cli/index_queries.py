"""samplecnn index tags, events, similar, verify, diff: what is asked of an index."""

from typing import Annotated

import typer

from samplecnn.cli.choices import TAG_FORMATS, choice
from samplecnn.cli.outputs import (
    About,
    ClassThreshold,
    EmbeddingsFile,
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
from samplecnn.cli.shared import Device, Engine
from samplecnn.system import log

IndexFolder = Annotated[str, typer.Argument(metavar="INDEX", help="The folder of the index.")]
Paths = Annotated[
    list[str] | None, typer.Argument(metavar="PATH", help="Files and folders of the index; by default all.")
]
Formats = Annotated[
    list[str],
    choice(of=TAG_FORMATS, several=True, help="One or more, separated by commas or repeated, as in `samplecnn tag`."),
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


def tags_command(
    context: typer.Context,
    index: IndexFolder,
    paths: Paths = None,
    format: Formats = ["table"],  # noqa: B006 - typer copies it
    top: Top = None,
    threshold: Threshold = None,
    tag: Tag = None,
    over_time: OverTime = False,
    errors: Annotated[bool, typer.Option("--errors", help="Only files that cannot be used, with the reason.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Also files that were gone at the last update.")] = False,
    output: OutputFile = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    about: About = None,
    no_about: NoAbout = False,
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
        about=about_option(about, no_about),
        inputs=files_read(context),
        embeddings=embeddings,
    )


def events_command(
    context: typer.Context,
    index: IndexFolder,
    paths: Paths = None,
    format: Formats = ["table"],  # noqa: B006 - typer copies it
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
    about: About = None,
    no_about: NoAbout = False,
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
        about=about_option(about, no_about),
        inputs=files_read(context),
    )


def similar_command(
    index: IndexFolder,
    query: Annotated[
        str, typer.Argument(metavar="FILE|PATH@SECONDS", help="A recording, or a moment of one; of the index or not.")
    ],
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Show the best N.")] = 10,
    windows: Annotated[
        bool, typer.Option("--windows", help="All windows; by default only the best window of every file.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each line.")] = False,
    engine: Engine = "auto",
) -> None:
    """Show what sounds like a recording, or like a moment of one: by the cosine of embeddings, over all windows.

    The query itself is left out. A recording that is not in the index is run through the model.
    """
    from samplecnn.index import read_index
    from samplecnn.index.similar import find_similar, query_of

    known = read_index(index)
    for hit in find_similar(known, query_of(known, query, engine), top, not windows):
        if json:
            log.show(log.json_text(hit._asdict()))
        else:
            log.show(f"{hit.similarity:.4f}  {hit.start:9.2f} s {hit.end:9.2f} s  {log.one_line(hit.path)}")


def verify_command(
    index: IndexFolder,
    paths: Paths = None,
    sample: Annotated[int, typer.Option(min=1, metavar="N", help="Files to run again, chosen at random.")] = 20,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of the choice; by default another each time.")
    ] = None,
    engine: Engine = "auto",
    device: Device = None,
) -> None:
    """Verify an index: run a sample of its files through the model again and name what differs.

    The exit code is 1 if scores differ, or if no file could be compared. Versions of the program and of
    decoders that have changed are listed too.
    """
    from samplecnn.index import read_index
    from samplecnn.index.verify import verify_index

    found = verify_index(read_index(index), sample, paths or [], seed, engine, device)
    for line in found.lines():
        log.show(line)
    if not found.agrees:
        raise typer.Exit(1)


def diff_command(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="The folder of an index.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The folder of another one, of the same files.")],
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="A tag is present above this score; by default above the model's threshold."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each difference.")] = False,
) -> None:
    """Show which tags differ between two indexes: of two models, or of a collection at two times.

    A line for each tag that is present in one of them only, with both scores; then the counts for each class on stderr.
    """
    from samplecnn.index import read_index
    from samplecnn.index.compare import compare_indexes

    found = compare_indexes(read_index(first), read_index(second), threshold)
    for each in found.differences:
        log.show(log.json_text(each.to_dict()) if json else each.line())
    for line in found.summary():
        log.note(line)
