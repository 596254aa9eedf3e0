"""samplecnn bench WHAT: how fast, beside what others use."""

from enum import StrEnum
from typing import Annotated, Any

import typer


class What(StrEnum):
    train = "train"
    infer = "infer"
    build = "build"
    load = "load"


def bench(
    what: Annotated[
        What,
        typer.Argument(
            metavar="WHAT",
            help="train: training steps; infer: probabilities of segments; build: recordings into shards, on one core; "
            "load: segments from disk, shuffled.",
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="build: a data set whose recordings are taken; load: one built with --format tfrecord (and as Arrow, "
            "to compare), or a folder of TFRecords. If not given, data of MagnaTagATune's shape are made.",
        ),
    ] = None,
    data_dir: Annotated[
        str, typer.Option(help="build, load: where the data set, or what is made for the while, lies.")
    ] = "./data",
    segments: Annotated[
        int | None,
        typer.Option(min=10, help="load: segments of noise; with --scale, of the smallest. [default: 3000, or 1000]"),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="build: recordings; with --scale, of the smallest. [default: 300, or 50]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="train, infer, load: segments a batch.")] = 23,
    num_readers: Annotated[int, typer.Option(min=1, help="load: threads that read, ours and the original's.")] = 8,
    block: Annotated[str, typer.Option(help="train, infer: the network's block.")] = "se",
    multi: Annotated[bool, typer.Option("--multi", help="train, infer: multi-level aggregation.")] = False,
    window: Annotated[int, typer.Option(min=9, help="train, infer: samples of a segment.")] = 59049,
    device: Annotated[str, typer.Option(help="train, infer: cpu, or cuda for a GPU.")] = "cpu",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds, of which medians are taken. [default: 5; load: 7; with --scale: 3]"),
    ] = None,
    tensorflow: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="train, infer, load: a Python interpreter that has TensorFlow, to measure that too.",
        ),
    ] = None,
    librosa: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="build: a Python interpreter that has librosa and resampy, to measure them too, if this one has not.",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option(
            "--scale", help="Instead: how the time and the memory of ours grow over 1, 2, 4, 8 times the work."
        ),
    ] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the figures as JSON.")] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw them.")] = None,
) -> None:
    """Measure speed side by side with what others use: medians of interleaved rounds, ratios, the hardware's limit."""
    from samplecnn.bench.results import draw, print_table
    from samplecnn.bench.scale import draw_scale, print_scale
    from samplecnn.system.files import write_json

    network: dict[str, Any] = {"block": block, "multi": multi, "window": window, "batch_size": batch_size}
    options: dict[What, dict[str, Any]] = {
        What.train: {**network, "device": device, "tensorflow": tensorflow},
        What.infer: {**network, "device": device, "tensorflow": tensorflow},
        What.build: {"dataset": dataset, "data_dir": data_dir, "clips": clips, "librosa": librosa},
        What.load: {
            "dataset": dataset, "data_dir": data_dir, "segments": segments, "batch_size": batch_size,
            "num_readers": num_readers, "tensorflow": tensorflow,
        },
    }  # fmt: skip
    given = {name: value for name, value in {**options[what], "rounds": rounds}.items() if value is not None}
    measured = _scale_of(what, given) if scale else _comparison_of(what, given)
    (print_scale if scale else print_table)(measured)
    if json is not None:
        write_json(json, measured)
    if picture is not None:
        (draw_scale if scale else draw)(measured, picture)


def _comparison_of(what: What, given: dict[str, Any]) -> dict[str, Any]:
    if what == What.train:
        from samplecnn.bench.train import bench_train

        return bench_train(**given)
    if what == What.infer:
        from samplecnn.bench.infer import bench_infer

        return bench_infer(**given)
    if what == What.build:
        from samplecnn.bench.build import bench_build

        return bench_build(**given)
    from samplecnn.bench.load import bench_load

    return bench_load(**given)


def _scale_of(what: What, given: dict[str, Any]) -> dict[str, Any]:
    """Peers take no part, so that an interpreter for them means nothing here."""
    from samplecnn.errors import UsageError

    for peer in ("tensorflow", "librosa"):
        if peer in given:
            raise UsageError(f"--{peer} names a peer to compare with, and --scale measures ours alone; use one of them")
    if what == What.train:
        from samplecnn.bench.train import scale_train

        return scale_train(**given)
    if what == What.infer:
        from samplecnn.bench.infer import scale_infer

        return scale_infer(**given)
    if what == What.build:
        from samplecnn.bench.build import scale_build

        return scale_build(**given)
    if given.get("dataset") is not None:
        raise UsageError("load --scale makes its own data of several sizes; leave out the data set, or --scale")
    from samplecnn.bench.load import scale_load

    given.pop("dataset", None)
    return scale_load(**given)
