"""Any folder with one sub-folder per class as a data set."""

import os
from pathlib import Path

from samplecnn.datasets.base import Published, Table
from samplecnn.datasets.custom import CustomOptions, custom_table
from samplecnn.datasets.folder_layout import EXPECTED, layout_of
from samplecnn.datasets.label_files import read_lines
from samplecnn.datasets.labels import LabelEncoder
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.recordings import Scan
from samplecnn.task import Task

LISTS = {"val": "validation_list.txt", "test": "testing_list.txt"}


class Folder:
    """`folder`/CLASS/…/recording, at any depth below the class.

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
        recordings, folders, left_out = _search(raw)
        layout = layout_of(str(raw), recordings, folders)
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
            notes=[*layout.notes, *left_out, *notes],
        )


def _search(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Recordings and folders at the first two levels, relative with forward slashes, and notes on what is left out."""
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; {EXPECTED}")
    scan = Scan(skip_underscore=True)
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
    notes = [f"{undecodable:,} recordings have names that are not valid text and are skipped"] if undecodable else []
    return paths, [*tops, *inner], notes + scan.notes()


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
