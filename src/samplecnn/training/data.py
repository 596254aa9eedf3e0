"""The data of a run: its splits, a check that they are unchanged, and the clips that its model is trained on."""

import hashlib
from pathlib import Path

import numpy as np

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.evaluation.seen_clips import SeenClips, clip_hashes, merged, read_seen
from samplecnn.shards import Segments
from samplecnn.shards.folds import Subset, open_built_splits
from samplecnn.shards.identity import BuildRecord, check_same_build, read_record, unrecorded_source
from samplecnn.system.log import note, warn
from samplecnn.task import Task
from samplecnn.training.checkpoint import Checkpoint
from samplecnn.training.options import TrainOptions


def open_splits(options: TrainOptions, any_source: bool = False) -> dict[str, Segments]:
    """The three splits of one build of a data set, or of one fold of it; scores need at least two clips in each.

    Args:
        any_source: also takes what was built from another source of the same name.

    Raises:
        UsageError: not built, built from another source, or too few clips in a split.
        SampleCNNError: the data set is being replaced.
    """
    dataset = options.dataset
    splits = open_built_splits(
        dataset, options.data_dir, options.fold, skip_corrupt=options.skip_corrupt, any_source=any_source
    )
    check_same_build([record_of(segments).stamp for segments in splits.values()], splits["train"].folder)
    remark = None if any_source else unrecorded_source(dataset, record_of(splits["train"]), splits["train"].folder)
    if remark:
        note(remark)
    for split, segments in splits.items():
        clips = len(set(segments.ids))
        if clips < 2:
            raise UsageError(
                f"data set {options.dataset}: {clips} clip in its {split} split; training needs at least 2 in each of "
                "train, val and test"
            )
    return splits


def with_statistics(splits: dict[str, Segments], task: Task) -> Task:
    """Gives the splits the mean and the standard deviation of `task`; returns the task they then have."""
    for segments in splits.values():
        segments.task = segments.task.with_statistics(task.mean, task.std)
    return splits["train"].task


def every_clip(splits: dict[str, Segments]) -> Segments:
    """All clips of the splits, as one."""
    parts = list(splits.values())
    found = Subset(parts, np.arange(sum(len(part) for part in parts)), "all", splits["train"].task)
    found.skipped = [line for part in parts for line in part.skipped]
    return found


def record_of(segments: Segments) -> BuildRecord:
    """What the shards of these segments were built from."""
    return segments.record or read_record(segments.folder)


def check_same_data(run: Path, checkpoint: Checkpoint, train: Segments) -> None:
    """Raises SampleCNNError, naming both builds, if the data set is not the one that the run started with."""
    now = record_of(train)
    if checkpoint.data is None:
        note(
            f"{run} does not record the fingerprint of its data (earlier versions did not): only the task and the "
            "number of segments are compared"
        )
        started, same = f"{checkpoint.segments:,} training segments", True
        found = f"{len(train):,}"
    else:
        try:
            recorded = BuildRecord.from_dict(checkpoint.data)
        except ValueError as error:
            raise SampleCNNError(f"{run}: its checkpoint is damaged ({error}); start the training again") from error
        started, found, same = str(recorded), str(now), recorded.fingerprint == now.fingerprint
    if not same or train.task != Task.from_dict(checkpoint.task) or len(train) != checkpoint.segments:
        raise SampleCNNError(
            f"{run}: {train.folder} was rebuilt after the run started: then it was {started}, now {found}; "
            "build the data set as it was, or start a new run"
        )


def background_hash(background: np.ndarray | None) -> str | None:
    """A hash of the recordings of --background, float32 [samples]; None without them."""
    return None if background is None else hashlib.sha256(background.data).hexdigest()


def check_same_background(run: Path, checkpoint: Checkpoint, background: np.ndarray | None) -> None:
    """Raises SampleCNNError if the recordings of --background are not those that the run started with."""
    if checkpoint.background is not None and background_hash(background) != checkpoint.background:
        raise SampleCNNError(
            f"{run}: the recordings in {checkpoint.options['background']} (--background) have changed since the run "
            "started; restore them, or start a new run"
        )


def seen_clips(options: TrainOptions, splits: dict[str, Segments], run: Path | None = None) -> SeenClips:
    """The clips that a model is trained on, with a warning if test clips are among them.

    The clips of the validation split count, because they decide which epoch is the best; so do those that the model of
    --init-from was trained on, and those that an interrupted `run` has recorded.
    """
    fingerprint = record_of(splits["train"]).fingerprint
    parts = [clip_hashes(splits[split], options.num_readers) for split in splits if split != "test"]
    before = [read_seen(model) for model in (run, options.init_from) if model is not None]
    inherited = [seen.hashes for seen in before if seen is not None]
    seen = SeenClips(merged(*parts), fingerprint)
    count = seen.overlap(clip_hashes(splits["test"], options.num_readers)) if "test" in splits else 0
    if count:
        warn(
            f"{count:,} of {splits['test'].num_clips:,} test clips are also in the training or validation split: their "
            "scores do not show how the model does on new recordings"
        )
    return SeenClips(merged(seen.hashes, *inherited), fingerprint)
