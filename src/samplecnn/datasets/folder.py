"""Any folder with one sub-folder per class."""

import os
from collections.abc import Iterator
from pathlib import Path

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import SPLIT_NAMES, CustomOptions, custom_table
from samplecnn.datasets.label_files import read_lines
from samplecnn.errors import UsageError
from samplecnn.recordings import Scan, listed
from samplecnn.task import Task

LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}
LAYOUT = "expected one sub-folder per class, with recordings in it"


class Folder:
    """`folder`/CLASS/…/recording, at any depth below the class.

    Hidden files and folders, and folders that begin with an underscore (`_background_noise_`), are left out. Where
    validation_list.txt or testing_list.txt lie in the folder (one CLASS/…/recording a line), they decide the split; so
    do folders named train, val and test, where there are no others and the classes lie within them.
    """

    clips_per_shard = 300
    published: Published | None = None

    def __init__(self, name: str, folder: Path, options: CustomOptions | None = None) -> None:
        self.name, self.folder, self.options = name, folder, options or CustomOptions()

    def task(self) -> Task:
        return self.table(self.folder).task

    def table(self, raw: Path) -> Table:
        """All recordings by class, then by path; a clip's id is its path below the folder, with forward slashes."""
        found = _scan(raw)
        classes = sorted(found.recordings)
        if not classes:
            raise UsageError(f"{raw}: no recordings found; {LAYOUT}")
        if len(classes) == 1:
            raise UsageError(f"{raw}: only one class, {classes[0]!r}, has recordings; two or more are needed")
        ids = [path for name in classes for path in sorted(found.recordings[name])]
        label_of = [(index,) for index in range(len(classes))]
        labels = [label_of[index] for index, name in enumerate(classes) for _ in found.recordings[name]]
        notes: list[str] = []
        if found.split_folders:
            given = [SPLIT_NAMES[path.partition("/")[0].lower()] for path in ids]
        else:
            given, notes = _official_split(raw, ids)
        return custom_table(
            self.options.task(self.name, classes, "multiclass"),
            ids,
            [raw / path for path in ids],
            labels,
            given,
            self.options.seed,
            notes=[*found.notes(), *notes],
        )


class _Found:
    """What a folder holds: ids of recordings by class, and what was left out."""

    def __init__(self) -> None:
        self.recordings: dict[str, list[str]] = {}
        self.scan = Scan(skip_underscore=True)
        self.empty: list[str] = []  # class folders without recordings
        self.split_folders = False  # classes lie within folders named train, val, test
        self.outside = 0  # recordings beside the class folders
        self.undecodable = 0  # names that are not valid Unicode

    def notes(self) -> list[str]:
        notes = []
        if self.empty:
            notes.append(f"{len(self.empty):,} folders without recordings are left out: {listed(sorted(self.empty))}")
        if self.outside:
            notes.append(f"{self.outside:,} recordings lie beside the class folders and are left out")
        if self.undecodable:
            notes.append(f"{self.undecodable:,} recordings have names that are not valid text and are left out")
        return notes + self.scan.notes()


def _scan(root: Path) -> _Found:
    found = _Found()
    folders = _class_folders(str(root), "", found)
    names = {name.lower() for name, _, _ in folders}
    if len(names) > 1 and names <= SPLIT_NAMES.keys() and "train" in {SPLIT_NAMES[name] for name in names}:
        inner = [inner for name, path, _ in folders for inner in _class_folders(path, f"{name}/", found)]
        if inner:
            folders, found.split_folders = inner, True
    for name, path, prefix in folders:
        found.recordings.setdefault(name, []).extend(_class_recordings(path, prefix, found))
    found.empty = [name for name, recordings in found.recordings.items() if not recordings]
    found.recordings = {name: recordings for name, recordings in found.recordings.items() if recordings}
    return found


def _class_folders(root: str, prefix: str, found: _Found) -> list[tuple[str, str, str]]:
    """(class name, folder, start of its recordings' ids) of every class folder in `root`."""
    if not Path(root).is_dir():
        raise UsageError(f"{root}: no such folder; {LAYOUT}")
    others = found.scan.others.copy()
    recordings, folders, links = found.scan.folder(root)
    found.scan.others = others  # label lists, licenses and the like belong there
    found.outside += len(recordings)
    names = sorted(folders + links)
    for name in names:
        if not _is_text(name):
            raise UsageError(f"{root}: the name of folder {name!a} is not valid text; rename it")
    return [(name, str(Path(root, name)), prefix + name) for name in names]


def _class_recordings(folder: str, prefix: str, found: _Found) -> Iterator[str]:
    """Ids of the recordings below a class folder."""
    for path in found.scan.recordings(folder):
        id = prefix + path[len(folder) :].replace(os.sep, "/")
        if _is_text(id):
            yield id
        else:
            found.undecodable += 1


def _is_text(name: str) -> bool:
    """False for bytes that are not UTF-8, which Python shows as lone surrogates and no table can hold."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _official_split(raw: Path, ids: list[str]) -> tuple[list[str], list[str]]:
    """Splits by the lists, "" throughout where there are none, and notes on entries that name nothing."""
    present = {split: raw / name for split, name in LISTS.items() if (raw / name).is_file()}
    if not present:
        return [""] * len(ids), []
    known = set(ids)
    split_of: dict[str, str] = {}
    notes = []
    for split, path in present.items():
        missing = total = 0
        for line, entry in read_lines(path, LAYOUT):
            entry = entry.replace("\\", "/").removeprefix("./")
            total += 1
            if entry not in known:
                missing += 1
            elif split_of.setdefault(entry, split) != split:
                raise UsageError(f"{path}, line {line}: {entry} is in both lists; remove it from one")
        if missing == total > 0:
            raise UsageError(
                f"{path}: none of its {total:,} entries is a recording below {raw}; "
                "expected one CLASS/FILE a line, or no such list"
            )
        if missing:
            notes.append(f"{missing:,} of {total:,} recordings named in {path.name} are not there")
    return [split_of.get(name, "train") for name in ids], notes
