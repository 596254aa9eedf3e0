"""How fast segments come from disk to the model's input, shuffled: an epoch of batches, ours beside tf.data's."""

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

from samplecnn.bench.rounds import Contender, Peer, copy_rate, machine, measure
from samplecnn.bench.scale import Peak, measure_scale
from samplecnn.datasets import REGISTRY, dataset_name
from samplecnn.errors import UsageError
from samplecnn.shards import Segments, holds_tfrecords
from samplecnn.shards.arrow import ArrowSegments
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
        dataset: built with --format tfrecord, and, to measure that too, as Arrow; None makes noise of MagnaTagATune's
            shape (59,049 samples, 50 labels) on the spot.
        data_dir: of the data set; for None, where the noise lies until the end.
        segments: of noise, about.
        batch_size: segments a batch.
        num_readers: of ours and of the original's pipeline.
        rounds: of which medians are taken.
        tensorflow: a Python interpreter that has TensorFlow; None uses this one if it has.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `limit`, `machine`, `settings`.

    Raises:
        UsageError: no such data set, or not as TFRecords.
    """
    keep_freed_memory()  # as training does
    with ExitStack() as stack:
        if dataset is None:
            folders = stack.enter_context(_made(Path(data_dir), segments))
        else:
            folders = _built(dataset, Path(data_dir))
        source = TFRecordSegments(folders["tfrecord"], "train")
        task, bytes_each = source.task, source.bytes / len(source)
        contenders = [
            Contender("samplecnn, TFRecord", _epoch_of(folders["tfrecord"], batch_size, num_readers), ours=True),
            Contender("samplecnn, TFRecord, later epochs", _epoch_of(source, batch_size, num_readers), ours=True),
        ]
        if "arrow" in folders:
            arrow = ArrowSegments(folders["arrow"], "train")
            contenders.append(Contender("samplecnn, Arrow", _epoch_of(arrow, batch_size, num_readers), ours=True))
            stored = _epoch_of(arrow, batch_size, num_readers, standardise=False)
            contenders.append(Contender("samplecnn, Arrow, int16 as stored", stored, ours=True))
        versions = machine()
        python = tensorflow or _this_python_if_it_has_tensorflow()
        if python is not None:
            for kind, name in (("original", "tf.data, as the original"), ("tuned", "tf.data, tuned")):
                program = Path(__file__).with_name("tfdata.py")
                peer = Peer(python, program, kind, folders["tfrecord"], batch_size, num_readers, task.mean, task.std)
                stack.callback(peer.close)
                versions.update(peer.about)
                contenders.append(Contender(name, peer))
        measure(contenders, rounds, "bench load")
        limit = copy_rate() / bytes_each
    return {
        "bench": "load",
        "unit": "segments/s",
        "contenders": [contender.to_dict() for contender in contenders],
        "limit": {"what": "one core copying the TFRecords' bytes in memory", "rate": limit},
        "machine": versions,
        "settings": {
            "dataset": dataset or "noise of MagnaTagATune's shape",
            "segments": len(source),
            "window": task.window,
            "batch_size": batch_size,
            "num_readers": num_readers,
            "rounds": rounds,
        },
    }


def scale_load(
    factors: Sequence[int] = (1, 2, 4, 8),
    data_dir: str | Path = "./data",
    segments: int = 1000,
    batch_size: int = 23,
    num_readers: int = 8,
    rounds: int = 3,
) -> dict[str, Any]:
    """Seconds and memory of an epoch of shuffled, standardised batches, over Arrow shards of growing length.

    Args:
        factors: of `segments`, of noise of MagnaTagATune's shape.
        data_dir: where the noise lies until the end.
        batch_size, num_readers, rounds: as for `bench_load`.

    Returns:
        A dict for JSON: `points` as of `measure_scale`, but memory is that of a process of its own; each also has
        `peak_rss_of_equal_reads`, the memory while `segments` random ones are read, whatever the number that there are.
    """
    keep_freed_memory()
    each = REGISTRY["mtt"].task().segments_per_clip or 1
    clips = max(segments // each, 1)
    with _made(Path(data_dir), each * clips * max(factors), ("arrow",), clips_per_shard=clips) as folders:
        parts = [_part(folders["arrow"], factor, max(factors)) for factor in factors]
        sizes = [len(ArrowSegments(part, "train")) for part in parts]
        runs = {size: _epoch_of(part, batch_size, num_readers) for size, part in zip(sizes, parts, strict=True)}
        points = measure_scale(runs, rounds, "bench load --scale")
        for point, part in zip(points, parts, strict=True):
            for name, reads in (("peak_rss", point["work"]), ("peak_rss_of_equal_reads", sizes[0])):
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                    point[name] = alone.submit(_memory_of, part, reads, batch_size, num_readers).result()
    equal = ", ".join(f"{point['peak_rss_of_equal_reads'] / 1e6:,.0f}" for point in points)
    return {
        "bench": "load",
        "unit": "segments",
        "points": points,
        "notes": [f"{sizes[0]:,} random segments read of each: {equal} MB at most"],
        "machine": machine(),
        "settings": {
            "segments": sizes[0],
            "factors": list(factors),
            "batch_size": batch_size,
            "num_readers": num_readers,
            "rounds": rounds,
        },
    }


def _memory_of(folder: Path, reads: int, batch_size: int, num_readers: int) -> int:
    """The most memory of a process that opens shards and reads so many random segments of them."""
    keep_freed_memory()
    with Peak() as peak:
        segments = _opened(folder)
        _read(segments, np.random.default_rng(0).permutation(len(segments))[:reads], batch_size, num_readers)
    return peak.bytes


def _part(folder: Path, factor: int, of: int) -> Path:
    """The first factor/of of a folder's shards, as a set of its own: the same files under other names."""
    paths = sorted(folder.glob("train-*.arrow"))
    count = len(paths) * factor // of
    part = folder.with_name(f"{folder.name}-{factor}")
    part.mkdir()
    for number, path in enumerate(paths[:count], 1):
        os.link(path, part / FORMATS["arrow"].shard_name("train", number, count))
    return part


def _read(segments: Segments, order: np.ndarray, batch_size: int, num_readers: int, standardise: bool = True) -> int:
    """Batches along `order`, to the model's input or only as stored; how many segments there were."""
    from samplecnn.training.batches import batches, standardised

    count = 0
    for audio, _ in batches(segments, order, batch_size, num_readers):
        count += len(standardised(audio, segments.task) if standardise else audio)
    return count


def _epoch_of(
    source: Segments | Path, batch_size: int, num_readers: int, standardise: bool = True
) -> Callable[[], int]:
    """An epoch of batches as training reads them; a path is opened anew for each, which verifies all checksums."""
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
def _made(
    where: Path, segments: int, formats: Sequence[str] = tuple(FORMATS), clips_per_shard: int = CLIPS_PER_SHARD
) -> Iterator[dict[str, Path]]:
    """Noise of MagnaTagATune's shape in these formats, for as long as it is measured."""
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
