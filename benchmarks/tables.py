"""Writes the tables of the documentation from the measurements in this folder.

    python benchmarks/tables.py            # rewrites the Markdown files
    python benchmarks/tables.py --check    # exit code 1 and the names of the files that are out of date

A table stands between two comments in Markdown:

    <!-- table: train.json -->
    <!-- /table -->

A comparison becomes a row per contender, the fastest first: the median, its ratio to the baseline (the median of the
rounds' ratios) and its share of the reference. `<!-- table: infer.json | NAME -->` adds the ratio to contender NAME. A
measurement with --scale becomes a row per amount of work, one of start-up times a row per command, one of accuracy a
row per trained model, one of small sets a row per set, one of recipes a row per change, one of steps on a GPU a row per
way to take them, one of the index a row per figure, one of memory a row per command, one of wheels a row per group of
extras. Of transfer.json, `<!-- table: transfer.json | DATA -->` is a row per method and a column per number of
recordings.
"""

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

from samplecnn.bench.results import baseline, limit_name, paired_ratio
from samplecnn.bench.scale import exponent
from samplecnn.comparison.table import MEASURES

LISTENING_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HERE = Path(__file__).resolve().parent
TABLE = re.compile(r"(<!-- table: (?P<file>[\w.-]+)(?: \| (?P<against>.+?))? -->\n).*?(<!-- /table -->)", re.DOTALL)


def table(result: dict[str, Any], against: str | None = None) -> str:
    """The Markdown of one measurement, with a line that says what it was measured on."""
    if result.get("bench") == "accuracy":
        return _accuracy(result)
    if result.get("bench") == "listen":
        return _listening(result)
    if result.get("bench") == "arm64":
        return _wheels(result)
    if "gpu_steps" in result:
        return _gpu_steps(result)
    if "transfer" in result:
        rows = _transfer_rows([row for row in result["transfer"] if row["data"] == against])
    elif "small_sets" in result:
        rows = _small_rows(result["small_sets"])
    elif "ablation" in result:
        rows = _ablation_rows(result["ablation"])
    elif "figures" in result:
        rows = _figure_rows(result)
    elif "starts" in result:
        rows = _start_rows(result)
    elif "commands" in result:
        rows = _command_rows(result)
    elif "programs" in result:
        rows = _program_rows(result)
    else:
        rows = _scale_rows(result) if "points" in result else _comparison_rows(result, against)
    lines = [" | ".join(row) for row in rows]
    lines.insert(1, " | ".join(["---", *("---:" for _ in rows[0][1:])]))
    return "\n".join([*(f"| {line} |" for line in lines), "", _source(result, against), ""])


def _comparison_rows(result: dict[str, Any], against: str | None) -> list[list[str]]:
    base = baseline(result)
    compared = [base] if base is not None else []
    if against is not None:
        compared.append(next(row for row in result["contenders"] if row["name"] == against))
    reference = result["limit"]["rate"]
    rows = [["", result["unit"], *(f"× {row['name']}" for row in compared), f"of {limit_name(result)}"]]
    for row in sorted(result["contenders"], key=lambda row: row["median"], reverse=True):
        ratios = [f"{paired_ratio(row, other):.2f}" for other in compared]
        rows.append([row["name"], _figure(row["median"]), *ratios, f"{row['median'] / reference:.0%}"])
    return rows


def _scale_rows(result: dict[str, Any]) -> list[list[str]]:
    rows = [[result["unit"], "seconds", f"{result['unit']}/s", "peak memory, MB"]]
    for point in result["points"]:
        seconds = statistics.median(point["seconds"])
        memory = f"{point['peak_rss'] / 1e6:,.0f}" if point["peak_rss"] else "unknown"
        rows.append([f"{point['work']:,}", f"{seconds:.3g}", _figure(point["work"] / seconds), memory])
    return rows


def _start_rows(result: dict[str, Any]) -> list[list[str]]:
    processor = ["processor, lowest"] if all("processor" in start for start in result["starts"]) else []
    rows = [["", "seconds", "lowest", "highest", *processor]]
    for start in result["starts"]:
        taken = start["seconds"]
        figures = [statistics.median(taken), min(taken), max(taken), *([min(start["processor"])] if processor else [])]
        rows.append([start["name"], *(f"{value:.2f}" for value in figures)])
    return rows


def _accuracy(result: dict[str, Any]) -> str:
    """Test scores: a row for each trained model, and the command of each below."""
    lines = ["| data | clips: training, test | accuracy | logistic regression / random forest | minutes | runs |"]
    lines.append("|---|---:|---|---|---:|---:|")
    commands = []
    for number, row in enumerate(result["results"], 1):
        by_fold = [100 * value for value in row.get("by_fold", ())]
        low, high = (100 * value for value in row["interval"])
        score = f"{100 * row['accuracy']:.1f}{_deviation(by_fold)} % ({low:.1f} to {high:.1f})"
        baselines = " / ".join(f"{100 * value:.1f}" for value in row.get("baselines", ()))
        clips = f"{row['train_clips']:,}, {row['test_clips']:,}"
        cells = (f"{number}. {row['data']}", clips, score, baselines, str(row.get("minutes", "")), str(row["runs"]))
        lines.append(f"| {' | '.join(cells)} |")
        commands.append(f"{number}. `{row['command']}`, seed {row['seed']}")
    return "\n".join([*lines, "", f"{result['machine']}.", "", *commands, ""])


def _transfer_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Accuracies in percent by method and recordings per class; of several draws, mean ± standard deviation."""
    counts = sorted({row["count"] for row in found})
    rows = [["test accuracy, %", *(f"{count} a class" for count in counts), f"CPU seconds at {counts[-1]}"]]
    for method in dict.fromkeys(row["method"] for row in found):
        cells = []
        for count in counts:
            values = [100 * row["accuracy"] for row in found if (row["method"], row["count"]) == (method, count)]
            cells.append(f"{statistics.mean(values):.1f}{_deviation(values)}" if values else "")
        last = [row["cpu_seconds"] for row in found if (row["method"], row["count"]) == (method, counts[-1])]
        name = f"`{method}`" if method.startswith("--") else method
        rows.append([name, *cells, f"{statistics.median(last):.0f}" if last else ""])
    return rows


def _deviation(values: list[float]) -> str:
    """The standard deviation of several values, to be put behind their mean."""
    return f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""


def _small_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Scores in percent: a row for each set of data, a column for each method, mean ± deviation over its runs."""
    methods = list(dict.fromkeys(row["method"] for row in found))
    rows = [["test score, %", "training clips", *methods, "runs", "CPU minutes of a run"]]
    for data in dict.fromkeys(row["data"] for row in found):
        of_data = {row["method"]: row for row in found if row["data"] == data}
        network = of_data["samplecnn"]
        cells = []
        for method in methods:
            values = [100 * value for value in of_data[method]["values"]]
            cells.append(f"{statistics.mean(values):.1f}{_deviation(values)}")
        name, runs = f"{network['name']}, {MEASURES[network['measure']]}", str(len(network["values"]))
        rows.append([name, f"{network['clips']:,}", *cells, runs, f"{network['cpu_minutes']:.1f}"])
    return rows


def _ablation_rows(found: list[dict[str, Any]]) -> list[list[str]]:
    """Accuracies in percent by change, and the mean and deviation of the differences from no change: of runs with the
    same seed on the same CPU.
    """
    rows = [["test accuracy, %", "clean", "difference", "in noise", "difference", "runs"]]
    changes = list(dict.fromkeys(row["change"] for row in found))
    plain = {(row["seed"], row["cpu"]): row for row in found if row["change"] == changes[0]}
    for change in changes:
        of_change, cells = [row for row in found if row["change"] == change], []
        for name in ("accuracy", "in_noise"):
            values = [100 * row[name] for row in of_change]
            cells.append(f"{statistics.mean(values):.1f}{_deviation(values)}")
            differences = [100 * (row[name] - plain[row["seed"], row["cpu"]][name]) for row in of_change]
            cells.append(
                "" if change == changes[0] else f"{statistics.mean(differences):+.1f}{_deviation(differences)}"
            )
        rows.append([f"`{change}`" if change.startswith("--") else change, *cells, str(len(of_change))])
    return rows


def _listening(result: dict[str, Any]) -> str:
    """Misses and false alarms: a row for some of the thresholds."""
    noises = list(result["rows"][0]["misses"])
    lines = [f"| threshold | false alarms an hour | {' | '.join(f'missed, {name}' for name in noises)} | wrong class |"]
    lines.append(f"|---:|---|{'---:|' * (len(noises) + 1)}")
    for row in result["rows"]:
        if row["threshold"] in LISTENING_THRESHOLDS:
            alarms = f"{row['false_alarms']:.1f} ({row['false_alarms_low']:.1f} to {row['false_alarms_high']:.1f})"
            shares = [*(row["misses"][name] for name in noises), row["wrong"]["no noise"]]
            lines.append(
                f"| {row['threshold']:g} | {alarms} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |"
            )
    about = (
        f"`{result['model']}`, {result['utterances']:,} utterances, {result['hours']:.2f} hours without its classes; "
        f"hop {result['hop']:.3g} s, mean of {result['rules']['smooth']} windows, odds of background times "
        f"{result['rules'].get('background_odds', 1):g}."
    )
    return "\n".join([*lines, "", about, ""])


def _figure_rows(result: dict[str, Any]) -> list[list[str]]:
    rows = [["", "median"]]
    for figure in result["figures"]:
        value = statistics.median(figure["values"])
        rows.append([figure["name"].strip(), f"{f'{value:,.0f}' if value >= 100 else f'{value:.2g}'} {figure['unit']}"])
    return rows


def _command_rows(result: dict[str, Any]) -> list[list[str]]:
    rows = [["", "memory", "processor time"]]
    for command in result["commands"]:
        memory, seconds = statistics.median(command["megabytes"]), min(command["seconds"])
        rows.append([command["name"], f"{memory:.0f} MB", f"{seconds:.2f} s"])
    return rows


def _program_rows(result: dict[str, Any]) -> list[list[str]]:
    """Whole programs; ratios are those of the lowest values, the first row's to each."""
    first = result["programs"][0]
    rows = [["", "seconds", "processor", f"processor, {first['name']}: times this", "memory"]]
    for row in result["programs"]:
        wall, cpu, memory = min(row["wall"]), min(row["cpu"]), statistics.median(row["memory"]) / 1e6
        ratio = min(first["cpu"]) / cpu
        rows.append([row["name"], f"{wall:,.0f}", f"{cpu:,.0f} s", f"{ratio:.1f}", f"{memory:,.0f} MB"])
    return rows


def _gpu_steps(result: dict[str, Any]) -> str:
    """A row per way to take a training step: its time, that of its kernels, the rate, and the share of the hardware."""
    limit, about = result["limit"], result["machine"]
    rows = [["a step in bfloat16", "batch", "ms", "kernels, ms", "launches", "segments/s", "of the matrix product"]]
    rows.append(["---", *("---:" for _ in rows[0][1:])])
    for row in result["gpu_steps"]:
        rate = 1000 * row["batch_size"] / row["milliseconds"]
        share = rate * limit["segment_gflop"] / 1000 / limit["matmul_tflops"]
        times = f"{row['milliseconds']:.1f}", f"{row['kernels']:.1f}", str(row["launches"])
        rows.append([row["name"], str(row["batch_size"]), *times, f"{rate:,.0f}", f"{100 * share:.0f} %"])
    source = (
        f"{about['gpu']}, CUDA {about['cuda']}, PyTorch {about['torch']}; a matrix product does "
        f"{limit['matmul_tflops']:.0f} TFLOP/s, a copy {limit['copy_tbs']:.1f} TB/s; {result['about']}."
    )
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", source, ""])


def _wheels(result: dict[str, Any]) -> str:
    """A row per extra: how many packages it adds, those of them that are compiled, or why it cannot be installed."""
    systems = list(dict.fromkeys((row["system"], row["python"]) for row in result["arm64"]))
    heading = [f"{system}, Python {python}" for system, python in systems]
    rows = [["extra", *heading, "compiled packages"], ["---", *("---" for _ in heading), "---"]]
    found = {(row["system"], row["extra"]): row for row in result["arm64"]}
    for extra in dict.fromkeys(row["extra"] for row in result["arm64"]):
        cells: list[str] = []
        compiled: list[str] = []
        for system, _ in systems:
            row = found.get((system, extra), {"error": "not asked"})
            if "error" in row:
                cells.append(row["error"].replace("ERROR: ", ""))
                continue
            base = set() if extra == "" else set(found[system, ""].get("wheels", []))
            added = [name for name in row["wheels"] if name not in base]
            cells.append(f"{len(added)} wheels")
            compiled = compiled or [name.partition("-")[0] for name in added if not name.endswith("-any.whl")]
        name = "none" if extra == "" else ", ".join(f"`{each}`" for each in extra.split(","))
        rows.append([name, *cells, ", ".join(compiled) or "none"])
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), ""])


def _source(result: dict[str, Any], against: str | None) -> str:
    if "transfer" in result and against is not None:
        draws = max(row["seed"] for row in result["transfer"] if row["data"] == against) + 1
        return f"{'One draw' if draws == 1 else f'{draws} draws'} of the recordings. {result['about'][against]}."
    if "ablation" in result or "small_sets" in result:
        return f"{result['about']}."
    about, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{key} {about[key]}" for key in about if key not in ("cpu", "cores", "samplecnn", "python"))
    parts = [f"{about['cpu']}, {about['cores']} threads; {versions}"]
    if "points" in result:
        parts.append(f"seconds grow as work to the power of {exponent(result['points']):.2f}")
    elif "limit" in result:
        limit = result["limit"]
        name = limit_name(result)
        parts.append(f"{name}: {_figure(limit['rate'])} {result['unit']} ({limit['what']})")
    batch = f", batches of {settings['batch_size']}" if "batch_size" in settings else ""
    rounds = "one round" if settings["rounds"] == 1 else f"medians of {settings['rounds']} rounds"
    parts.append(f"{rounds}{batch}")
    return f"{'; '.join(parts)}."


def _figure(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def with_tables(text: str, folder: Path = HERE) -> str:
    """The text of a Markdown file with all of its tables written again."""

    def written(match: re.Match[str]) -> str:
        result = json.loads((folder / match["file"]).read_text(encoding="utf-8"))
        return f"{match[1]}\n{table(result, match['against'])}\n{match[4]}"

    return TABLE.sub(written, text)


def pages() -> list[Path]:
    root = HERE.parent
    return sorted([root / "README.md", *(root / "docs").rglob("*.md"), *HERE.glob("*.md")])


def main() -> None:
    outdated = [path for path in pages() if with_tables(text := path.read_text(encoding="utf-8")) != text]
    if "--check" in sys.argv[1:]:
        sys.exit("".join(f"{path}: its tables are out of date; run `make docs-tables`\n" for path in outdated) or 0)
    for path in outdated:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
