"""From a table of recordings to shards: in parallel, the same bytes every time, resumable."""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import get_args

from samplecnn.datasets.base import Table
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.shards.build_folder import BuildFolder, check_name, read_built, seal
from samplecnn.shards.build_report import BuildReport
from samplecnn.shards.formats import FORMATS
from samplecnn.shards.identity import source_of
from samplecnn.shards.plan import Plan, Shard, make_plan
from samplecnn.shards.worker_pool import Pool
from samplecnn.system.arguments import checked
from samplecnn.system.locks import locked
from samplecnn.system.progress import Progress
from samplecnn.task import Kind, Padding

SPARE_BYTES = 64 << 20  # to stay free besides the shards


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
    accept_truncated: bool = False,
    background: str | Path | None = None,
    unknown: str | Path | None = None,
) -> BuildReport:
    """Builds the shards of a data set in DATA/<name>/<format>.

    An interrupted build continues where it stopped. The recordings of "demo" are generated first if they are absent.

    Args:
        spec: mtt, scd, dcs or demo (recordings in DATA/<name>/raw), a folder with one sub-folder per class, or a CSV or
            Parquet manifest.
        data_dir: folder of the data sets.
        format: "arrow", or "tfrecord" for the original's files, which take twice the space.
        padding: how a short clip is filled up, see `audio.fit`.
        workers: processes that decode; None takes one per core.
        seed: of the clips' order in the shards and, for a folder or manifest, of the split.
        force: builds again what has been built, also from another source of the same name.
        progress: shows a bar on stderr.
        sample_rate: Hz; None is 22,050. At another rate, mean and std of mtt, scd and dcs are measured too.
        window: samples in a segment; None is one second, and for a registered data set its own duration.
        clip_seconds: seconds used of each recording of a folder or manifest, from its start; None uses all of it.
        kind: "multilabel" or "multiclass", for a folder or manifest; None lets the labels decide.
        threshold: probability above which a class counts as present, for a folder or manifest; None is 0.5.
        skip_unlabelled: leaves out rows of a manifest that have no label, instead of clips that have no class.
        path_column, label_column: names of a manifest's columns, where they are not among the usual ones.
        label_separator: separates several labels in a cell of a manifest; None is "|".
        accept_truncated: keeps what can be decoded of recordings that are cut short or damaged, which are skipped else;
            the report has each.
        background: folder of recordings without any of the classes; clips of them become the class `_background_`.
        unknown: folder of other sounds of the classes' kind, such as other words: they become the class `_unknown_`.

    Raises:
        UsageError: the data set cannot be found, an option does not fit it, or its name is taken by another source.
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
) -> BuildReport:
    """Builds a table's shards in home/<format>; `build` with the table made by the caller.

    Args:
        source: what the table was read from, as `identity.source_of` has it; None where it is from no file.
    """
    if padding not in get_args(Padding):
        raise UsageError(f"padding {padding!r}: expected {', '.join(get_args(Padding))}")
    if format not in FORMATS:
        raise UsageError(f"format {format!r}: expected {', '.join(FORMATS)}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected 1 or more")
    began = time.monotonic()
    name = table.task.name
    folders = BuildFolder(home, format)
    home.mkdir(parents=True, exist_ok=True)
    with locked(home, f"{home}: another build of {name} is running; wait for it, or end it"):
        folders.recover()
        plan = make_plan(table, seed, padding, clips_per_shard, format, source, accept_truncated)
        source_notes = check_name(folders, plan, force)
        if not force and folders.is_built(plan):
            folders.discard_unfinished()
            folders.record_source(plan)
            return read_built(folders.final, name, notes=table.notes, already_built=True)
        notes = [*table.notes, *source_notes, *folders.begin(plan, force)]
        waiting = folders.waiting(plan)
        fresh = sum(len(shard.clips) for shard in waiting)
        resumed = plan.num_clips - fresh
        decoding = time.monotonic()
        if waiting:
            _check_space(folders.building, plan, fresh)
            _decode(folders.building, plan, waiting, workers or _cores(), f"build {name}" if progress else "")
        rate = fresh / max(time.monotonic() - decoding, 1e-9)
        if not folders.is_sealed(plan):
            seal(folders, plan, table)
        folders.publish(plan)
    return read_built(
        folders.final,
        name,
        notes=tuple(notes),
        seconds=time.monotonic() - began,
        clips_per_second=rate,
        resumed=resumed,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(building: Path, plan: Plan, waiting: list[Shard], workers: int, title: str) -> None:
    """Builds the shards that wait, with a progress bar where it has a title."""
    pool = Pool(building, plan.task, plan.format, plan.measured, workers, plan.accept_truncated, plan.columns)
    done = plan.num_clips - sum(len(shard.clips) for shard in waiting)
    skipped = len(plan.absent)
    bar = Progress(plan.num_clips, title, "clips", done=done) if title else None
    with contextlib.closing(pool.run(waiting)) as events, bar or contextlib.nullcontext():
        for event in events:
            skipped += event.skipped
            if bar:
                bar.advance(event.done, note=f"{skipped:,} skipped" if skipped else None)


def _check_space(building: Path, plan: Plan, fresh: int) -> None:
    needed = plan.bytes * fresh // max(plan.num_clips, 1) + SPARE_BYTES
    free = shutil.disk_usage(building).free
    if free < needed:
        raise SampleCNNError(
            f"{building}: about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free; free some space or "
            "choose another --data-dir, and run the same command again"
        )
