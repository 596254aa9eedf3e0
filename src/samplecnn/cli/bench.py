"""samplecnn bench WHAT: how fast, beside what others use."""

from enum import StrEnum
from typing import Annotated

import typer


class What(StrEnum):
    load = "load"
    train = "train"


def bench(
    what: Annotated[
        What,
        typer.Argument(
            metavar="WHAT",
            help="load: segments from disk, shuffled, beside tf.data; train: training steps beside plain PyTorch.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="load: a data set built with --format tfrecord (and as Arrow, to compare), or a folder of TFRecords; "
            "if not given, noise of MagnaTagATune's shape is made for the while.",
        ),
    ] = None,
    data_dir: Annotated[str, typer.Option(help="load: where the data set, or the noise, lies.")] = "./data",
    segments: Annotated[int, typer.Option(min=10, help="load: segments of noise.")] = 3000,
    batch_size: Annotated[int, typer.Option(min=1, help="Segments a batch.")] = 23,
    num_readers: Annotated[int, typer.Option(min=1, help="load: threads that read, ours and the original's.")] = 8,
    block: Annotated[str, typer.Option(help="train: the network's block.")] = "se",
    multi: Annotated[bool, typer.Option("--multi", help="train: multi-level aggregation.")] = False,
    window: Annotated[int, typer.Option(min=9, help="train: samples of a segment.")] = 59049,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, of which medians are taken.")] = 7,
    tensorflow: Annotated[
        str | None,
        typer.Option(metavar="PYTHON", help="load: a Python interpreter that has TensorFlow, if this one has not."),
    ] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the figures as JSON.")] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw them.")] = None,
) -> None:
    """Measure speed side by side with what others use: medians of interleaved rounds, ratios, the hardware's limit."""
    from samplecnn.bench.load import bench_load
    from samplecnn.bench.report import draw, print_table
    from samplecnn.bench.train import bench_train
    from samplecnn.files import write_json

    if what == What.load:
        result = bench_load(dataset, data_dir, segments, batch_size, num_readers, rounds, tensorflow)
    else:
        result = bench_train(block, multi, window, batch_size=batch_size, rounds=rounds)
    print_table(result)
    if json is not None:
        write_json(json, result)
    if picture is not None:
        draw(result, picture)
