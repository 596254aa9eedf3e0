"""Writes the tables of docs/scale.md from measured rates.

    python benchmarks/scale.py            # rewrites the page's tables
    python benchmarks/scale.py --check    # exit code 1 if they are out of date

Rates come from train.json, infer.json, load.json and build.json in this folder, and sizes from the networks themselves.
"""

import json
import re
import sys
from pathlib import Path

from samplecnn.models import ModelConfig, SampleCNN

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "scale.md"
WINDOW, RATE, CLASSES = 59049, 22050, 50
HOUR_SEGMENTS = 3600 * RATE / WINDOW
MTT_SEGMENTS, ALL_SEGMENTS, EPOCHS, BATCH = 152_500, 211_110, 60, 23  # 60 epochs are an assumption
STORED = 2 * WINDOW + CLASSES + 64  # bytes of a segment in a shard
COMPRESSED = 128_000 / 8  # bytes of a second of mp3
LINK = 1.25e9  # bytes a second of a network of 10 Gbit/s
LATENCY = 5e-5  # seconds of a small exchange between machines in one room


def rate(file: str, name: str) -> float:
    """The median rate of a contender."""
    result = json.loads((HERE / file).read_text())
    return float(next(row["median"] for row in result["contenders"] if row["name"] == name))


def best(file: str, start: str = "samplecnn") -> tuple[str, float]:
    """Our fastest contender: its name and its median rate."""
    rows = [row for row in json.loads((HERE / file).read_text())["contenders"] if row["name"].startswith(start)]
    row = max(rows, key=lambda row: row["median"])
    return row["name"], float(row["median"])


def amount(value: float, unit: str = "") -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor and unit == "B":
            return f"{value / factor:,.1f} {prefix}B"
    return f"{value:,.0f}{unit and ' ' + unit}"


def table(rows: list[list[str]]) -> str:
    lines = [" | ".join(row) for row in rows]
    lines.insert(1, " | ".join(["---", *("---:" for _ in rows[0][1:])]))
    return "\n".join(f"| {line} |" for line in lines)


def tagging() -> str:
    name, speed = best("infer.json")
    decode = rate("build.json", "soundfile and soxr alone") * 29  # seconds of sound a second, on one core
    segments = 1e6 * HOUR_SEGMENTS
    days, decoding = segments / speed / 86400, 1e6 * 3600 / decode / 2 / 86400
    scores = segments * CLASSES * 4
    return table(
        [
            ["1 million hours", ""],
            ["segments of 2.7 s", amount(segments)],
            [f"days of one such machine at {speed:,.0f} segments/s ({name})", f"{days:,.0f}"],
            ["days of its two cores for decoding and resampling", f"{decoding:,.0f}"],
            ["machines for a week", f"{(days + decoding) / 7:,.0f}"],
            [
                "days of one disk or network of 1 GB/s for the hashes of an index",
                f"{1e6 * 3600 * COMPRESSED / 1e9 / 86400:.1f}",
            ],
            ["read, mp3 at 128 kbit/s", amount(1e6 * 3600 * COMPRESSED, "B")],
            ["read by one machine, a second", amount(speed * WINDOW / RATE * COMPRESSED, "B")],
            ["scores of every segment, float32", amount(scores, "B")],
            ["scores of every recording of 4 minutes", amount(1e6 * 15 * CLASSES * 4, "B")],
            ["results a second at the machine that writes, for a week", amount(1e6 * 15 / 7 / 86400)],
        ]
    )


def norms_and_weights(block: str) -> tuple[int, int, int]:
    """Batch norms, the values of one exchange of all of them, and weights."""
    model = SampleCNN(ModelConfig(block, num_blocks=9, num_classes=CLASSES))
    norms = [value.numel() for name, value in model.named_buffers() if name.endswith("running_mean")]
    return len(norms), sum(norms), model.num_trainable()


def training() -> str:
    name, speed = best("train.json")
    _, reads = best("load.json", "samplecnn, Arrow")
    norms, values, weights = norms_and_weights("se")
    sent = 4 * weights + 2 * 2 * 8 * values
    rows = [["", "MTT", "100 x MTT"]]

    def row(label: str, one: float, unit: str = "", digits: int = 0) -> None:
        shown = [amount(each, unit) if unit == "B" else f"{each:,.{digits}f}" for each in (one, 100 * one)]
        rows.append([label, *shown])

    row("segments of an epoch", MTT_SEGMENTS)
    row("shards", ALL_SEGMENTS * STORED, "B")
    row(
        f"hours of an epoch on one such machine at {speed:,.0f} segments/s ({name})", MTT_SEGMENTS / speed / 3600, "", 1
    )
    row(f"days of {EPOCHS} epochs", MTT_SEGMENTS * EPOCHS / speed / 86400, "", 1)
    rows.append(["bytes that one machine reads, a second", *[amount(speed * STORED, "B")] * 2])
    rows.append(["reading them from a local disk, share of a step", *[f"{speed / reads:.1%}"] * 2])
    rows.append(
        [f"exchanges of a step: {norms} batch norms forward and backward, gradients", *[str(2 * norms + 1)] * 2]
    )
    rows.append(["bytes of them, for each process", *[amount(sent, "B")] * 2])
    for count in (2, 8, 64):
        batch = BATCH * count
        step = BATCH / speed
        exchange = 2 * sent / LINK + (2 * norms + 1) * 2 * LATENCY * max(count - 1, 1).bit_length()
        label = f"efficiency of {count} machines at {BATCH} segments each (batch {batch}), 10 Gbit/s, computed"
        rows.append([label, *[f"{step / (step + exchange):.0%}"] * 2])
    return table(rows)


TABLES = {"tagging": tagging, "training": training}


def with_tables(text: str) -> str:
    """The page with its tables made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- scale: {name} -->\n).*?(<!-- /scale -->)", re.DOTALL)
        text = pattern.sub(rf"\g<1>{make()}\n\g<2>", text)
    return text


def main() -> None:
    page = PAGE.read_text()
    new = with_tables(page)
    if "--check" in sys.argv:
        sys.exit(f"{PAGE}: out of date; run python benchmarks/scale.py" if new != page else 0)
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
