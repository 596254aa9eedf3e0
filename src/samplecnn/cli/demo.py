"""`samplecnn demo`."""

from typing import Annotated

import typer

from samplecnn.cli.shared import require_pytorch


def demo(
    data_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder for the recordings and shards.")] = "./data",
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder for the run directory.")] = "./log",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the recordings and of the training.")] = 0,
) -> None:
    """Run everything end to end in minutes, offline: generate recordings, build, train, score, and tag a file."""
    require_pytorch("samplecnn demo", trains=True)
    from samplecnn.walkthrough import run_demo

    run_demo(data_dir, log_dir, seed)
