"""The result of a comparison: a row for every combination of options, as Markdown, CSV and JSON."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.comparison.grid import words_of
from samplecnn.comparison.published import NOTES
from samplecnn.comparison.records import FAILED, FINISHED, NETWORK, RunRecord
from samplecnn.system.csv_cells import csv_row
from samplecnn.system.log import one_line
from samplecnn.system.progress import duration

LEVEL = 0.95
MEASURES = {"accuracy": "accuracy", "pr_auc": "PR-AUC", "roc_auc": "ROC-AUC"}


@dataclass(frozen=True)
class Row:
    """A combination of options, or a baseline, over its seeds and folds.

    Args:
        label: in words.
        kind: NETWORK, or the name of a baseline.
        options: the combination; empty for a baseline.
        values: the main score of every finished run.
        mean, deviation: of these; NaN if there are none, or of fewer than two.
        low, high: ends of the 95 % interval of the mean; NaN if there is none.
        roc_auc: mean over the runs.
        failed: number of runs that failed.
        errors: why, each reason once.
        waiting: number of runs that are still to come.
        parameters, macs, segments_per_second, seconds: as in `RunRecord`, the latter two means over the runs; None for
            a baseline.
        published: ROC-AUC in the paper; None if there is none for this data set and split.
    """

    label: str
    kind: str
    options: dict[str, Any]
    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float
    roc_auc: float
    failed: int
    errors: tuple[str, ...]
    waiting: int
    parameters: int | None
    macs: int | None
    segments_per_second: float | None
    seconds: float | None
    published: float | None


@dataclass(frozen=True)
class Comparison:
    """All rows.

    Args:
        dataset: as it was given.
        clips: of the training, validation and test split; with folds those of the first.
        measure: the main score: "accuracy" or "pr_auc".
        seeds: of the runs.
        folds: names of the folds; None without.
        rows: networks, then baselines.
        runs: the records of all runs that have begun, as plain values.
        folder: of the tables and the runs.
        published: whether published figures are of this data set and split.
        command: that makes these rows.
    """

    dataset: str
    clips: tuple[int, int, int]
    measure: str
    seeds: tuple[int, ...]
    folds: tuple[str, ...] | None
    rows: tuple[Row, ...]
    runs: tuple[RunRecord, ...]
    folder: Path
    published: bool = False
    command: str = ""

    @property
    def failures(self) -> list[RunRecord]:
        """The runs that failed."""
        return [run for run in self.runs if run.status == FAILED]

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file; NaN becomes None."""
        values = {**asdict(self), "folder": str(self.folder)}
        for row in values["rows"]:
            row.update({name: None for name, value in row.items() if isinstance(value, float) and math.isnan(value)})
        return values

    def markdown(self) -> str:
        """The table with what a reader needs to know of it."""
        return "\n".join([f"# Comparison on {one_line(self.dataset)}", "", *self._table(), "", *self._legend()]) + "\n"

    def csv(self) -> str:
        """The rows with all digits; an option that varies is a column."""
        options = list(dict.fromkeys(name for row in self.rows for name in row.options))
        names = [name for name in Row.__dataclass_fields__ if name not in ("options", "values", "errors")]
        lines = [csv_row([*names, *options])]
        for row in self.rows:
            cells = [getattr(row, name) for name in names] + [row.options.get(name) for name in options]
            lines.append(csv_row("" if cell is None or cell != cell else cell for cell in cells))
        return "".join(lines)

    def _table(self) -> list[str]:
        heads = ["", MEASURES[self.measure], "95 % interval", "ROC-AUC"]
        heads += ["published ROC-AUC"] if self.published else []
        heads += ["parameters", "MACs", "segments/s", "a run"]
        body = [self._cells(row) for row in self.rows]
        widths = [max(len(line[column]) for line in [heads, *body]) for column in range(len(heads))]

        def line(cells: Sequence[str]) -> str:
            first, *others = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            return f"| {' | '.join([first, *others])} |"

        rule = ["-" * max(width, 3) for width in widths]
        return [line(heads), f"|{'|'.join('-' * (len(dashes) + 2) for dashes in rule)}|", *map(line, body)]

    def _cells(self, row: Row) -> list[str]:
        mark = f" ({row.failed} failed)" if row.failed else ""
        mark += f" ({row.waiting} to come)" if row.waiting else ""
        cells = [
            one_line(row.label).replace("|", "\\|") + mark,
            _number(row.mean) + ("" if math.isnan(row.deviation) else f" ± {row.deviation:.4f}"),
            "–" if math.isnan(row.low) else f"{row.low:.4f} to {row.high:.4f}",
            _number(row.roc_auc),
        ]
        cells += [_number(math.nan if row.published is None else row.published)] if self.published else []
        seconds = "–" if row.seconds is None else f"{row.seconds:.1f}s" if row.seconds < 10 else duration(row.seconds)
        rate = "–" if row.segments_per_second is None else f"{row.segments_per_second:,.0f}"
        return [*cells, _count(row.parameters), _count(row.macs), rate, seconds]

    def _legend(self) -> list[str]:
        runs = f"seed{'' if len(self.seeds) == 1 else 's'} {', '.join(map(str, self.seeds))}"
        if self.folds is None:
            clips = "{:,} training, {:,} validation and {:,} test clips".format(*self.clips)
        else:
            names = f"{len(self.folds)} drawn folds" if "/" in self.folds[0] else f"folds {', '.join(self.folds)}"
            clips = f"{sum(self.clips):,} clips, {names}"
        lines = [
            f"{clips}; {runs}. Scores are of test clips. ±: standard deviation over the runs. Interval: of the mean, "
            f"by Student's t over {'seeds' if self.folds is None else 'folds'}; of a single run's accuracy, Wilson's "
            "over its test clips. MACs: multiply-accumulates for one window. segments/s: in training"
            f"{self._machines()}.",
        ]
        networks = [row.options for row in self.rows if row.kind == NETWORK]
        if len(networks) > 1:  # the label of a single one has all of them
            first, *others = networks
            same = {name: [value] for name, value in first.items() if all(other[name] == value for other in others)}
            lines += [f"Every network: {one_line(words_of(same))}."] if same else []
        if any(row.kind != NETWORK for row in self.rows):
            lines.append(
                "Baselines learn from means, deviations and maxima of 128 log-mel bands of the training and validation "
                "clips."
            )
        if self.published and self.dataset in NOTES:
            lines.append(f"{NOTES[self.dataset][0].upper()}{NOTES[self.dataset][1:]}.")
        lines += [f"`{one_line(self.command)}`"] if self.command else []
        lines += [f"Failed: {one_line(row.label)}: {one_line(error)}" for row in self.rows for error in row.errors]
        return lines

    def _machines(self) -> str:
        """Where the networks were trained; runs of earlier versions do not say it."""
        names = list(dict.fromkeys(run.machine for run in self.runs if run.machine))
        return f", on {' and '.join(map(one_line, names))}" if names else ""


def row_of(
    label: str,
    kind: str,
    options: dict[str, Any],
    runs: Sequence[RunRecord],
    planned: int,
    measure: str,
    published: float | None = None,
) -> Row:
    """The row of some runs.

    Args:
        label, kind, options, published: as in `Row`.
        runs: that have begun.
        planned: how many there will be.
        measure: the main score.
    """
    done = [run for run in runs if run.status == FINISHED]
    values = [_score(run, measure) for run in done]
    failed = sum(run.status == FAILED for run in runs)
    mean = statistics.fmean(values) if values else math.nan
    low, high = _interval(done, measure)
    known = [run.segments_per_second for run in done if run.segments_per_second is not None]
    seconds = [run.seconds for run in done if run.seconds is not None]
    return Row(
        label=label,
        kind=kind,
        options=options,
        values=tuple(values),
        mean=mean,
        deviation=statistics.stdev(values) if len(values) > 1 else math.nan,
        low=low,
        high=high,
        roc_auc=_mean(_score(run, "roc_auc") for run in done),
        failed=failed,
        errors=tuple(dict.fromkeys(run.error for run in runs if run.status == FAILED)),
        waiting=planned - len(done) - failed,
        parameters=done[0].parameters if done else None,
        macs=done[0].macs if done else None,
        segments_per_second=statistics.fmean(known) if known else None,
        seconds=statistics.fmean(seconds) if seconds else None,
        published=published,
    )


def _interval(runs: Sequence[RunRecord], measure: str) -> tuple[float, float]:
    """Of the mean, by Student's t over the folds, or over the seeds if there are no folds.

    Runs of one fold with other seeds are no further data: their mean counts once. Folds share most of their training
    clips, for which t makes no allowance. A single accuracy gets Wilson's interval over its test clips.
    """
    from scipy.stats import t

    from samplecnn.evaluation.intervals import wilson

    units: dict[Any, list[float]] = {}
    for run in runs:
        fold = run.options.get("fold")
        units.setdefault(run.options.get("seed") if fold is None else fold, []).append(_score(run, measure))
    means = [statistics.fmean(values) for values in units.values()]
    if len(means) > 1:
        if statistics.stdev(means) == 0:  # equal scores do not say how far others would be
            return math.nan, math.nan
        half = float(t.ppf((1 + LEVEL) / 2, len(means) - 1)) * statistics.stdev(means) / math.sqrt(len(means))
        middle = statistics.fmean(means)
        return max(middle - half, 0.0), min(middle + half, 1.0)
    if len(runs) == 1 and measure == "accuracy":
        clips = int(runs[0].scores["clips"])
        low, high = wilson(np.asarray(round(means[0] * clips)), np.asarray(clips), LEVEL)
        return float(low), float(high)
    return math.nan, math.nan


def _score(run: RunRecord, measure: str) -> float:
    value = run.scores.get(measure)
    return math.nan if value is None else float(value)


def _mean(values: Iterable[float]) -> float:
    found = [value for value in values if not math.isnan(value)]
    return statistics.fmean(found) if found else math.nan


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _count(value: int | None) -> str:
    """A large number in short: 1.88 M."""
    if value is None:
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)
