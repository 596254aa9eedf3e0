"""Prints a benchmark result as a table, and plots it."""

import statistics
from pathlib import Path
from typing import Any

# The hardware reference, measured in the same run.
LIMITS = {
    "train": "PyTorch's matmul",  # no upper bound: kernels that other load slows down less exceed it
    "infer": "PyTorch's matmul",
    "build": "decoding alone",
    "load": "memory copy",
}
# The contender that the others are compared with, if the result does not name one.
BASELINES = {"train": "plain PyTorch, fp32", "infer": "plain PyTorch, fp32", "load": "tf.data, as the original"}


def print_table(result: dict[str, Any]) -> None:
    """Prints medians and their spread, ratios to the baseline and to the fastest peer, and shares of the reference.

    Then `notes`, `left_out`, `best_batches` and `epochs`, if present.
    """
    from rich.console import Console
    from rich.table import Table

    limit = result["limit"]
    base, peer = baseline(result), fastest_peer(result)
    compared = {"x baseline": base, "x best peer": peer} if base is not peer else {"x peer": peer}
    # A contender that is the reference itself already has that column.
    ratios = {head: row for head, row in compared.items() if row is not None and row["median"] != limit["rate"]}
    table = Table(box=None, pad_edge=False)
    for name, justify in (("", "left"), (result["unit"], "right"), ("lowest", "right"), ("highest", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for head in ratios:
        table.add_column(head, justify="right")
    table.add_column(f"of {limit_name(result)}", justify="right")
    for row in result["contenders"]:
        cells = [row["name"], *(_figure(rate) for rate in (row["median"], min(row["rates"]), max(row["rates"])))]
        ratio = [f"{paired_ratio(row, other):.2f}" for other in ratios.values()]
        table.add_row(*cells, *ratio, f"{row['median'] / limit['rate']:.0%}")
    console = Console(width=110, highlight=False)
    console.print(table)
    for head, row in ratios.items():
        console.print(f"{head}: {row['name']}; the median of the rounds' ratios")
    console.print(f"{limit_name(result)}: {_figure(limit['rate'])} {result['unit']}, {limit['what']}")
    for line in (*result.get("notes", ()), *(f"skipped: {line}" for line in result.get("left_out", ()))):
        console.print(line)
    for row in result.get("best_batches", ()):
        memory = f", {row['peak_memory'] / 1e9:.1f} GB" if row["peak_memory"] else ""
        console.print(
            f"best batch of {row['name']}: {row['best_batch']}, {_figure(row['median'])} {result['unit']}{memory}"
        )
    for row in result.get("epochs", ()):
        console.print(f"an epoch of {row['segments']:,} in batches of {row['batch_size']}: {row['seconds']:,.1f} s")
    about = result["machine"]
    console.print(
        f"{about['cpu']}, {about['cores']} threads; "
        + ", ".join(f"{k} {v}" for k, v in about.items() if k not in ("cpu", "cores"))
    )


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def limit_name(result: dict[str, Any]) -> str:
    """Short name of the reference."""
    return LIMITS.get(result.get("bench", ""), "the limit")


def baseline(result: dict[str, Any]) -> dict[str, Any] | None:
    """The contender named by the result, or else by BASELINES; None if it did not run."""
    wanted = result.get("baseline", BASELINES.get(result.get("bench", "")))
    return next((row for row in result["contenders"] if row["name"] == wanted), None)


def fastest_peer(result: dict[str, Any]) -> dict[str, Any] | None:
    return max((row for row in result["contenders"] if not row["ours"]), key=lambda row: row["median"], default=None)


def paired_ratio(row: dict[str, Any], peer: dict[str, Any]) -> float:
    """The median over rounds of the ratio of two rates of the same round."""
    return statistics.median(a / b for a, b in zip(row["rates"], peer["rates"], strict=True))


def draw(result: dict[str, Any], path: str | Path) -> None:
    """Draws the medians as bars, each round as a dot and the reference as a line."""
    from samplecnn.system.plotting import LIGHT, new_figure, save_figure

    rows, base = result["contenders"][::-1], baseline(result)
    figure = new_figure(1.2 + 0.45 * len(rows), 8)
    axes = figure.subplots()
    for y, row in enumerate(rows):
        axes.barh(y, row["median"], color=LIGHT.blue if row["ours"] else LIGHT.rule)
        axes.plot(row["rates"], [y] * len(row["rates"]), ".", color=LIGHT.ink, markersize=4)
        times = f" ({paired_ratio(row, base):.2f} x)" if base is not None and base is not row else ""
        axes.text(max(row["rates"]), y, f"  {_figure(row['median'])}{times}", va="center")
    limit = result["limit"]
    axes.axvline(limit["rate"], color=LIGHT.orange, linestyle="--", label=f"{limit_name(result)}: {limit['what']}")
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    highest = max(limit["rate"], *(max(row["rates"]) for row in rows))
    axes.set_xlim(0, 1.25 * highest)  # space for the numbers
    axes.set_xlabel(result["unit"] + (f" (x: times {base['name']})" if base is not None else ""))
    figure.legend(loc="outside lower right", fontsize="small")
    about = result["machine"]
    axes.set_title(f"samplecnn bench {result['bench']}: {about['cpu']}, {about['cores']} threads", fontsize="medium")
    save_figure(figure, path)
