"""Options of the commands that write tags: selection of scores, event rules and destinations."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from samplecnn.cli.choices import SMOOTHINGS, choice
from samplecnn.cli.config_file import CONFIG
from samplecnn.errors import UsageError

if TYPE_CHECKING:
    from samplecnn.tagging.events import EventRules

Top = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Show only the best N classes; by default 5 in a table, else all."),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Show only classes with a score above this. In CSV the others are empty."),
]
ClassThreshold = Annotated[
    list[str] | None,
    typer.Option(metavar="CLASS=VALUE", help="Events: the threshold of one class; may be repeated."),
]
Smooth = Annotated[int, typer.Option(min=1, metavar="N", help="Events: number of windows to smooth scores over, odd.")]
SmoothingKind = Annotated[str, choice(of=SMOOTHINGS, help="Events: the smoothing filter.")]
Hysteresis = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="Events: extend them while scores are above this share of the threshold.",
    ),
]
MaxGap = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Events: join those of a class with gaps up to this length.")
]
MinSeconds = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Events: drop shorter ones.")]
Refractory = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Events: drop those that begin this soon after the previous one of the class.",
    ),
]
OutputFile = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, atomically.")
]
OutputDir = Annotated[
    str | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="Write every format into this folder; files per recording keep the recordings' sub-folders.",
    ),
]
About = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Write the provenance of the tags (model, hash, engine, ...) to this JSON file, also for tags on stdout.",
        show_default="OUTPUT.about.json for formats that cannot contain it",
    ),
]
NoAbout = Annotated[bool, typer.Option("--no-about", help="Do not write OUTPUT.about.json.")]
EmbeddingsFile = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="FILE",
        help="Also write embeddings of the recordings, or with --over-time of the windows, to this .parquet or .npz.",
    ),
]
FilesFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Also read paths from this file, or - for stdin: one per line, or separated by NUL."
    ),
]
OverTime = Annotated[bool, typer.Option("--over-time", help="Show the scores of every window, with its time.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files in --output-dir.")]


def event_rules(
    threshold: float | None,
    class_threshold: list[str] | None,
    smooth: int,
    smoothing: str,
    hysteresis: float,
    max_gap: float,
    min_seconds: float,
    refractory: float,
) -> "EventRules":
    """The event rules given by these options."""
    from samplecnn.tagging.events import EventRules, Smoothing, class_thresholds

    limit = class_thresholds(class_threshold, threshold) if class_threshold else threshold
    kind = cast(Smoothing, smoothing)
    return EventRules(limit, smooth, kind, hysteresis, max_gap, min_seconds, refractory)


def about_option(about: str | None, no_about: bool) -> str | bool | None:
    """Where --about and --no-about put the provenance: in a file, nowhere (False), or in the default place (None).

    Raises:
        UsageError: both are given.
    """
    if about is not None and no_about:
        raise UsageError("--about and --no-about exclude each other; omit one of them")
    return about if about is not None else (False if no_about else None)


def files_read(context: typer.Context, files_from: str | None = None) -> list[str]:
    """The files that options were read from, which no output may overwrite: --config and --files-from."""
    given = (context.meta.get(CONFIG), files_from)
    return [path for path in given if path is not None and path != "-"]
