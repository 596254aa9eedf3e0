"""A small good label file of every format: each function makes one in an empty folder, and returns it."""

import json
from pathlib import Path
from typing import Any


def make_manifest(folder: Path) -> Path:
    rows = ["path,labels,split,group", "a.wav,\"['x', 'y']\",train,ann", "b/c.wav,x|y,val,bob", "d.flac,y,test,"]
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


def make_parts(folder: Path) -> Path:
    rows = ["filename\tonset\toffset\tevent_label", "a.wav\t0.5\t2.25\tx", "a.wav\t3\t4\ty", "b.wav\t0\t1,5\tx"]
    (folder / "m.tsv").write_text("\n".join(rows) + "\n")
    return folder / "m.tsv"


def make_json_lines(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"audio_filepath": "a.wav", "split": "train", "offset": 0.5, "duration": 1.25, "command": "x"},
        {"audio_filepath": "b.wav", "split": "test", "command": ["x", "y"]},
        {"audio_filepath": "c.wav", "split": "val", "command": "y", "speaker": "ann"},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder / "m.jsonl"


def make_raven(folder: Path) -> Path:
    header = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tTag"
    rows = [header, "1\tSpectrogram 1\t0.5\t2.25\ta.wav\t0.5\tx", "2\tSpectrogram 1\t63\t64\tb.wav\t3\ty"]
    (folder / "m.selections.txt").write_text("\n".join(rows) + "\n")
    return folder / "m.selections.txt"


def make_audacity(folder: Path) -> Path:
    (folder / "a.wav").touch()
    (folder / "a.txt").write_text("0.500000\t2.250000\tx\n\\\t100.0\t4000.0\n3.000000\t4.000000\ty\n")
    return folder / "a.txt"


def make_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    columns = {
        "path": ["a.wav", "b.wav", "c.wav"],
        "labels": [["x", "y"], ["x"], []],
        "split": ["train", "val", "test"],
    }
    parquet.write_table(pyarrow.table(columns), folder / "m.parquet")
    return folder / "m.parquet"
