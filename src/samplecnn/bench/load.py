"""Benchmark of reading shuffled segments from disk to the model's input: epochs of samplecnn and of tf.data."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.bench.rounds import Comparison, copy_rate
from samplecnn.bench.scale import Peak, measure_scale, scale_result
from samplecnn.datasets import REGISTRY, dataset_name
from samplecnn.errors import UsageError
from samplecnn.shards import Segments, holds_tfrecords
from samplecnn.shards.arrow_segments import ArrowSegments
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.tfrecord.reader import TFRecordSegments
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.task import Task

CLIPS_PER_SHARD = 100


def bench_load(
    dataset: str | None = None,
    data_dir: str | Path = "./data",
    segments: int = 3000,
    batch_size: int = 23,
    num_readers: int = 8,
    rounds: int = 7,
    tensorflow: str | Path | None = None,
) -> dict[str, Any]:
    """Measures epochs of shuffled, standardised training batches.

    Args:
        dataset: built with --format tfrecord and optionally as Arrow; None generates noise with MagnaTagATune's shape
            (59,049 samples, 50 labels).
        data_dir: folder of the data set, and of the generated noise, which is deleted at the end.
        segments: approximate number of noise segments.
        batch_size: segments per batch.
        num_readers: number of reading threads, in samplecnn and in the original's pipeline.
        rounds: number of rounds, over which medians are taken.
        tensorflow: a Python interpreter with TensorFlow; None uses this one if it has TensorFlow.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`.

    Raises:
        UsageError: no such data set, or it has no TFRecords.
    """
    keep_freed_memory()  # as in training
    with Comparison("load", "segments/s") as run:
        if dataset is None:
            folders = run.enter_context(_generated(Path(data_dir), segments))
        else:
            folders = _built(dataset, Path(data_dir))
        source = TFRecordSegments(folders["tfrecord"], "train")
        task, bytes_each = source.task, source.bytes / len(source)
        run.add("samplecnn, TFRecord", _epoch_of(folders["tfrecord"], batch_size, num_readers), ours=True)
        run.add("samplecnn, TFRecord, later epochs", _epoch_of(source, batch_size, num_readers), ours=True)
        if "arrow" in folders:
            arrow = ArrowSegments(folders["arrow"], "train")
            run.add("samplecnn, Arrow", _epoch_of(arrow, batch_size, num_readers), ours=True)
            stored = _epoch_of(arrow, batch_size, num_readers, standardise=False)
            run.add("samplecnn, Arrow, int16 as stored", stored, ours=True)
        python = tensorflow or _this_python_if_it_has_tensorflow()
        if python is not None:
            for kind, name in (("original", "tf.data, as the original"), ("tuned", "tf.data, tuned")):
                settings = (kind, folders["tfrecord"], batch_size, num_readers, task.mean, task.std)
                run.add_peer(name, python, "tensorflow_load.py", *settings)
        run.measure(rounds)
        limit = copy_rate() / bytes_each
    return run.result(
        limit={"what": "one core copying the TFRecords' bytes in memory", "rate": limit},
        settings={
            "dataset": dataset or "noise of MagnaTagATune's shape",
            "segments": len(source),
            "window": task.window,
            "batch_size": batch_size,
            "num_readers": num_readers,
            "rounds": rounds,
        },
    )


def scale_load(
    factors: Sequence[int] = (1, 2, 4, 8),
    data_dir: str | Path = "./data",
    segments: int = 1000,
    batch_size: int = 23,
    num_readers: int = 8,
    rounds: int = 3,
) -> dict[str, Any]:
    """Seconds and memory of an epoch of shuffled, standardised batches, for Arrow shards of growing size.

    Args:
        factors: multiples of `segments` of generated noise in MagnaTagATune's shape.
        data_dir: folder of the noise, which is deleted at the end.
        batch_size, num_readers, rounds: as for `bench_load`.

    Returns:
        A dict for JSON: `points` from `measure_scale`, with `peak_rss` measured in a separate process; each also has
        `peak_rss_of_equal_reads`, the peak memory while `segments` random ones of all segments are read.
    """
    keep_freed_memory()
    each = REGISTRY["mtt"].task().segments_per_clip or 1
    clips = max(segments // each, 1)
    with _generated(Path(data_dir), each * clips * max(factors), ("arrow",), clips_per_shard=clips) as folders:
        parts = [_part(folders["arrow"], factor, max(factors)) for factor in factors]
        sizes = [len(ArrowSegments(part, "train")) for part in parts]
        runs = {size: _epoch_of(part, batch_size, num_readers) for size, part in zip(sizes, parts, strict=True)}
        points = measure_scale(runs, rounds, "bench load --scale")
        for point, part in zip(points, parts, strict=True):
            peaks = {}
            for reads in {point["work"], sizes[0]}:
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                    peaks[reads] = process.submit(_memory_of, part, reads, batch_size, num_readers).result()
            point |= {"peak_rss": peaks[point["work"]], "peak_rss_of_equal_reads": peaks[sizes[0]]}
    equal = ", ".join(f"{point['peak_rss_of_equal_reads'] / 1e6:,.0f}" for point in points)
    settings = {
        "segments": sizes[0],
        "factors": list(factors),
        "batch_size": batch_size,
        "num_readers": num_readers,
        "rounds": rounds,
    }
    notes = [f"peak memory while {sizes[0]:,} random segments are read from each: {equal} MB"]
    return scale_result("load", "segments", points, settings, notes=notes)


def _memory_of(folder: Path, reads: int, batch_size: int, num_readers: int) -> int:
    """Peak memory of a process that opens shards and reads `reads` random segments, bytes."""
    keep_freed_memory()
    with Peak() as peak:
        segments = _opened(folder)
        _read(segments, np.random.default_rng(0).permutation(len(segments))[:reads], batch_size, num_readers)
    return peak.bytes


def _part(folder: Path, factor: int, of: int) -> Path:
    """A folder with the first factor/of shards of another: hard links to the same files."""
    paths = sorted(folder.glob("train-*.arrow"))
    count = len(paths) * factor // of
    part = folder.with_name(f"{folder.name}-{factor}")
    part.mkdir()
    for number, path in enumerate(paths[:count], 1):
        os.link(path, part / FORMATS["arrow"].shard_name("train", number, count))
    return part


def _read(segments: Segments, order: np.ndarray, batch_size: int, num_readers: int, standardise: bool = True) -> int:
    """Reads batches along `order`, standardised or as stored, and returns the number of segments."""
    from samplecnn.training.batches import batches, standardised

    count = 0
    for audio, _ in batches(segments, order, batch_size, num_readers):
        count += len(standardised(audio, segments.task) if standardise else audio)
    return count


def _epoch_of(
    source: Segments | Path, batch_size: int, num_readers: int, standardise: bool = True
) -> Callable[[], int]:
    """An epoch of batches as training reads them; a path is opened each time, which verifies all checksums."""
    from samplecnn.training.batches import epoch_order

    def run() -> int:
        segments = _opened(source) if isinstance(source, Path) else source
        order = epoch_order(len(segments), seed=0, stage=0, epoch=0)
        return _read(segments, order, batch_size, num_readers, standardise)

    return run


def _opened(folder: Path) -> Segments:
    return (ArrowSegments if any(folder.glob("*.arrow")) else TFRecordSegments)(folder, "train")


def _built(dataset: str, data_dir: Path) -> dict[str, Path]:
    if holds_tfrecords(dataset):
        return {"tfrecord": Path(dataset)}
    home = data_dir / dataset_name(dataset)
    folders = {format: home / format for format in FORMATS if (home / format).is_dir()}
    if "tfrecord" not in folders:
        raise UsageError(
            f"{dataset}: no TFRecords; run `samplecnn build {dataset} --data-dir {data_dir} --format tfrecord`"
        )
    return folders


@contextmanager
def _generated(
    where: Path, segments: int, formats: Sequence[str] = tuple(FORMATS), clips_per_shard: int = CLIPS_PER_SHARD
) -> Iterator[dict[str, Path]]:
    """Noise with MagnaTagATune's shape in these formats, deleted at the end."""
    task: Task = REGISTRY["mtt"].task()
    each = task.segments_per_clip or 1
    rng = np.random.default_rng(0)
    where.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=where) as home:
        folders = {name: Path(home) / name for name in formats}
        clips = max(segments // each, 1)
        count = -(-clips // clips_per_shard)
        for folder in folders.values():
            folder.mkdir()
        for number in range(count):
            sizes = range(number * clips_per_shard, min((number + 1) * clips_per_shard, clips))
            with ExitStack() as stack:
                writers = [
                    stack.enter_context(
                        format.writer(folders[name] / format.shard_name("train", number + 1, count), task, "train")
                    )
                    for name, format in FORMATS.items()
                    if name in folders
                ]
                for clip in sizes:
                    audio = rng.integers(-8000, 8000, (each, task.window), np.int16)
                    for writer in writers:
                        writer.add(f"{clip}", [clip % task.num_classes], audio)
        yield folders


def _this_python_if_it_has_tensorflow() -> str | None:
    import sys

    return sys.executable if find_spec("tensorflow") else None
