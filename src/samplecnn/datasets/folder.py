"""A folder of recordings as a data set: its sub-folders are classes, or labels are in files or names of files in it."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import CustomOptions, custom_table
from samplecnn.datasets.file_names import Pattern, rows_from_names
from samplecnn.datasets.folder_layout import EXPECTED, layout_of
from samplecnn.datasets.inner_manifests import inner_manifests, rows_of
from samplecnn.datasets.label_files import read_lines
from samplecnn.datasets.label_tables import rows_next_to, tables_next_to
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.datasets.rows import Row, table_of_rows
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.recordings import Scan
from samplecnn.task import Task

TEXT = ".txt"
LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


class Contents:
    """What is in a folder, found out when it is asked for.

    Attributes:
        recordings: at any depth, relative with forward slashes.
        folders: at the first two levels, relative.
        texts: files that may hold labels, relative.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _found(self) -> tuple[list[str], list[str], list[str], Scan]:
        return _search(self.root)

    recordings = property(lambda self: self._found[0])
    folders = property(lambda self: self._found[1])
    texts = property(lambda self: self._found[2])

    def notes(self, used: int = 0) -> list[str]:
        """What is left out, with `used` of the texts in use."""
        scan = self._found[3]
        others = scan.others - Counter({TEXT: used})
        return replace(scan, others=others).notes()


Labelled = tuple[Iterable[Row], list[str]]  # rows, and notes on what is left out


def _from_names(contents: Contents, options: CustomOptions) -> Labelled | None:
    """With a pattern of file names."""
    if options.label_from is None:
        return None
    pattern = Pattern(options.label_from)
    rows, notes = rows_from_names(contents.root, contents.recordings, pattern, options.label_separator)
    return rows, [*contents.notes(), *notes]


def _from_manifests(contents: Contents, options: CustomOptions) -> Labelled | None:
    """With a manifest in the folder, under one of the names that data sets have for it."""
    manifests = inner_manifests(contents.root)
    return (rows_of(contents.root, manifests, options.columns()), []) if manifests else None


def _from_tables(contents: Contents, options: CustomOptions) -> Labelled | None:
    """With tables of labels next to the recordings."""
    tables = tables_next_to(contents.root, contents.recordings, contents.texts) if contents.texts else None
    if tables is None:
        return None
    rows, notes = rows_next_to(contents.root, contents.recordings, tables, options.columns())
    nested = sum("/" in text for texts in tables.values() for text in texts)  # those at the top are not counted
    return rows, [*contents.notes(nested), *notes]


# Where labels may be found, in the order in which it is tried; else the sub-folders are classes.
LAYOUTS: tuple[Callable[[Contents, CustomOptions], Labelled | None], ...] = (_from_names, _from_manifests, _from_tables)


class Folder:
    """Recordings with labels from one of `LAYOUTS`; else `folder`/CLASS/…/recording, at any depth below the class.

    Hidden files and folders are ignored; folders that begin with an underscore (`_background_noise_`) are left out with
    a note. The split is decided by validation_list.txt and testing_list.txt in the folder (one CLASS/…/recording per
    line), or by folders named train, val and test with the class folders in them (`folder_layout`); else it is drawn.
    """

    clips_per_shard = 300
    published: Published | None = None

    def __init__(self, name: str, folder: Path, options: CustomOptions | None = None) -> None:
        self.name, self.folder, self.options = name, folder, options or CustomOptions()

    def task(self) -> Task:
        return self.table(self.folder).task

    def table(self, raw: Path) -> Table:
        """All recordings by class, then by path; a clip's id is its path relative to the folder, with forward slashes.

        Raises:
            UsageError: fewer than two classes with recordings, or folders or lists that contradict each other.
        """
        contents = Contents(raw)
        for labels_of in LAYOUTS:
            labelled = labels_of(contents, self.options)
            if labelled is not None:
                return table_of_rows(raw, raw, self.name, labelled[0], self.options, labelled[1])
        unfitting = self.options.given(CustomOptions.OF_TABLES)
        if unfitting:
            raise UsageError(f"{raw}: {unfitting} is an option for tables of labels, not for folders of classes")
        layout = layout_of(str(raw), contents.recordings, contents.folders)
        classes = list(layout.recordings)
        if not classes:
            raise UsageError(f"{raw}: no recordings found; {EXPECTED}")
        if len(classes) == 1:
            raise UsageError(f"{raw}: only one class, {classes[0]!r}, has recordings; two or more are needed")
        encoder = LabelEncoder(classes)
        ids = [path for paths in layout.recordings.values() for path in paths]
        labels = [encoder.encode([name]) for name, paths in layout.recordings.items() for _ in paths]
        notes: list[str] = []
        if layout.splits:
            given = [layout.splits[path] for path in ids]
        else:
            given, notes = listed_splits(raw, ids)
        return custom_table(
            self.options.task(self.name, classes, "multiclass"),
            ids,
            [raw / path for path in ids],
            labels,
            given,
            self.options.seed,
            notes=[*layout.notes, *contents.notes(), *notes],
        )


def _search(root: Path) -> tuple[list[str], list[str], list[str], Scan]:
    """Recordings, folders at the first two levels, and text files, relative with forward slashes; what was found."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; {EXPECTED}")
    scan = Scan(skip_underscore=True, collect=frozenset({TEXT}))
    recordings, folders, links = scan.folder(root)
    scan.others.clear()  # label lists, licences and the like are expected next to the class folders
    tops = sorted(folders + links)
    paths = [name for name in recordings if _is_text(name)]
    undecodable = 0
    for top in tops:
        if not _is_text(top):
            raise UsageError(f"{root}: the name of folder {top!a} is not valid text; rename it")
        folder = str(root / top)
        for found in scan.recordings(folder):
            path = top + found[len(folder) :].replace(os.sep, "/")
            if _is_text(path):
                paths.append(path)
            else:
                undecodable += 1
    inner = [f"{top}/{name}" for top in tops if is_split_name(top) for name in _sub_folders(root / top)]
    scan.undecodable = undecodable
    texts = [os.path.relpath(path, root).replace(os.sep, "/") for path in scan.collected if _is_text(path)]
    return paths, [*tops, *inner], texts, scan


def _sub_folders(folder: Path) -> list[str]:
    _, folders, links = Scan(skip_underscore=True).folder(folder)
    return [name for name in folders + links if _is_text(name)]


def _is_text(name: str) -> bool:
    """False for bytes that are not UTF-8, which Python represents by lone surrogates and no table can hold."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed_splits(raw: Path, ids: list[str]) -> tuple[list[str], list[str]]:
    """Splits by the lists, "" for all clips where there are none, and notes on entries that match no recording."""
    present = {split: raw / name for split, name in LISTS.items() if (raw / name).is_file()}
    if not present:
        return [""] * len(ids), []
    known = set(ids)
    split_of: dict[str, str] = {}
    notes = []
    for split, path in present.items():
        missing = total = 0
        for line, entry in read_lines(path, EXPECTED):
            entry = entry.replace("\\", "/").removeprefix("./")
            total += 1
            if entry not in known:
                missing += 1
            elif split_of.setdefault(entry, split) != split:
                raise UsageError(f"{path}, line {line}: {entry} is in both lists; remove it from one")
        if missing == total > 0:
            raise UsageError(
                f"{path}: none of its {total:,} entries is a recording in {raw}; "
                "expected one CLASS/FILE per line, or no such list"
            )
        if missing:
            notes.append(f"{missing:,} of {total:,} recordings named in {path.name} are missing")
    return [split_of.get(name, "train") for name in ids], notes
