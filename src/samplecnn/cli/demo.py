"""`samplecnn demo`."""

from typing import Annotated

import typer


def demo(
    data_dir: Annotated[str, typer.Option(metavar="PATH", help="Where the recordings and shards go.")] = "./data",
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Where the run directory goes.")] = "./log",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the recordings and of the training.")] = 0,
) -> None:
    """The whole way in minutes, offline: make recordings, build, train, score, and tag a file."""
    from samplecnn.walkthrough import run_demo

    run_demo(data_dir, log_dir, seed)
