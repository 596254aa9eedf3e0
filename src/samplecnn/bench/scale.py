"""Scaling of time and memory with the amount of work, and the fitted exponent."""

import contextlib
import math
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from samplecnn.bench.rounds import machine
from samplecnn.system.progress import Progress


class Peak:
    """The peak memory of this process and its child processes together while a block ran, in bytes.

    with Peak() as peak: ...; peak.bytes

    The sum of the processes' high-water marks, which the kernel keeps and which are read every 20 ms; pages of mapped
    files that have been read are included. Zero without /proc.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()

    def __enter__(self) -> "Peak":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark, see proc(5)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._look()

    def _look(self) -> None:
        children = {
            process for listing in Path("/proc/self/task").glob("*/children") for process in _text(listing).split()
        }
        self.bytes = max(self.bytes, sum(_high_water(process) for process in ("self", *children)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def _high_water(process: str) -> int:
    lines = _text(Path("/proc") / process / "status").splitlines()
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


def measure_scale(runs: Mapping[int, Callable[[], object]], rounds: int, title: str) -> list[dict[str, Any]]:
    """Measures the same work at several sizes.

    Args:
        runs: for each amount of work, in units, a function that does it once.
        rounds: rounds of timing, all sizes in turn, after one run of each size, smallest first, for warm-up and peak
            memory.
        title: title of the progress bar.

    Returns:
        For each size, smallest first: {"work", "seconds" of every round, "peak_rss" in bytes}.
    """
    points: list[dict[str, Any]] = []
    with Progress((rounds + 1) * len(runs), title, "runs") as bar:
        for work in sorted(runs):
            with Peak() as peak:
                runs[work]()
            points.append({"work": work, "seconds": [], "peak_rss": peak.bytes})
            bar.advance()
        for _ in range(rounds):
            for point in points:
                began = time.perf_counter()
                runs[point["work"]]()
                point["seconds"].append(time.perf_counter() - began)
                bar.advance(note=f"{point['work']:,} in {point['seconds'][-1]:.2f} s")
    return points


def scale_result(
    bench: str, unit: str, points: list[dict[str, Any]], settings: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The result for JSON."""
    return {"bench": bench, "unit": unit, "points": points, **more, "machine": machine(), "settings": settings}


def exponent(points: list[dict[str, Any]]) -> float:
    """The slope of log seconds over log work, by least squares through the medians: 1 is proportional."""
    x = [math.log(point["work"]) for point in points]
    y = [math.log(statistics.median(point["seconds"])) for point in points]
    return statistics.linear_regression(x, y).slope if len(points) > 1 else math.nan


def print_scale(result: dict[str, Any]) -> None:
    """Prints work, median seconds and their spread, rate and peak memory, then the exponent."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in (result["unit"], "seconds", "lowest", "highest", f"{result['unit']}/s", "peak MB"):
        table.add_column(name, justify="right")
    for point in result["points"]:
        seconds = point["seconds"]
        middle = statistics.median(seconds)
        cells = (f"{point['work']:,}", f"{middle:.3g}", f"{min(seconds):.3g}", f"{max(seconds):.3g}")
        memory = f"{point['peak_rss'] / 1e6:,.0f}" if point["peak_rss"] else "unknown"
        table.add_row(*cells, f"{point['work'] / middle:,.4g}", memory)
    console = Console(width=110, highlight=False)
    console.print(table)
    console.print(f"seconds grow as work to the power of {exponent(result['points']):.2f} (1 is proportional)")
    for note in result.get("notes", ()):
        console.print(note)
    console.print(f"{result['machine']['cpu']}, {result['machine']['cores']} threads")


def draw_scale(result: dict[str, Any], path: str | Path) -> None:
    """Plots seconds and peak memory over work on logarithmic axes, with proportional growth as a dashed line."""
    from matplotlib.ticker import FixedLocator, NullLocator

    from samplecnn.system.plotting import LIGHT, new_figure, save_figure, tidy

    points = result["points"]
    works = [point["work"] for point in points]
    medians = [statistics.median(point["seconds"]) for point in points]
    memory = [point["peak_rss"] / 1e6 for point in points if point["peak_rss"]]
    known = len(memory) == len(points)
    figure = new_figure(4, 9 if known else 5)
    panels = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    left = panels[0]
    for point in points:
        left.plot([point["work"]] * len(point["seconds"]), point["seconds"], ".", color=LIGHT.ink, markersize=4)
    left.plot(works, medians, "o-", color=LIGHT.blue, label=f"median, power {exponent(points):.2f}")
    if known:
        panels[1].plot(works, memory, "o-", color=LIGHT.orange, label="peak")
    firsts = [(medians[0], "seconds"), *((value, "memory, MB") for value in memory[:1])]
    for axes, (first, what) in zip(panels, firsts, strict=False):
        axes.plot(works, [first * work / works[0] for work in works], "--", color=LIGHT.muted, label="proportional")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(FixedLocator(works))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(works, [f"{work:,}" for work in works])
        axes.yaxis.set_major_formatter("{x:,.6g}")
        axes.yaxis.set_minor_formatter("{x:,.6g}")
        axes.set_xlabel(result["unit"])
        axes.set_ylabel(what)
        axes.legend(fontsize="small")
        tidy(axes, "both")
    about = result["machine"]
    figure.suptitle(
        f"samplecnn bench {result['bench']} --scale: {about['cpu']}, {about['cores']} threads", fontsize="medium"
    )
    save_figure(figure, path)
