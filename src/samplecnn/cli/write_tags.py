"""samplecnn index write-tags: tags of an index into the files themselves."""

from typing import Annotated

import typer

from samplecnn.cli.index_queries import IndexFolder, Paths, Tag
from samplecnn.errors import UsageError
from samplecnn.system import log

SHOWN = 10  # files that are listed


def write_tags_command(
    index: IndexFolder,
    paths: Paths = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Write classes with a score above this.", show_default="the model's"),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Write at most the best N of these classes.")
    ] = None,
    tag: Tag = None,
    genre: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS[=VALUE]",
            help="Set the genre of files with this tag to VALUE, by default the class's name; may be repeated.",
        ),
    ] = None,
    mood: Annotated[
        list[str] | None, typer.Option(metavar="CLASS[=VALUE]", help="The same for the mood; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    journal: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Keep what was there before in this file.",
            show_default="a new file in the index's folder",
        ),
    ] = None,
    undo: Annotated[
        str | None,
        typer.Option(metavar="JOURNAL", help="Give the files of a journal the tags that they had before."),
    ] = None,
) -> None:
    """Write tags into the files of an index: SAMPLECNN_TAGS, SAMPLECNN_SCORES and SAMPLECNN_MODEL, and undo that.

    mp3, wav and aiff (ID3), flac, ogg and opus (Vorbis comments) and m4a. Only tags change: a copy is written, the
    sound in it compared with that of the file, and the copy takes its place. The journal undoes it.
    """
    from samplecnn.index import read_index
    from samplecnn.index.file_tags import FileTagsReport, undo_file_tags, write_file_tags
    from samplecnn.index.output import with_tags

    opened = read_index(index)
    report: FileTagsReport
    if undo is not None:
        given = {"paths": paths, "--threshold": threshold, "--top": top, "--tag": tag, "--genre": genre, "--mood": mood}
        unfitting = next((name for name, value in {**given, "--journal": journal}.items() if value), None)
        if unfitting:
            raise UsageError(f"--undo takes all changes of the journal back; omit {unfitting}")
        report = undo_file_tags(opened, undo, dry_run)
    else:
        rows = with_tags(opened, opened.select(paths or ()), tag or ())
        report = write_file_tags(
            opened,
            rows,
            threshold=threshold,
            top=top,
            genre=genre or (),
            mood=mood or (),
            journal=journal,
            dry_run=dry_run,
        )
    if dry_run:
        for path, fields in report.written:
            log.show(f"{path}: {_brief(fields)}")
    for path, reason in report.failed[:SHOWN]:
        log.report(f"{path}: {reason}")
    if len(report.failed) > SHOWN:
        log.report(f"and {len(report.failed) - SHOWN:,} more")
    done = ("would be " if dry_run else "") + ("restored" if undo is not None else "written")
    from samplecnn.recordings import counted

    files = counted(len(report.written), "file", "files")
    log.show(f"{files} {done}, {report.unchanged:,} unchanged, {len(report.failed):,} failed")
    if report.journal is not None:
        log.show(f"undo: samplecnn index write-tags {index} --undo {report.journal}")
    if report.earlier and not dry_run:
        log.show(f"earlier changes, newest first, each with its own --undo: {', '.join(map(str, report.earlier))}")
    if report.failed:
        raise typer.Exit(1)


def _brief(fields: dict[str, list[str]]) -> str:
    return "; ".join(f"{name} {' | '.join(values) or '(none)'}" for name, values in fields.items())
