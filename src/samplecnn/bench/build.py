"""How fast one core makes training data of recordings: ours, the original's way, and what decoding alone costs."""

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

from samplecnn import audio
from samplecnn.bench.recordings import found, made
from samplecnn.bench.rounds import Contender, Peer, machine, measure
from samplecnn.bench.scale import measure_scale
from samplecnn.datasets.base import Table
from samplecnn.shards import build_table
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.worker import make_shard

ORIGINAL = "librosa, kaiser_best (the original)"
ALONE = "soundfile and soxr alone"
CLIPS_PER_SHARD = 100  # as for MagnaTagATune
ORIGINAL_CLIPS, ALONE_CLIPS, COMPARED_CLIPS = 5, 50, 20  # in a turn of those, and built in both formats


def bench_build(
    dataset: str | None = None,
    data_dir: str | Path = "./data",
    clips: int = 300,
    rounds: int = 5,
    librosa: str | Path | None = None,
) -> dict[str, Any]:
    """Measures building, with one worker: the start of its process, decoding, writing and the report, all included.

    Args:
        dataset: whose first training recordings are taken; None makes recordings of MagnaTagATune's shape (29 s of
            16 kHz mono mp3) on the spot.
        data_dir: of the data set; what is made lies here until the end.
        clips: that a turn of ours builds.
        rounds: of which medians are taken.
        librosa: a Python interpreter that has librosa and resampy; None uses this one if it has.

    Returns:
        A dict for JSON: `unit`, `contenders` with their rates, `baseline`, `limit`, `shares` of the time that a worker
        spends in the decoder and in the resampler, `bytes` of the shards and of the original's TFRecords of the same
        clips, `machine`, `settings`.

    Raises:
        UsageError: no such data set, or none of its recordings.
    """
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=data_dir) as folder, ExitStack() as stack:
        home = Path(folder)
        table = found(dataset, Path(data_dir), clips) if dataset else made(home / "raw", clips)
        contenders = [
            Contender("samplecnn build, one worker", _ours(table, home / "built"), ours=True),
            Contender(ALONE, _alone(table)),
        ]
        versions = machine()
        python = librosa or (sys.executable if find_spec("librosa") and find_spec("resampy") else None)
        if python is not None:
            listed = home / "list.txt"
            listed.write_text("\n".join(str(clip.path.resolve()) for clip in table.clips), encoding="utf-8")
            task = table.task
            numbers = (task.sample_rate, task.clip_seconds or 0, task.window, min(ORIGINAL_CLIPS, len(table.clips)))
            peer = Peer(python, Path(__file__).with_name("librosa_build.py"), listed, home / "original", *numbers)
            stack.callback(peer.close)
            versions.update(peer.about)
            contenders.append(Contender(ORIGINAL, peer))
        measure(contenders, rounds, "bench build")
        shares = worker_shares(replace(table, clips=table.clips[:CLIPS_PER_SHARD]), home / "profiled")
        sizes = {format: _bytes(table, home / "compared", format) for format in FORMATS}
        recording_bytes = sum(clip.path.stat().st_size for clip in table.clips) // len(table.clips)
    return {
        "bench": "build",
        "unit": "clips/s",
        "contenders": [contender.to_dict() for contender in contenders],
        "baseline": ORIGINAL if python is not None else ALONE,
        "limit": {"what": "one core decoding and resampling, nothing else", "rate": contenders[1].median},
        "shares": shares,
        "bytes": {"arrow": sizes["arrow"], "tfrecord": sizes["tfrecord"]},
        "notes": [
            "a worker's time: "
            + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
            + f"; on disk {sizes['arrow'] / sizes['tfrecord']:.3f} of the original's TFRecords",
        ],
        "machine": versions,
        "settings": {
            "dataset": dataset or "made: notes as 29 s of 16 kHz mono mp3",
            "clips": len(table.clips),
            "recording_bytes": recording_bytes,
            "rounds": rounds,
        },
    }


def scale_build(
    factors: tuple[int, ...] = (1, 2, 4, 8),
    dataset: str | None = None,
    data_dir: str | Path = "./data",
    clips: int = 50,
    rounds: int = 3,
) -> dict[str, Any]:
    """Seconds and memory of building `clips` times each factor, with one worker; see `measure_scale`.

    Memory is that of this process and of the worker together.
    """
    Path(data_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=data_dir) as folder:
        home, most = Path(folder), clips * max(factors)
        table = found(dataset, Path(data_dir), most) if dataset else made(home / "raw", most)
        parts = {len(part): Table(table.task, part) for part in (table.clips[: clips * factor] for factor in factors)}
        runs = {count: _ours(part, home / "built") for count, part in parts.items()}
        points = measure_scale(runs, rounds, "bench build --scale")
    return {
        "bench": "build",
        "unit": "clips",
        "points": points,
        "machine": machine(),
        "settings": {"dataset": dataset or "made", "clips": clips, "factors": list(factors), "rounds": rounds},
    }


def worker_shares(table: Table, folder: Path, times: int = 3) -> dict[str, float]:
    """Of the time in which a worker makes a shard of the clips: what the decoder, the resampler and all else took.

    The one of `times` shards in which all else took the median share, after one that warms up, as all but the first
    of a real build are.
    """
    shares = [_shard_shares(table, folder / f"{number}") for number in range(times + 1)][1:]
    return sorted(shares, key=lambda share: share["all else"])[times // 2]


def _shard_shares(table: Table, folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True)
    clips = [[clip.id, str(clip.path), list(clip.labels)] for clip in table.clips]
    order = {"name": "train.arrow", "split": "train", "measured": table.measured, "crashers": [], "clips": clips}
    spent = {"decoder": 0.0, "resampler": 0.0}
    with ExitStack() as stack:
        for owner, name, part in (
            (audio.StraightFile, "__init__", "decoder"),
            (audio.StraightFile, "read", "decoder"),
            (soxr, "resample", "resampler"),
            (soxr.ResampleStream, "resample_chunk", "resampler"),
        ):
            stack.enter_context(_timed(owner, name, spent, part))
        began = time.perf_counter()
        make_shard(folder, table.task, FORMATS["arrow"], order, lambda skipped: None)
        whole = time.perf_counter() - began
    return {name: seconds / whole for name, seconds in spent.items()} | {"all else": 1 - sum(spent.values()) / whole}


@contextmanager
def _timed(owner: Any, name: str, spent: dict[str, float], part: str) -> Iterator[None]:
    """Adds the time of every call of owner.name to spent[part]."""
    plain = getattr(owner, name)

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return plain(*arguments, **options)
        finally:
            spent[part] += time.perf_counter() - began

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, plain)


def _ours(table: Table, home: Path) -> Callable[[], int]:
    def run() -> int:
        report = build_table(table, home, workers=1, clips_per_shard=CLIPS_PER_SHARD, force=True, progress=False)
        return sum(count.clips for count in report.splits.values())

    return run


def _alone(table: Table) -> Callable[[], int]:
    """Decodes and resamples with the same libraries in the same quality, whole recordings, and drops the result."""
    recordings = cycle(clip.path for clip in table.clips)
    count = min(ALONE_CLIPS, len(table.clips))

    def run() -> int:
        for path in islice(recordings, count):
            wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
            mono = wave[:, 0] if wave.shape[1] == 1 else wave.mean(axis=1)
            soxr.resample(mono, rate, table.task.sample_rate, quality=audio.QUALITY)
        return count

    return run


def _bytes(table: Table, home: Path, format: str) -> int:
    """Of the shards of some clips in a format, as files."""
    some = Table(table.task, table.clips[:COMPARED_CLIPS], table.measured)
    report = build_table(some, home, workers=1, clips_per_shard=CLIPS_PER_SHARD, format=format, progress=False)
    return sum(path.stat().st_size for path in report.folder.glob(f"*.{format}"))
