"""What events and embeddings cost on top of `samplecnn tag` over a folder: at most 5 % is the aim.

    python benchmarks/tag_outputs.py MODEL FOLDER [--rounds 7] [--engine auto]

The variants run in one process, in each round in an order that is drawn anew, after a round that is not counted. CPU
seconds of this process and wall time are measured; the figures are quartiles over rounds of the ratio to the plain
variant of the same round. Run it on a machine that does nothing else.
"""

import argparse
import contextlib
import io
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from samplecnn.tagging.events import EventRules
from samplecnn.tagging.tag_files import tag_paths
from samplecnn.tagging.writers import Selection

VARIANTS = ("plain", "events", "embeddings", "both")


def run(model: str, folder: str, variant: str, engine: str) -> tuple[float, float]:
    """CPU and wall seconds of tagging a folder into JSON lines."""
    events = EventRules(smooth=3, max_gap=0.5) if variant in ("events", "both") else None
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stderr(io.StringIO()):
        embeddings = Path(out) / "e.parquet" if variant in ("embeddings", "both") else None
        cpu, wall = time.process_time(), time.perf_counter()
        tag_paths(
            model,
            [folder],
            "jsonl",
            Path(out) / "tags.jsonl",
            Selection(events=events),
            engine=engine,
            embeddings=embeddings,
        )
        return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model")
    options.add_argument("folder")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--engine", default="auto")
    given = options.parse_args()
    for variant in VARIANTS:
        run(given.model, given.folder, variant, given.engine)
    ratios: dict[str, list[tuple[float, float]]] = {variant: [] for variant in VARIANTS[1:]}
    plain: list[tuple[float, float]] = []
    for number in range(given.rounds):
        order = list(VARIANTS)
        random.Random(number).shuffle(order)
        times = {variant: run(given.model, given.folder, variant, given.engine) for variant in order}
        plain.append(times["plain"])
        for variant, found in ratios.items():
            found.append((times[variant][0] / times["plain"][0], times[variant][1] / times["plain"][1]))
    result = {"rounds": given.rounds, "plain_cpu_seconds": statistics.median(cpu for cpu, _ in plain)}
    for variant, found in ratios.items():
        for index, name in enumerate(("cpu", "wall")):
            low, middle, high = statistics.quantiles([each[index] for each in found], n=4)
            result[f"{variant}_{name}"] = [round(value, 4) for value in (low, middle, high)]
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
