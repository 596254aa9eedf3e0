"""Benchmark of building shards on one core: samplecnn, the original's method, and decoding alone."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import soundfile
import soxr

from samplecnn import mixing, sound
from samplecnn.bench.recordings import dataset_recordings, generated_recordings
from samplecnn.bench.rounds import Comparison
from samplecnn.bench.scale import measure_scale, scale_result
from samplecnn.datasets.base import Table
from samplecnn.shards import build_table
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.worker import make_shard

ORIGINAL = "librosa, kaiser_best (the original)"
BARE = "soundfile and soxr alone"
CLIPS_PER_SHARD = 100  # as for MagnaTagATune
ORIGINAL_CLIPS, BARE_CLIPS = 5, 50  # clips per turn of these contenders
COMPARED_CLIPS = 20  # clips built in both formats to compare their sizes


def bench_build(
    dataset: str | None = None,
    data_dir: str | Path = "./data",
    clips: int = 300,
    rounds: int = 5,
    librosa: str | Path | None = None,
) -> dict[str, Any]:
    """Measures building with one worker, including the start of its process, decoding, writing and the report.

    Args:
        dataset: the data set whose first training recordings are used; None generates recordings with the format of
            MagnaTagATune (29 s of 16 kHz mono mp3).
        data_dir: folder of the data set, and of the generated recordings, which are deleted at the end.
        clips: clips per turn of samplecnn.
        rounds: number of rounds, over which medians are taken.
        librosa: a Python interpreter with librosa and resampy; None uses this one if it has them.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `baseline`, `limit`, `shares` of a worker's time in the
        decoder and in the resampler, `bytes` of the shards and of the original's TFRecords of the same clips,
        `machine`, `settings`.

    Raises:
        UsageError: no such data set, or none of its recordings.
    """
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=data_dir) as folder, Comparison("build", "clips/s") as run:
        home = Path(folder)
        table = _recordings(dataset, Path(data_dir), home, clips)
        run.add("samplecnn build, one worker", _ours(table, home / "built"), ours=True)
        run.add(BARE, _bare(table))
        python = librosa or (sys.executable if find_spec("librosa") and find_spec("resampy") else None)
        if python is not None:
            listed = home / "list.txt"
            listed.write_text("\n".join(str(clip.path.resolve()) for clip in table.clips), encoding="utf-8")
            task = table.task
            numbers = (task.sample_rate, task.clip_seconds or 0, task.window, min(ORIGINAL_CLIPS, len(table.clips)))
            run.add_peer(ORIGINAL, python, "librosa_build.py", listed, home / "original", *numbers)
        run.measure(rounds)
        shares = worker_shares(replace(table, clips=table.clips[:CLIPS_PER_SHARD]), home / "profiled")
        sizes = {format: _bytes(table, home / "compared", format) for format in FORMATS}
        recording_bytes = sum(clip.path.stat().st_size for clip in table.clips) // len(table.clips)
    times = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return run.result(
        limit={
            "what": "one core that only decodes and resamples",
            "rate": run.contenders[1].median,
        },
        settings={
            "dataset": dataset or "generated: notes as 29 s of 16 kHz mono mp3",
            "clips": len(table.clips),
            "recording_bytes": recording_bytes,
            "rounds": rounds,
        },
        baseline=ORIGINAL if any(contender.name == ORIGINAL for contender in run.contenders) else BARE,
        shares=shares,
        bytes=sizes,
        notes=[
            f"a worker's time: {times}; on disk {sizes['arrow'] / sizes['tfrecord']:.3f} of the original's TFRecords"
        ],
    )


def _recordings(dataset: str | None, data_dir: Path, home: Path, clips: int) -> Table:
    return dataset_recordings(dataset, data_dir, clips) if dataset else generated_recordings(home / "raw", clips)


def scale_build(
    factors: tuple[int, ...] = (1, 2, 4, 8),
    dataset: str | None = None,
    data_dir: str | Path = "./data",
    clips: int = 50,
    rounds: int = 3,
) -> dict[str, Any]:
    """Seconds and memory of building `clips` times each factor, with one worker; see `measure_scale`.

    Memory is the sum of this process and the worker.
    """
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=data_dir) as folder:
        home = Path(folder)
        table = _recordings(dataset, Path(data_dir), home, clips * max(factors))
        parts = {len(part): Table(table.task, part) for part in (table.clips[: clips * factor] for factor in factors)}
        runs = {count: _ours(part, home / "built") for count, part in parts.items()}
        points = measure_scale(runs, rounds, "bench build --scale")
    settings = {"dataset": dataset or "generated", "clips": clips, "factors": list(factors), "rounds": rounds}
    return scale_result("build", "clips", points, settings)


def worker_shares(table: Table, folder: Path, times: int = 3) -> dict[str, float]:
    """The shares of the decoder, the resampler and everything else in a worker's time for a shard of the clips.

    Uses the one of `times` shards with the median share of everything else, after a warm-up shard, since all but the
    first shard of a real build are written by a warm worker.
    """
    shares = [_shard_shares(table, folder / f"{number}") for number in range(times + 1)][1:]
    return sorted(shares, key=lambda share: share["everything else"])[times // 2]


def _shard_shares(table: Table, folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True)
    clips = [[clip.id, str(clip.path), [clip.start, clip.end], list(clip.labels), {}] for clip in table.clips]
    order = {"name": "train.arrow", "split": "train", "measured": table.measured, "crashers": [], "clips": clips}
    order |= {"accept_truncated": False, "columns": []}
    spent = {"decoder": 0.0, "resampler": 0.0}
    with ExitStack() as stack:
        for owner, name, part in (
            (sound.SequentialFile, "__init__", "decoder"),
            (sound.SequentialFile, "read", "decoder"),
            (soxr, "resample", "resampler"),
            (soxr.ResampleStream, "resample_chunk", "resampler"),
        ):
            stack.enter_context(_timed(owner, name, spent, part))
        began = time.perf_counter()
        make_shard(folder, table.task, FORMATS["arrow"], order, lambda skipped: None)
        whole = time.perf_counter() - began
    return {name: seconds / whole for name, seconds in spent.items()} | {
        "everything else": 1 - sum(spent.values()) / whole
    }


@contextmanager
def _timed(owner: Any, name: str, spent: dict[str, float], part: str) -> Iterator[None]:
    """Adds the time of every call of owner.name to spent[part]."""
    original = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent[part] += time.perf_counter() - began

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _ours(table: Table, home: Path) -> Callable[[], int]:
    def run() -> int:
        report = build_table(table, home, workers=1, clips_per_shard=CLIPS_PER_SHARD, force=True, progress=False)
        return sum(count.clips for count in report.splits.values())

    return run


def _bare(table: Table) -> Callable[[], int]:
    """Decodes and resamples whole recordings with the same libraries and quality, and discards the result."""
    recordings = cycle(clip.path for clip in table.clips)
    count = min(BARE_CLIPS, len(table.clips))

    def run() -> int:
        for path in islice(recordings, count):
            wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)
            soxr.resample(mono, rate, table.task.sample_rate, quality=mixing.RESAMPLING_QUALITY)
        return count

    return run


def _bytes(table: Table, home: Path, format: str) -> int:
    """Size of the shards of the first clips in a format, bytes."""
    first = Table(table.task, table.clips[:COMPARED_CLIPS], table.measured)
    report = build_table(first, home, workers=1, clips_per_shard=CLIPS_PER_SHARD, format=format, progress=False)
    return sum(path.stat().st_size for path in report.folder.glob(f"*.{format}"))
