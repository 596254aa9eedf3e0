"""Which folders are classes and which are splits, decided from the paths of the recordings alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from samplecnn.datasets.splits import is_split_name, standard_splits
from samplecnn.errors import UsageError
from samplecnn.recordings import listed

EXPECTED = "expected one sub-folder per class, with recordings in it"


@dataclass
class Layout:
    """A folder's recordings by class.

    Args:
        recordings: class name -> paths relative to the folder, sorted; classes in alphabetical order.
        splits: split of each recording by path; empty where no folders are named train, val or test.
        notes: recordings outside the class folders, folders without recordings, classes that may be one level deeper.
    """

    recordings: dict[str, list[str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def layout_of(root: str, recordings: Iterable[str], folders: Sequence[str]) -> Layout:
    """Sorts recordings into classes, and into splits where the folders are named so.

    ROOT/CLASS/…/recording, or ROOT/SPLIT/CLASS/…/recording where every folder of ROOT that has recordings is named like
    a split (`splits.SPLIT_NAMES`).

    Args:
        root: the folder, for messages.
        recordings: paths relative to it, with forward slashes.
        folders: its sub-folders at the first two levels, relative, with forward slashes.

    Raises:
        UsageError: folders named like splits next to others, or without class folders in them, or without "train".
    """
    paths = sorted(recordings)
    tops = dict.fromkeys(path.partition("/")[0] for path in paths if "/" in path)
    split_folders = [name for name in tops if is_split_name(name)]
    others = [name for name in tops if not is_split_name(name)]
    if split_folders and others:
        raise UsageError(
            f"{root}: folders named like splits ({listed(split_folders)}) next to others ({listed(others)}); move all "
            f"classes into train, val and test, or rename {split_folders[0]!r} if it is a class"
        )
    depth = 1 if split_folders else 0  # level of the class folders
    layout = Layout()
    outside = 0
    for path in paths:
        parts = path.split("/", depth + 1)
        if len(parts) < depth + 2:
            outside += 1
        else:
            layout.recordings.setdefault(parts[depth], []).append(path)
    layout.recordings = dict(sorted(layout.recordings.items()))
    if split_folders:
        layout.splits = _splits(root, layout, split_folders)
    layout.notes = [
        *_without_recordings(paths, folders, depth),
        *([f"{outside:,} recordings are outside the class folders and are skipped"] if outside else []),
        *_nested(root, layout.recordings, depth),
    ]
    return layout


def _splits(root: str, layout: Layout, split_folders: list[str]) -> dict[str, str]:
    if not layout.recordings:
        raise UsageError(
            f"{root}: {listed(split_folders)} are names of splits, but there are no class folders in them; {EXPECTED}, "
            f"or rename {split_folders[0]!r} if it is a class"
        )
    split_of = standard_splits(split_folders)
    if "train" not in split_of.values():
        raise UsageError(
            f"{root}: {listed(split_folders)} are names of splits, but there is no train folder; add one, "
            f"or rename {split_folders[0]!r} if it is a class"
        )
    return {path: split_of[path.partition("/")[0]] for paths in layout.recordings.values() for path in paths}


def _without_recordings(paths: list[str], folders: Sequence[str], depth: int) -> list[str]:
    used = {"/".join(path.split("/")[: depth + 1]) for path in paths if path.count("/") > depth}
    empty = sorted(folder for folder in folders if folder.count("/") == depth and folder not in used)
    return [f"{len(empty):,} folders without recordings are skipped: {listed(empty)}"] if empty else []


def _nested(root: str, recordings: dict[str, list[str]], depth: int) -> list[str]:
    """A note where a class has no recordings of its own but several sub-folders, which may be the real classes."""
    for name, paths in recordings.items():
        inner = {path.split("/")[depth + 1] for path in paths if path.count("/") > depth + 1}
        if len(inner) > 1 and all(path.count("/") > depth + 1 for path in paths):
            below = f"{root}/{name}" if depth == 0 else None
            hint = f"; if these are the classes: samplecnn build {below}" if below else ""
            return [f"class {name!r} has its recordings in {len(inner):,} sub-folders ({listed(sorted(inner))}){hint}"]
    return []
