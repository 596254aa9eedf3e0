"""samplecnn bench WHAT: speed, compared with other implementations."""

from typing import Annotated, Any

import typer

from samplecnn.cli.choices import BENCHMARKS, BLOCKS, choice, choice_argument
from samplecnn.cli.shared import require_pytorch


def bench(
    what: Annotated[str, choice_argument(of=BENCHMARKS, metavar="WHAT", help=f"{{{BENCHMARKS}}}.")],
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="build: a data set with its recordings; load: one built with --format tfrecord (and as Arrow, "
            "to compare), or a folder of TFRecords. By default, temporary data like MagnaTagATune's.",
        ),
    ] = None,
    data_dir: Annotated[
        str, typer.Option(metavar="PATH", help="build, load: folder of the data set, or for temporary data.")
    ] = "./data",
    segments: Annotated[
        int | None,
        typer.Option(min=10, help="load: segments of noise; with --scale, of the smallest. [default: 3000, or 1000]"),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="build: recordings; with --scale, of the smallest. [default: 300, or 50]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="train, infer, load: segments in a batch.")] = 23,
    num_readers: Annotated[int, typer.Option(min=1, help="load: threads that read, ours and the original's.")] = 8,
    block: Annotated[str, choice(of=BLOCKS, help="train, infer: the network's block.")] = "se",
    multi: Annotated[bool, typer.Option("--multi", help="train, infer: multi-level aggregation.")] = False,
    window: Annotated[int, typer.Option(min=9, help="train, infer: samples in a segment.")] = 59049,
    device: Annotated[str, typer.Option(help="train, infer: cpu, or cuda for a GPU.")] = "cpu",
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds whose median is reported. [default: 5; load: 7; with --scale: 3]"),
    ] = None,
    tensorflow: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="train, infer, load: a Python interpreter with TensorFlow, to measure that too.",
        ),
    ] = None,
    librosa: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="build: a Python interpreter with librosa and resampy, to measure them too if this one lacks them.",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="Measure instead how time and memory grow over 1, 2, 4, 8 times the work."),
    ] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the figures as JSON.")] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Also draw them.")] = None,
) -> None:
    """Measure speed side by side with what others use: medians of interleaved rounds, ratios, the hardware's limit."""
    require_pytorch("samplecnn bench", trains=True)
    from samplecnn.bench import BENCHMARKS as benchmarks
    from samplecnn.bench.results import draw, print_table
    from samplecnn.bench.scale import draw_scale, print_scale
    from samplecnn.system.files import write_json

    options: dict[str, Any] = {
        "dataset": dataset, "data_dir": data_dir, "segments": segments, "clips": clips, "batch_size": batch_size,
        "num_readers": num_readers, "block": block, "multi": multi, "window": window, "device": device,
        "rounds": rounds, "tensorflow": tensorflow, "librosa": librosa,
    }  # fmt: skip
    measured = benchmarks[what].run({name: value for name, value in options.items() if value is not None}, scale)
    (print_scale if scale else print_table)(measured)
    if json is not None:
        write_json(json, measured)
    if picture is not None:
        (draw_scale if scale else draw)(measured, picture)
