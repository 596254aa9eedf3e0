"""samplecnn index: a collection is run through a model once; what is asked of it later needs no sound."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from samplecnn.cli.index_queries import (
    IndexFolder,
    diff_command,
    events_command,
    similar_command,
    tags_command,
    verify_command,
)
from samplecnn.cli.outputs import FilesFrom
from samplecnn.cli.review import review_command
from samplecnn.cli.shared import AsJson, BatchSize, Device, Engine, EnginePrecision, Ray
from samplecnn.cli.verbs import Commands, Verb, with_common
from samplecnn.cli.write_tags import write_tags_command
from samplecnn.system import log


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
    files_from: FilesFrom = None,
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
    ray: Ray = None,
) -> None:
    """Make an index or bring it up to date: only files that are new or have changed are run through the model.

    Moved and copied files are recognised by their content, deleted ones are marked. Every recording is kept as soon as
    it is tagged; an update that was interrupted is continued by the same command.
    """
    from samplecnn.system.allocator import arrow_without_pool

    arrow_without_pool()
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
        ray=ray,
    )
    for line in report.lines():
        log.report(line)
    log.show(f"{index}: {report.summary()}")
    if report.tagged.failed:
        raise typer.Exit(1)


def info_command(index: IndexFolder, json: AsJson = False) -> None:
    """Describe an index: files, errors, hours, size, model, hop, and what made it."""
    from samplecnn.index.summary import describe_index

    described = describe_index(index)
    if json:
        log.show(log.json_text(described.to_dict(), indent=2))
    else:
        log.show("\n".join(described.lines()))


index: Any = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Keep an index of a collection: tags, events and embeddings of all files, brought up to date by what is new.",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "update": update_command,
    "tags": tags_command,
    "events": events_command,
    "similar": similar_command,
    "write-tags": write_tags_command,
    "verify": verify_command,
    "diff": diff_command,
    "review": review_command,
    "info": info_command,
}
for _name, _command in COMMANDS.items():
    index.command(_name, cls=Verb, short_help=(_command.__doc__ or "").split(":")[0])(with_common(_command))
