"""`samplecnn eval`: the table on stdout, the scores as JSON, the pictures in a folder."""

import re
import sys
from dataclasses import replace
from pathlib import Path

from samplecnn.datasets import dataset_name
from samplecnn.evaluation.evaluator import Evaluation, examine
from samplecnn.evaluation.intervals import headline_intervals
from samplecnn.evaluation.plots import save_pictures
from samplecnn.evaluation.score_table import print_report, print_thresholds
from samplecnn.model_files import CONFIG
from samplecnn.system import log
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.files import write_json


def run_eval(
    dataset: str,
    model: str,
    data_dir: str = "./data",
    batch_size: int = 23,
    num_readers: int = 8,
    json: str | None = None,
    pictures: str | None = None,
    device: str | None = None,
    skip_corrupt: bool = False,
    engine: str | None = None,
    precision: str | None = None,
    compare_with_model: bool = False,
    fold: str | None = None,
    fit_thresholds: str | None = None,
) -> Evaluation:
    """`examine` with a progress bar on stderr, then the report on stdout; lists the written files on stderr.

    Args:
        dataset, model, data_dir, batch_size, num_readers, device, skip_corrupt, fold: as for `evaluate`.
        json: path of a file with the scores, the per-class table and the settings.
        pictures: folder for the plots; None: the model's run directory, if it is in a writable one.
        engine, precision, compare_with_model: as for `examine`.
        fit_thresholds: a goal of `fitting.fit`, which changes the model before it is scored.
    """
    keep_freed_memory()
    fitted = None
    if fit_thresholds is not None:
        from samplecnn.evaluation.fitting import fit

        fitted = fit(
            model, dataset, data_dir, fit_thresholds, batch_size, num_readers, device, True, skip_corrupt, fold
        )
    result = examine(
        model,
        dataset,
        data_dir,
        batch_size,
        num_readers,
        device,
        progress=True,
        skip_corrupt=skip_corrupt,
        engine=engine,
        precision=precision,
        compare_with_model=compare_with_model,
        fold=fold,
    )
    result = replace(result, intervals=headline_intervals(result.predictions, result.task))
    if json is not None:
        write_json(json, result.to_dict() | ({} if fitted is None else {"fitted": fitted.to_dict()}))
    folder = Path(pictures) if pictures is not None else picture_folder(model, dataset)
    notes = [] if json is None else [f"scores: {json}"]
    if folder is not None:
        try:
            paths = save_pictures(result.predictions, result.scores, result.task, folder)
            notes += [f"picture: {path}" for path in paths]
        except OSError as error:
            if pictures is not None:
                raise
            notes.append(f"no pictures: {folder}: {error.strerror or error}; choose another folder with --pictures")
    print_report(result.scores, result.task, result.predictions, intervals=result.intervals)
    if fitted is not None:
        if fitted.thresholds:
            print_thresholds(fitted.thresholds)
        log.show("\n".join(fitted.lines()))
    if result.comparison is not None:
        log.show(str(result.comparison))
    sys.stdout.flush()
    for warning in result.warnings:
        log.report(warning)
    for note in notes:
        log.note(note)
    return result


def picture_folder(model: str, dataset: str) -> Path | None:
    """test-DATASET in the run directory of a model; None for a model outside a run directory."""
    path = Path(model)
    run = path if path.is_dir() else path.parent
    if not (run / CONFIG).exists():
        return None
    return run / f"test-{re.sub(r'[^A-Za-z0-9._-]+', '_', dataset_name(dataset))}"
