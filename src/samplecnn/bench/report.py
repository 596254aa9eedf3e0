"""A measurement as a table, and as a picture."""

import statistics
from pathlib import Path
from typing import Any

from samplecnn.files import written_aside


def print_table(result: dict[str, Any]) -> None:
    """Medians, their spread, the ratio to the fastest peer, and the share of the hardware's limit."""
    from rich.console import Console
    from rich.table import Table

    limit = result["limit"]
    peer = fastest_peer(result)
    table = Table(box=None, pad_edge=False)
    for name, justify in (("", "left"), (result["unit"], "right"), ("lowest", "right"), ("highest", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    if peer:
        table.add_column(f"x {peer['name']}", justify="right")
    table.add_column("of the limit", justify="right")
    for row in result["contenders"]:
        cells = [row["name"], *(_figure(rate) for rate in (row["median"], min(row["rates"]), max(row["rates"])))]
        ratio = [f"{paired_ratio(row, peer):.2f}"] if peer else []
        table.add_row(*cells, *ratio, f"{row['median'] / limit['rate']:.0%}")
    console = Console(width=110, highlight=False)
    console.print(table)
    console.print(f"limit: {_figure(limit['rate'])} {result['unit']}, {limit['what']}")
    about = result["machine"]
    console.print(
        f"{about['cpu']}, {about['cores']} threads; "
        + ", ".join(f"{k} {v}" for k, v in about.items() if k not in ("cpu", "cores"))
    )


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def fastest_peer(result: dict[str, Any]) -> dict[str, Any] | None:
    return max((row for row in result["contenders"] if not row["ours"]), key=lambda row: row["median"], default=None)


def paired_ratio(row: dict[str, Any], peer: dict[str, Any]) -> float:
    """The median over rounds of one rate by the other's of the same round."""
    return statistics.median(a / b for a, b in zip(row["rates"], peer["rates"], strict=True))


def draw(result: dict[str, Any], path: str | Path) -> None:
    """Bars of the medians with every round as a dot, and the limit as a line."""
    from matplotlib.figure import Figure

    rows = result["contenders"][::-1]
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.barh(place, row["median"], color="tab:blue" if row["ours"] else "tab:gray", alpha=0.75)
        axes.plot(row["rates"], [place] * len(row["rates"]), ".", color="black", markersize=4)
        axes.text(max(row["rates"]), place, f"  {_figure(row['median'])}", va="center")
    axes.axvline(result["limit"]["rate"], color="tab:red", linestyle="--", label=f"limit: {result['limit']['what']}")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_xlabel(result["unit"])
    axes.legend(loc="lower right", fontsize="small")
    about = result["machine"]
    axes.set_title(f"samplecnn bench {result['bench']}: {about['cpu']}, {about['cores']} threads", fontsize="medium")
    with written_aside(path) as aside:
        figure.savefig(aside, format=Path(path).suffix.lstrip(".") or "png", dpi=120)
