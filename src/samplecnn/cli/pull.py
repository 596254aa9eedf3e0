"""samplecnn pull REPOSITORY [FOLDER]: the newest version of a model from the hub."""

from typing import Annotated

import typer

from samplecnn.system import log


def pull_command(
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="org/name on the hub, or org/name@revision.")],
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER", help="A new folder for a copy of the model.", show_default="the cache of huggingface_hub"
        ),
    ] = None,
) -> None:
    """Get a model from the hub: the newest version, which commands then use by its id without a network.

    Its weights are compared with the SHA-256 in its config.json. Private models need HF_TOKEN, or `hf auth login`.
    """
    from samplecnn.interop.hub.upload import pull

    log.show(f"model: {pull(repository, folder)}")
