"""samplecnn bench WHAT: speed, compared with other implementations."""

from typing import Annotated, Any

import typer

from samplecnn.cli.choices import BENCHMARKS, BLOCKS, SPLITS, choice, choice_argument
from samplecnn.cli.shared import require_pytorch
from samplecnn.system import log


def bench(
    what: Annotated[str, choice_argument(of=BENCHMARKS, metavar="WHAT", help=f"{{{BENCHMARKS}}}.")],
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="build: a data set with its recordings; load: one built with --format tfrecord (and optionally Arrow, "
            "for comparison), or a folder of TFRecords. By default temporary data like MagnaTagATune's. listen: clips "
            "of the model's classes.",
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="build, load, listen: folder of the data set, or for temporary data. [default: ./data]",
        ),
    ] = None,
    segments: Annotated[
        int | None,
        typer.Option(
            min=10, help="load: segments of noise; with --scale, for the smallest size. [default: 3000, or 1000]"
        ),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="build: recordings; with --scale, for the smallest size. [default: 300, or 50]"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="train, infer, load: segments per batch. [default: 23]")
    ] = None,
    num_readers: Annotated[
        int | None, typer.Option(min=1, help="load: reading threads, of samplecnn and of the original. [default: 8]")
    ] = None,
    block: Annotated[str | None, choice(of=BLOCKS, help="train, infer: the network's block. [default: se]")] = None,
    multi: Annotated[bool | None, typer.Option("--multi", help="train, infer: multi-level aggregation.")] = None,
    window: Annotated[
        int | None, typer.Option(min=9, help="train, infer: samples per segment. [default: 59049]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="train, infer: cpu, or cuda for a GPU. [default: cpu]")] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of rounds; the median is reported. [default: 5; load: 7; with --scale: 3]"),
    ] = None,
    tensorflow: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="train, infer, load: a Python interpreter with TensorFlow, which is then measured as well.",
        ),
    ] = None,
    librosa: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="build: a Python interpreter with librosa and resampy, if this one lacks them, to measure them as "
            "well.",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="Measure time and memory for 1, 2, 4, 8 times the work instead."),
    ] = False,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="listen: the model.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="listen: recordings without any of the classes, or folders of them; may be repeated.",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="listen: noise to mix with the utterances. [default: that of --without]"),
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(metavar="DB", help="listen: signal-to-noise ratio; may be repeated. [default: 20, 10]"),
    ] = None,
    utterances: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="listen: maximum number of clips in a stream. [default: 400]")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0, help="listen: maximum number of false alarms per hour at the operating point. [default: 1]"
        ),
    ] = None,
    split: Annotated[str | None, choice(of=SPLITS, help="listen: split with the utterances. [default: test]")] = None,
    hop: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="listen: seconds from one window to the next.")
    ] = None,
    smooth: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="listen: windows whose mean score counts. [default: 3]")
    ] = None,
    background_odds: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="listen: factor on the odds of _background_. [default: 1]")
    ] = None,
    settle: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="listen: how long an event may wait for a higher score. [default: 0.2]"
        ),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="listen: write the operating point into the model, for `samplecnn listen`.")
    ] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the results as JSON.")] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Also plot the results.")] = None,
) -> None:
    """Compare the speed with other implementations: medians of interleaved rounds, ratios, a hardware reference.

    listen: false alarms and misses of a model in a stream.
    """
    from samplecnn.bench import BENCHMARKS as benchmarks
    from samplecnn.system.files import write_json

    if benchmarks[what].needs_pytorch:
        require_pytorch("samplecnn bench", trains=True)

    options: dict[str, Any] = {
        "dataset": dataset, "data_dir": data_dir, "segments": segments, "clips": clips, "batch_size": batch_size,
        "num_readers": num_readers, "block": block, "multi": multi, "window": window, "device": device,
        "rounds": rounds, "tensorflow": tensorflow, "librosa": librosa, "model": model, "without": without,
        "noise": noise, "snr": snr, "utterances": utterances, "target": target, "split": split, "hop": hop,
        "smooth": smooth, "background_odds": background_odds, "settle": settle,
    }  # fmt: skip
    measured = benchmarks[what].run({name: value for name, value in options.items() if value is not None}, scale)
    show, draw = benchmarks[what].presentation(scale)
    show(measured)
    if store:
        _store(measured)
    if json is not None:
        write_json(json, measured)
    if picture is not None:
        draw(measured, picture)


def _store(measured: dict[str, Any]) -> None:
    from samplecnn.errors import SampleCNNError, UsageError
    from samplecnn.listening.operating_point import OperatingPoint

    if measured["bench"] != "listen":
        raise UsageError("--store is for bench listen")
    if measured["operating_point"] is None:
        raise SampleCNNError("no threshold reaches the target, so none is stored; raise --target, or train it further")
    OperatingPoint(**measured["operating_point"]).store(measured["model"])
    log.note(f"{measured['model']}: the operating point is stored; `samplecnn listen` starts from it")
