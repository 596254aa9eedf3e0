"""Classes for what is none of the classes: `_background_` (sound without any of them) and `_unknown_` (others of their
kind), from two folders, for any data set with one label per clip."""

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from samplecnn.audio import stream, to_int16
from samplecnn.datasets.base import SPLITS, Clip, Table
from samplecnn.datasets.folder import listed_splits
from samplecnn.datasets.splits import draw_splits
from samplecnn.errors import AudioError, UsageError
from samplecnn.parsing import anything, fields, file_name, find_object, list_of, table_of
from samplecnn.recordings import Scan, listed
from samplecnn.system.files import write_json
from samplecnn.task import BACKGROUND, UNKNOWN, Task

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # of a background recording, by time, in this order
LONG = 10  # clips in a background recording from which on it is divided; shorter ones go to one split as a whole
USED_SECONDS = 1800.0  # of each background recording, from its start
SILENCE = 0.05  # share of the background clips that are almost silent: noise at about -80 dB
QUIETER = 0.5  # share of the background clips at a level that is lowered by 0 to 40 dB
STAMP = "made.json"


def with_rejection(table: Table, made: Path, background: Path | None, unknown: Path | None, seed: int = 0) -> Table:
    """A data set with the classes `_background_` and `_unknown_` behind its own.

    Each recording of `unknown` is a clip. Where validation_list.txt and testing_list.txt are in that folder, they
    decide the split, else it is drawn. From the recordings of `background` clips are cut at random, in each split as
    many as its classes have on average. Long recordings are divided by time, so that no sound is in two splits.

    Args:
        table: with one label per clip, without these classes.
        made: folder for the clips of background.
        background, unknown: folders of recordings, at any depth; None: no such class.
        seed: of drawn splits and clips.

    Raises:
        UsageError: a task with several labels, a class of these names, a folder without recordings, or given folds.
        SampleCNNError: the disk is full.
    """
    task = table.task
    for option, name, folder in (("--background", BACKGROUND, background), ("--unknown", UNKNOWN, unknown)):
        if folder is None:
            continue
        if task.kind != "multiclass":
            raise UsageError(
                f"{option}: clips of {task.name} may have several labels; a clip without label is rejected"
            )
        if name in task.classes:
            raise UsageError(f"{option}: {task.name} has a class {name} already; leave out the option or the class")
        if any(clip.fold for clip in table.clips):
            raise UsageError(f"{option}: {task.name} gives the fold of each clip; put the recordings into the table")
    classes = [*task.classes]
    clips, notes = [*table.clips], [*table.notes]
    if background is not None:
        wanted = {split: _mean_clips(table, split) for split in SPLITS}
        cut, remarks = _background_clips(task, background, made, wanted, seed, len(classes))
        classes.append(BACKGROUND)
        clips, notes = clips + cut, notes + remarks
    if unknown is not None:
        found, remarks = _unknown_clips(unknown, seed, len(classes))
        classes.append(UNKNOWN)
        clips, notes = clips + found, notes + remarks
    return replace(table, task=replace(task, classes=tuple(classes)), clips=clips, notes=tuple(notes))


def _mean_clips(table: Table, split: str) -> int:
    """Clips that a class has in a split, on average over the classes that it has; 0 for an empty split."""
    labels = [clip.labels for clip in table.clips if clip.split == split]
    return round(len(labels) / len(set(labels))) if labels else 0


def _found(folder: Path, option: str) -> tuple[list[str], list[str]]:
    """The recordings in a folder, relative with forward slashes, and notes on what is left out."""
    if not folder.is_dir():
        raise UsageError(f"{option} {folder}: no such folder; give one with recordings")
    scan = Scan()
    paths = [Path(path).relative_to(folder).as_posix() for path in scan.recordings(folder)]
    if not paths:
        raise UsageError(f"{option} {folder}: no recordings there; give a folder of wav, flac, ogg, mp3, ...")
    scan.others.clear()  # such as the lists
    return paths, [f"{option}: {note}" for note in scan.notes()]


def _unknown_clips(folder: Path, seed: int, label: int) -> tuple[list[Clip], list[str]]:
    paths, notes = _found(folder, "--unknown")
    splits, remarks = listed_splits(folder, paths)
    if not any(splits):
        splits = draw_splits(paths, [(label,)] * len(paths), seed)
    clips = [
        Clip(f"{UNKNOWN}/{path}", folder / path, split, (label,)) for path, split in zip(paths, splits, strict=True)
    ]
    return clips, notes + [f"--unknown: {remark}" for remark in remarks]


def _background_clips(
    task: Task, folder: Path, made: Path, wanted: dict[str, int], seed: int, label: int
) -> tuple[list[Clip], list[str]]:
    """Cuts the clips, unless the same have been cut before, and lists them."""
    paths, notes = _found(folder, "--background")
    settings: dict[str, Any] = {
        "recordings": [[path, (folder / path).stat().st_size, (folder / path).stat().st_mtime_ns] for path in paths],
        "folder": str(folder.resolve()),
        "sample_rate": task.sample_rate,
        "samples": task.clip_samples or task.window,
        "wanted": wanted,
        "seed": seed,
    }
    names = {split: [made / f"{split}-{number:06}.wav" for number in range(wanted[split])] for split in SPLITS}
    stamp = find_object(made / STAMP, _STAMP) or {}
    if stamp.get("settings") == settings and all(path.exists() for split in SPLITS for path in names[split]):
        skipped: list[str] = stamp["skipped"]
    else:
        (made / STAMP).unlink(missing_ok=True)
        skipped = _cut(folder, paths, names, settings, seed)
        write_json(made / STAMP, {"settings": settings, "skipped": skipped})
    if skipped:
        notes.append(f"--background: {len(skipped):,} recordings cannot be used: {listed(skipped)}")
    clips = [Clip(f"{BACKGROUND}/{path.name}", path, split, (label,)) for split in SPLITS for path in names[split]]
    return clips, notes


_STAMP = fields({"settings": table_of(anything()), "skipped": list_of(file_name())})


def _cut(
    folder: Path, paths: list[str], names: dict[str, list[Path]], settings: dict[str, Any], seed: int
) -> list[str]:
    """Writes the clips; the recordings that cannot be used."""
    rate, samples = settings["sample_rate"], settings["samples"]
    lengths: dict[str, int] = {}
    skipped = []
    made = next(path.parent for split in SPLITS for path in names[split])
    made.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            lengths[path] = sum(map(len, stream(folder / path, rate, USED_SECONDS)))
        except AudioError as error:
            skipped.append(str(error))
    if not lengths:
        raise UsageError(f"--background {folder}: none of its recordings can be used: {skipped[0]}")
    rng = np.random.default_rng(seed)
    cuts = _chosen(lengths, samples, {split: len(paths) for split, paths in names.items()}, seed, rng)
    for path in lengths:
        if not cuts[path]:
            continue
        wave = np.concatenate(list(stream(folder / path, rate, USED_SECONDS)))
        for split, number, start in cuts[path]:
            clip = _altered(wave[start : start + samples], rng)
            memory = io.BytesIO()
            soundfile.write(memory, to_int16(clip), rate, subtype="PCM_16", format="WAV")
            names[split][number].write_bytes(
                memory.getbuffer()
            )  # STAMP, which is written last, says that all are there
    return skipped


def _chosen(
    lengths: dict[str, int], samples: int, wanted: dict[str, int], seed: int, rng: np.random.Generator
) -> dict[str, list[tuple[str, int, int]]]:
    """For each recording the clips that are cut from it: split, number in the split, first sample."""
    parts: dict[str, list[tuple[str, int, int]]] = {split: [] for split in SPLITS}
    short = [path for path, length in lengths.items() if length < LONG * samples]
    drawn = dict(zip(short, draw_splits(short, [(0,)] * len(short), seed), strict=True)) if short else {}
    for path, length in lengths.items():
        if path in drawn:
            parts[drawn[path]].append((path, 0, length))
            continue
        bounds = [round(length * share) for share in np.cumsum([0, *SHARES.values()])]
        for split, (low, high) in zip(SHARES, pairwise(bounds), strict=True):
            parts[split].append((path, low, high))
    cuts: dict[str, list[tuple[str, int, int]]] = {path: [] for path in lengths}
    for split, count in wanted.items():
        if count and not parts[split]:
            raise UsageError(
                f"--background: too few recordings for the {split} split; give 3, or one as long as {LONG} clips"
            )
        sizes = np.array([high - low for _, low, high in parts[split]], float)
        for number in range(count):
            path, low, high = parts[split][rng.choice(len(sizes), p=sizes / sizes.sum())]
            cuts[path].append((split, number, int(rng.integers(low, max(high - samples, low) + 1))))
    return cuts


def _altered(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A clip as it is, quieter, or replaced by noise that is almost silent."""
    kind = rng.random()
    if kind < SILENCE:
        return (10 ** rng.uniform(-4.4, -3.8) * rng.standard_normal(len(wave))).astype(np.float32)
    if kind < SILENCE + QUIETER:
        return (wave * 10 ** (-rng.uniform(0, 40) / 20)).astype(np.float32)
    return wave
