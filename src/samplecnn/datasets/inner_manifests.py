"""Manifests inside a folder that is given as a data set: Hugging Face's metadata files, the tables of ESC-50 and
UrbanSound8K, and NeMo's manifests for each split."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from samplecnn.datasets.columns import Columns
from samplecnn.datasets.manifest_reader import header_of, read_manifest
from samplecnn.datasets.rows import Row
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError

TABLES = ("meta/esc50.csv", "esc50.csv", "metadata/UrbanSound8K.csv", "UrbanSound8K.csv")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # with a column file_name
NEMO = ("_manifest.json", "_manifest.jsonl")  # behind the name of a split


def inner_manifests(root: Path) -> list[tuple[str, Path]]:
    """The manifests of a folder with the split that each is for, "" where it is for all; none where there are none."""
    try:
        names = {path.name for path in root.iterdir()}
    except OSError:
        return []
    tables = [root / name for name in TABLES if name.partition("/")[0] in names and (root / name).is_file()]
    whole = tables or _metadata(root, names)
    if whole:
        return [("", whole[0])]
    found = []
    for name in sorted(names):
        ending = next((ending for ending in NEMO if name.lower().endswith(ending)), "")
        if ending and is_split_name(name[: -len(ending)]):
            found.append((name[: -len(ending)], root / name))
        elif is_split_name(name) and (metadata := _metadata(root / name, METADATA)):
            found.append((name, metadata[0]))
    return found


def _metadata(folder: Path, names: Iterable[str]) -> list[Path]:
    """The metadata files of a folder; a file of this name without names of recordings in it is something else."""
    paths = [folder / name for name in METADATA if name in names]
    return [path for path in paths if path.is_file() and "file_name" in header_of(path)]


def rows_of(root: Path, manifests: list[tuple[str, Path]], columns: Columns) -> Iterator[Row]:
    """The rows of all, with paths relative to the folder. Raises UsageError as `read_manifest`, and for two splits."""
    for split, path in manifests:
        inner = os.path.relpath(path, root)
        folder = os.path.dirname(inner)  # noqa: PTH120
        for row in read_manifest(path, columns):
            if split and row.split:
                raise UsageError(f"{path}, {row.place}: a split, but the file is for {split}; remove the column")
            name = row.path if os.path.isabs(row.path) else os.path.normpath(os.path.join(folder, row.path))  # noqa: PTH117, PTH118
            yield row._replace(place=f"{inner} {row.place}", path=name.replace(os.sep, "/"), split=split or row.split)
