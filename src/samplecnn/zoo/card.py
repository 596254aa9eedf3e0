"""Model cards: Markdown from the figures that were measured of a model."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

Z95 = 1.959964  # standard deviations of a normal distribution on each side of a 95 % interval


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson (1927): it stays within 0 and 1, and holds for few clips.

    Example:
        >>> low, high = wilson(96, 100)
        >>> round(low, 3), round(high, 3)
        (0.902, 0.984)
    """
    if total == 0:
        return 0.0, 1.0
    share, spread = hits / total, Z95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = Z95 * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def poisson_rate(events: int, hours: float) -> tuple[float, float, float]:
    """Events an hour with a 95 % interval, by Byar's approximation of the Poisson limits (Rothman & Boice 1979).

    Example:
        >>> [round(value, 1) for value in poisson_rate(0, 1.0)], [round(value, 1) for value in poisson_rate(10, 1.0)]
        ([0.0, 0.0, 3.7], [10.0, 4.8, 18.4])
    """
    if events == 0:
        return 0.0, 0.0, -math.log(0.025) / hours
    low = events * (1 - 1 / (9 * events) - Z95 / (3 * math.sqrt(events))) ** 3
    more = events + 1
    high = more * (1 - 1 / (9 * more) + Z95 / (3 * math.sqrt(more))) ** 3
    return events / hours, max(low, 0.0) / hours, high / hours


def card_text(facts: dict[str, Any]) -> str:
    """The card of a packaged model.

    Args:
        facts: plain values, as JSON holds them. `name`, `about`, `licence`, `bytes`, `parameters`, `sha256`,
            `sample_rate` (Hz), `window` (samples), `command`, `seed` and `data` (a list of `name`, `licence`, `use`),
            `counts` (clips of each class in each split), `split` (how the clips were divided), `scores` (a list of
            `name`, `value`, `low`, `high`, `clips`); optional are `per_class` (rows of `Scores.to_dict`), `confusion`
            (`classes`, `counts`), `snr` (rows of `snr`, `value`), `false_alarms` (rows of `what`, `events`, `hours`,
            `threshold`), `speed` (rows of `what`, `value`) and `limits` (sentences).
    """
    sections = [
        f"# {facts['name']}\n\n{facts['about']}",
        _use(facts),
        _classes(facts),
        "## Data\n\n"
        + markdown_table(("recordings", "licence", "used for"), (_row(d, "name licence use") for d in facts["data"])),
        f"Split: {facts['split']}",
        _scores(facts),
    ]
    if facts.get("per_class"):
        sections.append(per_class_table(facts["per_class"]))
    if facts.get("confusion"):
        sections.append(_confusion(**facts["confusion"]))
    if facts.get("snr"):
        rows = [(_decibels(row["snr"]), f"{100 * row['value']:.1f} %") for row in facts["snr"]]
        sections.append(
            f"## With background noise\n\n{facts['snr_about']}\n\n" + markdown_table(("SNR", "accuracy"), rows, "rr")
        )
    if facts.get("false_alarms"):
        sections.append(_false_alarms(facts["false_alarms"]))
    if facts.get("speed"):
        rows = [(row["what"], row["value"]) for row in facts["speed"]]
        sections.append(f"## Speed\n\n{facts['speed_about']}\n\n" + markdown_table(("what", "time"), rows, "lr"))
    if facts.get("limits"):
        sections.append("## Limits\n\n" + "\n".join(f"- {line}" for line in facts["limits"]))
    sections.append(
        f"## How it was made\n\n    {facts['command']}\n\nSeed {facts['seed']}. SHA-256 of the weights: "
        f"`{facts['sha256']}`.\nLicence: {facts['licence']}."
    )
    return "\n\n".join(sections) + "\n"


def _use(facts: dict[str, Any]) -> str:
    seconds = facts["window"] / facts["sample_rate"]
    return (
        f"    samplecnn tag {facts['name']} FILE\n\n"
        f"{facts['bytes'] / 1e6:.2f} MB, {facts['parameters']:,} weights, stored in float16; windows of "
        f"{seconds:.3g} s at {facts['sample_rate']:,} Hz."
    )


def _classes(facts: dict[str, Any]) -> str:
    counts = facts["counts"]
    splits = list(next(iter(counts.values())))
    rows = [(_code(name), *(f"{by_split.get(split, 0):,}" for split in splits)) for name, by_split in counts.items()]
    totals = (f"{sum(by_split.get(split, 0) for by_split in counts.values()):,}" for split in splits)
    rows.append(("all", *totals))
    return f"## Classes\n\nClips of each of the {len(counts)} classes.\n\n" + markdown_table(
        ("class", *splits), rows, "l" + "r" * len(splits)
    )


def _scores(facts: dict[str, Any]) -> str:
    rows = [
        (row["name"], f"{100 * row['value']:.2f} %", _interval(row), f"{row['clips']:,}") for row in facts["scores"]
    ]
    note = f"\n\n{facts['scores_about']}" if facts.get("scores_about") else ""
    return "## Scores\n\n" + markdown_table(("measure", "value", "95 % interval", "clips"), rows, "lrrr") + note


def per_class_table(per_class: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            _code(row["name"]),
            f"{row['support']:,}",
            *(_share(row[key]) for key in ("precision", "recall", "f1", "roc_auc")),
        )
        for row in per_class
    ]
    return "## Every class\n\n" + markdown_table(
        ("class", "clips", "precision", "recall", "F1", "ROC-AUC"), rows, "lrrrrr"
    )


def _confusion(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    rows = [
        (_code(name), *(str(count) if count else "" for count in row))
        for name, row in zip(classes, counts, strict=True)
    ]
    return "## Confusion\n\nRows: the clip's class; columns: the most probable class.\n\n" + markdown_table(
        ("", *map(_code, classes)), rows, "l" + "r" * len(classes)
    )


def _false_alarms(rows: Sequence[dict[str, Any]]) -> str:
    cells = []
    for row in rows:
        rate, low, high = poisson_rate(row["events"], row["hours"])
        interval = f"{low:.1f} to {high:.1f}"
        cells.append((row["what"], f"{row['threshold']:g}", f"{row['hours'] * 60:.1f} min", f"{rate:.1f}", interval))
    return "## False alarms\n\n" + markdown_table(
        ("on", "threshold", "heard", "false alarms an hour", "95 % interval"), cells, "lrrrr"
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    marks = {"l": ":--", "r": "--:"}
    rule = [marks[side] for side in (align or "l" * len(header))]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (header, rule, *rows))


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


def _row(values: dict[str, Any], names: str) -> list[str]:
    return [str(values[name]) for name in names.split()]


def _code(name: str) -> str:
    """A class name, which may begin and end with underscores, as plain text in Markdown."""
    return f"`{name}`" if "_" in name else name


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(row: dict[str, Any]) -> str:
    return "" if row.get("low") is None else f"{100 * row['low']:.2f} to {100 * row['high']:.2f}"


def _decibels(snr: float | None) -> str:
    return "no noise" if snr is None else f"{snr:g} dB"
