"""`samplecnn train --head-only`: a run that fits an output layer and writes the files of a run, but no checkpoint."""

from pathlib import Path

import numpy as np

from samplecnn import __version__, model_files
from samplecnn.datasets.custom import slug
from samplecnn.evaluation import predict, score
from samplecnn.evaluation.probabilities import load_on_device
from samplecnn.shards import Segments
from samplecnn.training.data import seen_clips
from samplecnn.training.head import activations, fit_head, task_on, with_head
from samplecnn.training.logging import log
from samplecnn.training.options import TrainOptions
from samplecnn.training.record import recorded
from samplecnn.training.result import TrainResult, show_final, write_final
from samplecnn.training.start import new_run


def train_head(options: TrainOptions, splits: dict[str, Segments]) -> TrainResult:
    """Fits a new output layer on the network of --init-from, scores the test split, and writes the run directory.

    Args:
        options: of the run; those of network, schedule and augmentation have no effect.
        splits: of the data set.

    Raises:
        UsageError: no such model, or the data set is built at another sample rate than the model's.
    """
    assert options.init_from is not None  # TrainOptions has checked it
    model = load_on_device(options.init_from, None if options.device == "auto" else options.device)
    task = task_on(model, splits["train"].task, options.init_from)
    parts = {
        split: activations(model, splits[split], options.batch_size, options.num_readers) for split in ("train", "val")
    }
    labels = {split: np.asarray(splits[split].labels) for split in parts}
    head = fit_head(parts["train"], labels["train"], parts["val"], labels["val"], task)
    model = with_head(model, head, task).to(next(model.parameters()).device)
    seen = seen_clips(options, splits)
    run = new_run(Path(options.log_dir), f"{slug(task.name)}-{options.name or 'head'}")
    record = {
        "samplecnn": __version__,
        "val_loss": min(head.losses),
        "penalty": head.penalty,
        "segments": len(splits["train"]),
        "options": recorded(options),
        "data": seen.save(run),
    }
    model_files.save(model, run, record)
    found = predict(model, splits["test"], options.batch_size, progress=True, num_readers=options.num_readers)
    scores = score(found.y_true, found.y_prob, task)
    result = write_final(model, run, scores)
    log(
        f"run {run}\na new output layer on {options.init_from}: {len(splits['train']):,} training segments, "
        f"penalty {head.penalty:g}, validation loss {min(head.losses):.4f}"
    )
    return show_final(result)
