"""samplecnn compare DATASET: a grid of training options over seeds and folds, as a table and a plot."""

from pathlib import Path
from typing import Annotated

import typer

from samplecnn.cli.shared import Built, DataDir, NumReaders, require_pytorch
from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system import log


def compare_command(
    dataset: Built,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUES", help="Further options of the grid.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="Any option of train and its values: --grid block=basic,se features=32,64 multi=no,yes; NAME+NAME=... "
            "for options with the same value. Without it, baselines only.",
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(metavar="N", help="Number of seeds, from 0, or a list: 3 is the same as 0,1,2, and 7, is seed 7."),
    ] = "1",
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Cross-validation over N drawn folds of all clips, with each group in one fold; column: over the fold "
            "column of the manifest. By default the splits as built.",
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Also evaluate quick baselines, which are classifiers of scikit-learn on log-mel statistics.",
        ),
    ] = True,
    data_dir: DataDir = "./data",
    log_dir: Annotated[str, typer.Option(metavar="PATH", help="Folder for compare-DATASET.")] = "./log",
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder of the tables and runs. [default: LOG_DIR/compare-DATASET]"),
    ] = None,
    num_readers: NumReaders = 8,
) -> None:
    """Compare training options: every combination over seeds and folds, with quick baselines, as a table and a plot.

    The same command continues an interrupted comparison without repeating finished runs. Runs that fail are listed,
    and the others continue.
    """
    require_pytorch("samplecnn compare", trains=True)
    from samplecnn.comparison import compare
    from samplecnn.comparison.grid import read_grid

    words = [*(grid or []), *(more or [])]
    if "=" in dataset and not Path(dataset).exists():
        raise UsageError(f"{dataset!r} is not a data set; DATASET comes first: samplecnn compare DATASET {dataset}")
    result = compare(
        dataset,
        read_grid(words),
        seeds=_seeds(seeds),
        folds=None if folds is None else _folds(folds),
        baselines=baselines,
        data_dir=data_dir,
        log_dir=log_dir,
        out=out,
        num_readers=num_readers,
    )
    log.show(result.markdown().rstrip())
    log.note(f"written to {result.folder}: comparison.md, .csv, .json and .png")
    if result.failures:
        raise SampleCNNError(
            f"{len(result.failures)} of {len(result.runs)} runs failed; run the same command to try again"
        )


def _seeds(text: str) -> int | list[int]:
    try:
        return [int(part) for part in text.removesuffix(",").split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UsageError(f"--seeds {text}: expected a number, or several separated by commas") from error


def _folds(text: str) -> int | str:
    if text == "column":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"--folds {text}: expected a number of folds, or column") from error
