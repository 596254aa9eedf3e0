"""samplecnn push MODEL REPOSITORY: a model with its card to the hub."""

from typing import Annotated

import typer

from samplecnn.cli.shared import Model
from samplecnn.system import log


def push_command(
    model: Model,
    repository: Annotated[
        str,
        typer.Argument(metavar="REPOSITORY", help="org/name on the hub, made if absent; or org/name@branch."),
    ],
    private: Annotated[bool, typer.Option("--private", help="A new repository is visible to its owners only.")] = False,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Licence for the card, as the hub names it: mit, cc-by-4.0, ...")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Scores for the card, by `samplecnn eval --json FILE`: of every class too."),
    ] = None,
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the commit.")] = None,
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Replace the README.md of the repository, which is kept otherwise.")
    ] = False,
) -> None:
    """Upload a model to the hub: weights, config.json and a model card made from the run, in one commit.

    The token is HF_TOKEN, or that of `hf auth login`. Absolute paths in the record of the training are shortened.
    """
    from samplecnn.interop.hub.upload import push

    address = push(
        model,
        repository,
        private=private or None,
        message=message,
        licence=license,
        scores=scores,
        replace_card=replace_card,
    )
    log.show(f"pushed: {address}")
