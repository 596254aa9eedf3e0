"""Labels from the names of recordings, by a pattern such as ``{label}_{speaker}_*``."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from samplecnn.datasets.cells import labels_of
from samplecnn.datasets.rows import Row
from samplecnn.datasets.splits import is_split_name
from samplecnn.errors import UsageError
from samplecnn.parsing import shown
from samplecnn.recordings import counted

FIELDS = {"label": "labels", "split": "split", "group": "group", "speaker": "group", "fold": "fold"}
TOKEN = re.compile(r"\{(\w*)\}|(\*)")
EXPECTED = "expected such as '{label}_{speaker}_*', of {label}, {split}, {group} or {speaker}, {fold} and *"


class Pattern:
    """What stands where in a name.

    A field or ``*`` is at least one character long and ends before the first occurrence of the text that follows it in
    the pattern; the last one goes to the end. ``*`` at the end may be empty. A pattern without ``/`` is matched with
    the name of the file without its suffix, one with n of them with the last n folders as well.

    Args:
        text: the pattern.

    Raises:
        UsageError: an unknown field, a field that is there twice, no label, or nothing between two fields.

    Example:
        >>> Pattern("{label}_{speaker}_*").match("digits/7_jackson_32.wav")
        {'labels': '7', 'group': 'jackson'}
        >>> Pattern("{split}/*-{label}").match("train/1-rain.wav")
        {'split': 'train', 'labels': 'rain'}
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = text.count("/")
        parts = TOKEN.split(text)  # literal, field, star, literal, ...
        self.start, self.tokens = parts[0], list(zip(parts[1::3], parts[3::3], strict=True))
        fields = [field for field, _ in self.tokens if field is not None]
        unknown = next((field for field in fields if field not in FIELDS), None)
        if unknown is not None:
            raise UsageError(f"--label-from {text}: there is no field {{{unknown}}}; {EXPECTED}")
        if any(brace in literal for literal in (self.start, *parts[3::3]) for brace in "{}"):
            raise UsageError(f"--label-from {text}: a brace without its partner; {EXPECTED}")
        names = [FIELDS[field] for field in fields]
        if "labels" not in names:
            raise UsageError(f"--label-from {text}: {{label}} is missing; {EXPECTED}")
        if len(set(names)) < len(names):
            raise UsageError(f"--label-from {text}: a field is there twice; {EXPECTED}")
        if any(not literal for _, literal in self.tokens[:-1]):
            raise UsageError(f"--label-from {text}: nothing separates two of its fields; {EXPECTED}")

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path with forward slashes, by the name of the column; None where it does not match."""
        parts = path.split("/")
        if len(parts) <= self.depth:
            return None
        name = "/".join([*parts[len(parts) - 1 - self.depth : -1], _stem(parts[-1])])
        if not name.startswith(self.start):
            return None
        at = len(self.start)
        found: dict[str, str] = {}
        for number, (field, literal) in enumerate(self.tokens, 1):
            if number < len(self.tokens):
                end = name.find(literal, at + 1)
            else:
                end = len(name) - len(literal)
                if not name.endswith(literal):
                    return None
            if end < at + (field is not None or number < len(self.tokens)) or "/" in name[at:end]:
                return None
            if field is not None:
                found[FIELDS[field]] = name[at:end].strip()
            at = end + len(literal)
        return found if all(found.values()) and at == len(name) else None


def _stem(name: str) -> str:
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix) else name


def rows_from_names(
    root: object, recordings: Sequence[str], pattern: Pattern, separator: str
) -> tuple[list[Row], list[str]]:
    """A row for each recording whose name matches, and a note on the others.

    Args:
        root: the folder, for messages.
        recordings: paths relative to it, with forward slashes.
        separator: between several labels.

    Raises:
        UsageError: none matches, or a split has an unknown name.
    """
    rows, others = [], []
    for path in sorted(recordings):
        found = pattern.match(path)
        if found is None:
            others.append(path)
            continue
        split = found.get("split", "")
        if split and not is_split_name(split):
            raise UsageError(f"{root}, {path}: unknown split {shown(split)}; expected train, val or test")
        labels = labels_of(found["labels"], separator)
        rows.append(Row(path, path, labels, split, found.get("group", ""), found.get("fold", "")))
    if not rows:
        example = f", for example {others[0]}" if others else ""
        raise UsageError(f"{root}: no recording matches --label-from {pattern.text}{example}; {EXPECTED}")
    if not others:
        return rows, []
    count = counted(len(others), "recording does", "recordings do")
    return rows, [f"{count} not match --label-from and {'is' if len(others) == 1 else 'are'} skipped: {others[0]}"]
