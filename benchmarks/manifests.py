"""Data sets of the benchmarks: a manifest of chosen clips, and words of a second that are built from one."""

import csv
from collections.abc import Iterable
from pathlib import Path

import samplecnn


def write_manifest(path: Path, rows: Iterable[tuple[Path, str, str]], third: str = "split") -> Path:
    """Writes the path, label and split (or another column) of every clip, and returns the manifest's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", third))
        writer.writerows((clip.resolve(), label, value) for clip, label, value in rows)
    return path


def build_seconds(manifest: Path, data_dir: Path) -> None:
    """Builds a manifest at 16 kHz in windows of a second, as the packaged model `words` takes them."""
    samplecnn.build(str(manifest), data_dir, sample_rate=16000, window=16000, padding="zero", workers=1, progress=False)
