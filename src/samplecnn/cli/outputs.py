"""Options of the commands that write tags: which scores, by which rules events are found, and where they go."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from samplecnn.cli.choices import SMOOTHINGS, choice

if TYPE_CHECKING:
    from samplecnn.tagging.events import EventRules

Top = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Show only the best N classes; by default 5 in a table, else all."),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Show only classes with a score above this. CSV leaves the others empty."),
]
ClassThreshold = Annotated[
    list[str] | None,
    typer.Option(metavar="CLASS=VALUE", help="Of events: the threshold of one class; may be repeated."),
]
Smooth = Annotated[
    int, typer.Option(min=1, metavar="N", help="Of events: windows to smooth scores over, an odd number.")
]
SmoothingKind = Annotated[str, choice(of=SMOOTHINGS, help="Of events: how scores are smoothed.")]
Hysteresis = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="Of events: extend them while scores are above this share of the threshold.",
    ),
]
MaxGap = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="Of events: join those of a class that are this close.")
]
MinSeconds = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Of events: drop shorter ones.")]
Refractory = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Of events: drop those that begin this soon after the end of the last of the class.",
    ),
]
OutputFile = Annotated[
    str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, once it is complete.")
]
OutputDir = Annotated[
    str | None,
    typer.Option(
        "--output-dir",
        metavar="DIR",
        help="Write every format into this folder, files of recordings in the same sub-folders as theirs.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files in --output-dir that exist already.")]


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
    """The rules that these options stand for."""
    from samplecnn.tagging.events import EventRules, Smoothing, class_thresholds

    limit = class_thresholds(class_threshold, threshold) if class_threshold else threshold
    kind = cast(Smoothing, smoothing)
    return EventRules(limit, smooth, kind, hysteresis, max_gap, min_seconds, refractory)
