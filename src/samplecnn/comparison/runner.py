"""All runs of a comparison, one after the other, and the tables that grow with them."""

import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samplecnn.comparison.grid import Grid, checked_grid, label_of, points, words_of
from samplecnn.comparison.picture import draw_comparison
from samplecnn.comparison.published import is_published_split, published_roc_auc
from samplecnn.comparison.records import FAILED, FINISHED, NETWORK, Records, RunRecord
from samplecnn.comparison.runs import Job, execute, open_builds, record_for
from samplecnn.comparison.table import Comparison, Row, row_of
from samplecnn.datasets import dataset_name
from samplecnn.errors import OptionError, UsageError
from samplecnn.evaluation.baselines import BASELINES
from samplecnn.shards.folds import fold_names
from samplecnn.system import log
from samplecnn.system.arguments import checked
from samplecnn.system.files import write_json, write_text
from samplecnn.system.locks import locked
from samplecnn.system.plotting import save_figure
from samplecnn.system.progress import duration
from samplecnn.training.options import TrainOptions, resolved

if TYPE_CHECKING:
    from samplecnn.shards import Segments

RECORDS, RUNS = "records", "runs"


@checked
def compare(
    dataset: str,
    grid: Mapping[str, Any] | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    folds: int | str | None = None,
    baselines: bool = True,
    data_dir: str | Path = TrainOptions.data_dir,
    log_dir: str | Path = TrainOptions.log_dir,
    out: str | Path | None = None,
    num_readers: int = TrainOptions.num_readers,
) -> Comparison:
    """Trains every combination of some options, with several seeds and on several folds, next to quick baselines.

    It can be interrupted at any time. Called again, also with a larger grid, it repeats no run that is finished, which
    it recognises by the options and the data, and resumes the one that was interrupted. A run that fails is recorded,
    the others follow, and it is tried again next time.

    Args:
        dataset: as for `train`, built as Arrow shards.
        grid: {option of `train`: its values, or one value}; options that are absent keep their defaults. None or empty:
            no network, baselines only. "pool_size+filter_size" gives both the same values. Several values of data_dir
            compare builds of the data set with other windows or sample rates, which must have the same test clips.
        seeds: how many, from 0, or which.
        folds: a number draws as many folds of all clips, stratified and with every group in one fold; "column" takes
            those of the data set's fold column; None takes the splits that the data set was built with.
        baselines: whether log-mel statistics with a logistic regression and a random forest are rows as well.
        data_dir: folder of the built data sets, unless the grid has data_dir.
        log_dir: of the folder `compare-DATASET`, which is used if `out` is None.
        out: folder of the result: comparison.md, .csv, .json and .png, a record of each run in records/, and the run
            directories in runs/.
        num_readers: threads that read for the baselines.

    Returns:
        The rows and all runs.

    Raises:
        UsageError: an unknown option or value, or a combination of values that cannot be trained; a data set that is
            not built, no such folds, or another comparison that uses the folder.

    Example:
        >>> import contextlib, io
        >>> grid = {"block": ["basic", "se"], "features": 8, "recipe": "original", "num_stages": 1, "max_epochs": 1}
        >>> with contextlib.redirect_stderr(io.StringIO()):  # the progress of each run
        ...     comparison = samplecnn.compare("sounds", grid, folds=2)
        >>> print(*(row.label for row in comparison.rows), sep=", ")
        block=basic, block=se, logistic regression, random forest
        >>> all(len(row.values) == 2 for row in comparison.rows)
        True
    """
    chosen = checked_grid(grid) if grid else {}
    numbers = _seeds(seeds)
    if not chosen and not baselines:
        raise OptionError("grid", "is empty, and there are no baselines: there is nothing to compare")
    for point in points(chosen):
        resolved({"dataset": dataset, **point})  # finds a value out of range now, and not after hours
    data_dirs = list(dict.fromkeys(str(point.get("data_dir", data_dir)) for point in points(chosen)))
    names = None if folds is None else tuple(fold_names(dataset, data_dirs[0], folds))
    folder = Path(out) if out is not None else Path(log_dir) / f"compare-{dataset_name(dataset)}"
    jobs = _jobs(chosen, numbers, names, baselines, data_dirs)
    builds = open_builds(dataset, data_dirs, names or (None,))
    for point in points(chosen):
        build = builds[str(point.get("data_dir", data_dirs[0]))]
        _check(dataset, point, chosen, build.splits(jobs[0].fold))
    splits = builds[data_dirs[0]].splits(jobs[0].fold)
    clips = (splits["train"].num_clips, splits["val"].num_clips, splits["test"].num_clips)
    measure = "pr_auc" if splits["train"].task.kind == "multilabel" else "accuracy"
    published = is_published_split(dataset, clips[2], folds)
    figures = {
        data_dir
        for data_dir, build in builds.items()
        if is_published_split(dataset, clips[2], folds, build.splits(jobs[0].fold)["test"].task)
    }
    command = _command(dataset, chosen, numbers, folds, baselines)
    for sub in (RECORDS, RUNS):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    with locked(folder, f"{folder}: another comparison uses this folder; wait for it, or choose another with --out"):
        records = Records(folder / RECORDS)
        found = [record_for(job, builds[job.data_dir], records) for job in jobs]

        def result() -> Comparison:
            rows = _rows(dataset, jobs, found, measure, figures)
            begun = tuple(record for record in found if record.status in (FINISHED, FAILED))
            return Comparison(dataset, clips, measure, numbers, names, rows, begun, folder, published, command)

        pace = _Pace(jobs, found)
        try:
            for index, job in enumerate(jobs):
                if found[index].status != FINISHED:
                    log.note(pace.line(index))
                    began = time.monotonic()
                    found[index] = execute(job, builds[job.data_dir], folder / RUNS, records, num_readers)
                    pace.done(index, time.monotonic() - began)
                    if found[index].status == FAILED:
                        log.warn(f"{job}: {found[index].error}")
                    _write(result(), folder)
        except KeyboardInterrupt:
            left = sum(record.status not in (FINISHED, FAILED) for record in found)
            log.report(f"stopped with {left} of {len(jobs)} runs to come; the same command continues")
            raise
        comparison = result()
        _write(comparison, folder)
        save_figure(draw_comparison(comparison), folder / "comparison.png")
    return comparison


def _check(dataset: str, point: Mapping[str, Any], grid: Grid, splits: "dict[str, Segments]") -> None:
    """Raises UsageError, naming the combination, if its runs could not start."""
    if not point:
        return
    from samplecnn.training.start import check_start, options_for

    train = splits["train"]
    try:
        check_start(options_for({"dataset": dataset, **point}, len(train), train.task), train.task)
    except UsageError as error:
        raise UsageError(f"{label_of(point, grid)}: {error}") from error


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or len(set(chosen)) < len(chosen) or any(seed < 0 for seed in chosen):
        raise OptionError("seeds", f"must be 1 or more, or different numbers from 0, not {seeds}")
    return chosen


def _command(dataset: str, grid: Grid, seeds: tuple[int, ...], folds: int | str | None, baselines: bool) -> str:
    """The command of a comparison, except where its data and results are."""
    words = ["samplecnn", "compare", dataset, *(["--grid", *words_of(grid).split()] if grid else [])]
    if seeds != (0,):
        counted = seeds == tuple(range(len(seeds)))
        words += ["--seeds", str(len(seeds)) if counted else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)]
    words += [] if folds is None else ["--folds", str(folds)]
    return shlex.join(words + ([] if baselines else ["--no-baselines"]))


def _jobs(
    grid: Grid, seeds: Sequence[int], folds: Sequence[str] | None, baselines: bool, data_dirs: Sequence[str]
) -> list[Job]:
    """All runs: for the first seed and fold every combination, then for the next fold, so that there is soon a value in
    every row."""
    jobs = []
    for seed in seeds:
        for fold in (None,) if folds is None else folds:
            for data_dir in data_dirs if baselines else ():
                where = f" {words_of({'data_dir': [data_dir]})}" if len(data_dirs) > 1 else ""
                names = [name for name in BASELINES if seed == seeds[0] or _varies(name)]
                jobs += [Job(name, f"{name}{where}", None, seed, fold, data_dir) for name in names]
            jobs += [
                Job(NETWORK, label_of(point, grid), point, seed, fold, str(point.get("data_dir", data_dirs[0])))
                for point in points(grid)
                if grid
            ]
    return jobs


def _varies(baseline: str) -> bool:
    """Whether a baseline gives something else with another seed."""
    return baseline != "logistic regression"


class _Pace:
    """The time that the runs have taken, and an estimate for the remaining ones."""

    def __init__(self, jobs: list[Job], found: list[RunRecord]) -> None:
        self.jobs, self.began = jobs, time.monotonic()
        self.left = {index for index, record in enumerate(found) if record.status != FINISHED}
        self.finished_before = len(jobs) - len(self.left)
        self.seconds: dict[str, list[float]] = {}
        for job, record in zip(jobs, found, strict=True):
            if record.status == FINISHED and record.seconds is not None:
                self.seconds.setdefault(job.label, []).append(record.seconds)

    def done(self, index: int, seconds: float) -> None:
        self.left.discard(index)
        self.seconds.setdefault(self.jobs[index].label, []).append(seconds)

    def line(self, index: int) -> str:
        """The run that begins, how many are done, and, once a network has been timed, the remaining time."""
        count = len(self.jobs) - len(self.left)
        networks = {job.label for job in self.jobs if job.kind == NETWORK}
        timed = [seconds for label in networks for seconds in self.seconds.get(label, [])]
        parts = [f"run {count + 1} of {len(self.jobs)}: {self.jobs[index]}"]
        here = count - self.finished_before
        if here:
            spent = time.monotonic() - self.began
            runs = f"{here} run{'s' if here > 1 else ''}"
            parts.append(f"{runs} in {duration(spent)}, {3600 * here / max(spent, 1e-9):.3g} an hour")
        if timed or not networks:
            parts.append(f"about {duration(self._seconds_left(timed))} left")
        return "; ".join(parts)

    def _seconds_left(self, timed: list[float]) -> float:
        """By the runs of the same combination, or else by all networks'."""
        usual = statistics.fmean(timed) if timed else 1.0
        return sum(
            statistics.fmean(self.seconds.get(self.jobs[index].label) or [usual if self.jobs[index].given else 1.0])
            for index in self.left
        )


def _rows(dataset: str, jobs: list[Job], found: list[RunRecord], measure: str, published: set[str]) -> tuple[Row, ...]:
    """The rows in the order of the grid, baselines last; `published` are the data_dirs that figures compare with."""
    rows = []
    for kind, label in dict.fromkeys((job.kind, job.label) for job in sorted(jobs, key=lambda job: job.given is None)):
        of_row = [index for index, job in enumerate(jobs) if (job.kind, job.label) == (kind, label)]
        point = jobs[of_row[0]].given or {}
        options = resolved({"dataset": dataset, **point}).to_dict()
        compares = kind == NETWORK and jobs[of_row[0]].data_dir in published
        figure = published_roc_auc(dataset, options) if compares else None
        rows.append(row_of(label, kind, point, [found[index] for index in of_row], len(of_row), measure, figure))
    return tuple(rows)


def _write(comparison: Comparison, folder: Path) -> None:
    write_json(folder / "comparison.json", comparison.to_dict())
    write_text(folder / "comparison.csv", comparison.csv())
    write_text(folder / "comparison.md", comparison.markdown())
