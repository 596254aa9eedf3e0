"""Builds the shards of a data set: parallel, deterministic, resumable."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from samplecnn.datasets.base import Table
from samplecnn.errors import OptionError, SampleCNNError, UsageError
from samplecnn.shards.build_folder import BuildFolder, check_name, read_built, seal
from samplecnn.shards.build_report import BuildReport
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.identity import source_of
from samplecnn.shards.plan import Plan, Shard, make_plan
from samplecnn.shards.worker_pool import Pool
from samplecnn.system.arguments import checked
from samplecnn.system.locks import locked
from samplecnn.system.ordered_pool import AnyWorker
from samplecnn.system.progress import Progress
from samplecnn.system.storage import is_remote
from samplecnn.system.workers import Worker
from samplecnn.task import Kind, Padding

SPARE_BYTES = 64 << 20  # kept free in addition to the shards


@checked
def build(
    spec: str | Path,
    data_dir: str | Path = "./data",
    *,
    format: str = "arrow",
    padding: Padding = "tile",
    workers: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    sample_rate: int | None = None,
    window: int | None = None,
    clip_seconds: float | None = None,
    kind: Kind | None = None,
    threshold: float | None = None,
    skip_unlabelled: bool | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    label_from: str | None = None,
    accept_truncated: bool = False,
    background: str | Path | None = None,
    unknown: str | Path | None = None,
    ray: str | None = None,
) -> BuildReport:
    """Builds the shards of a data set in DATA/<name>/<format>.

    An interrupted build is continued. The recordings of "demo" are generated first if they are absent.

    Args:
        spec: mtt, scd, dcs or demo (recordings in DATA/<name>/raw), a folder with one sub-folder per class or with
            labels in it, or a manifest (CSV, Parquet, JSON lines).
        data_dir: folder of the data sets.
        format: "arrow", or "tfrecord" for the original's files, which take twice the space.
        padding: how short clips are padded, see `audio.fit`.
        workers: decoding processes; None: one per core.
        seed: seed of the clips' order in the shards and, for a folder or manifest, of the split.
        force: rebuilds existing shards, also those of another source with the same name.
        progress: shows a progress bar on stderr.
        sample_rate: Hz; default 22,050. At another rate, mean and std of mtt, scd and dcs are measured as well.
        window: samples per segment; default: one second, for a registered data set the published duration.
        clip_seconds: seconds used of each recording of a folder or manifest, from its start; None: all.
        kind: "multilabel" or "multiclass", for a folder or manifest; None: inferred from the labels.
        threshold: probability above which a class counts as present, for a folder or manifest; default 0.5.
        skip_unlabelled: skips manifest rows without a label instead of treating them as clips without any class.
        path_column, label_column: names of a manifest's columns, if they are not standard ones.
        label_separator: separator of labels in a manifest cell; default "|".
        label_from: pattern of the file names in a folder, such as "{label}_{speaker}_*"; see
            `datasets.file_names.Pattern`.
        accept_truncated: keeps the decodable part of truncated or damaged recordings, which are otherwise skipped; the
            report lists them.
        background: folder of recordings without any of the classes; clips of them become the class `_background_`.
        ray: address of a Ray cluster that decodes: HOST:PORT, "auto" for the one that runs on this machine or that
            RAY_ADDRESS names, "local" for a new one on this machine. It gets a worker for each of its CPUs. The files
            are the same.
        unknown: folder of sounds similar to the classes, such as other words, which become the class `_unknown_`.

    Raises:
        UsageError: the data set cannot be found, an option does not apply to it, or its name is taken by another
            source.
        SampleCNNError: no training recording could be used, or the disk is full.

    Example:
        >>> import tempfile, samplecnn
        >>> from samplecnn.datasets.generated import generate
        >>> data = tempfile.mkdtemp()
        >>> _ = generate(f"{data}/demo/raw", clips_per_class=3)  # fewer than samplecnn.build("demo") would generate
        >>> report = samplecnn.build("demo", data, workers=1, progress=False)
        >>> report.splits["train"].clips, report.task.num_classes
        (10, 10)
    """
    from samplecnn.datasets import REGISTRY, open_dataset

    spec = str(spec)
    if is_remote(data_dir):
        raise OptionError("data_dir", f"{data_dir}: shards are built in a local folder; copy that there afterwards")
    registered = spec in REGISTRY
    options = {
        "sample_rate": sample_rate,
        "window": window,
        "clip_seconds": clip_seconds,
        "kind": kind,
        "threshold": threshold,
        "skip_unlabelled": skip_unlabelled or None,
        "path_column": path_column,
        "label_column": label_column,
        "label_separator": label_separator,
        "label_from": label_from,
    }
    source = open_dataset(spec, Path(data_dir), **({} if registered else {"seed": seed}), **options)
    if spec == "demo":
        from samplecnn.datasets.generated import ensure_generated

        ensure_generated(source.raw)
    table = source.table()
    if background is not None or unknown is not None:
        from samplecnn.datasets.rejection import with_rejection

        noise, others = (None if folder is None else Path(folder).expanduser() for folder in (background, unknown))
        table = with_rejection(table, Path(data_dir) / source.name / "background", noise, others, seed)
    return build_table(
        table,
        Path(data_dir) / source.name,
        workers=workers,
        seed=seed,
        padding=padding,
        format=format,
        clips_per_shard=source.dataset.clips_per_shard if registered else None,
        force=force,
        progress=progress,
        source=source_of(spec),
        accept_truncated=accept_truncated,
        ray=ray,
    )


def build_table(
    table: Table,
    home: Path,
    *,
    workers: int | None = None,
    seed: int = 0,
    padding: Padding = "tile",
    format: str = "arrow",
    clips_per_shard: int | None = None,
    force: bool = False,
    progress: bool = True,
    source: str | None = None,
    accept_truncated: bool = False,
    ray: str | None = None,
) -> BuildReport:
    """Builds the shards of a table in home/<format>; other arguments as for `build`.

    Args:
        source: source of the table, as returned by `identity.source_of`; None if it was not read from a file.
    """
    if padding not in get_args(Padding):
        raise UsageError(f"padding {padding!r}: expected {', '.join(get_args(Padding))}")
    if format not in FORMATS:
        raise UsageError(f"format {format!r}: expected {', '.join(FORMATS)}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected 1 or more")
    start = time.monotonic()
    name = table.task.name
    folders = BuildFolder(home, format)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home, f"{home}: another build of {name} is running; wait for it, or stop it"):
        folders.recover()
        plan = make_plan(table, seed, padding, clips_per_shard, format, source, accept_truncated)
        source_notes = check_name(folders, plan, force)
        if not force and folders.is_built(plan):
            folders.discard_unfinished()
            folders.record_source(plan)
            return read_built(folders.final, name, notes=table.notes, already_built=True)
        notes = [*table.notes, *source_notes, *folders.begin(plan, force)]
        pending = folders.pending(plan)
        new_clips = sum(len(shard.clips) for shard in pending)
        resumed = plan.num_clips - new_clips
        decoding = time.monotonic()
        if pending:
            _check_space(folders.building, plan, new_clips)
            executor = _executor(ray, workers)
            _decode(folders.building, plan, pending, *executor, f"build {name}" if progress else "")
        rate = new_clips / max(time.monotonic() - decoding, 1e-9)
        if not folders.is_sealed(plan):
            seal(folders, plan, table)
        folders.publish(plan)
    return read_built(
        folders.final,
        name,
        notes=tuple(notes),
        seconds=time.monotonic() - start,
        clips_per_second=rate,
        resumed=resumed,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _executor(ray: str | None, workers: int | None) -> tuple[Callable[[str], AnyWorker], int]:
    """What starts a worker, and their number: by default one for each core of this machine, or of a Ray cluster."""
    if ray is None:
        return Worker, workers or _cores()
    from samplecnn.system.ray_worker import RayWorker, connect

    cores = connect(ray)
    return RayWorker, workers or cores


def _decode(
    building: Path, plan: Plan, pending: list[Shard], start: Callable[[str], AnyWorker], workers: int, title: str
) -> None:
    """Builds the pending shards, with a progress bar if there is a title."""
    settings = plan.task, plan.format, plan.measured, workers, plan.accept_truncated, plan.columns
    pool = Pool(building, *settings, start)
    done = plan.num_clips - sum(len(shard.clips) for shard in pending)
    skipped = len(plan.absent)
    bar = Progress(plan.num_clips, title, "clips", done=done) if title else None
    with contextlib.closing(pool.run(pending)) as events, bar or contextlib.nullcontext():
        for event in events:
            skipped += event.skipped
            if bar:
                bar.advance(event.done, note=f"{skipped:,} skipped" if skipped else None)


def _check_space(building: Path, plan: Plan, new_clips: int) -> None:
    needed = plan.bytes * new_clips // max(plan.num_clips, 1) + SPARE_BYTES
    free = shutil.disk_usage(building).free
    if free < needed:
        raise SampleCNNError(
            f"{building}: about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; free some space or "
            "use another --data-dir, and run the same command again"
        )
