"""What was written into files, and what was there before: a line of JSON for each, written before the file is."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from samplecnn.errors import UsageError
from samplecnn.parsing import MAX_PATH, fields, file_name, flag, list_of, parse_object, read_text, table_of, text

REMEDY = "name the journal that write-tags has written"
VALUES = table_of(list_of(text(1 << 20), 100_000))
RULE = fields({"path": file_name(), "before": VALUES, "after": VALUES, "had_tags": flag()})


@dataclass(frozen=True)
class Change:
    """What a file's fields were and became.

    Args:
        path: absolute.
        before, after: values by field; an empty list: no such field.
        had_tags: whether the file had a place for tags before.
    """

    path: str
    before: dict[str, list[str]]
    after: dict[str, list[str]]
    had_tags: bool


class Journal:
    """Keeps changes in a file, which begins with the first one. Use as a context manager.

    Args:
        path: of the file; lines are added to one that is there, in place of a last line that a crash has cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.count = 0
        self._file: IO[str] | None = None

    def add(self, change: Change) -> None:
        """Puts a change on disk."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _drop_cut_line(self.path)
            self._file = self.path.open("a", encoding="ascii")
        self._file.write(json.dumps(asdict(change)) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.count += 1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read_changes(path: str | Path) -> Sequence[Change]:
    """The changes in a journal. A last line that a crash has cut off is left out: its file was not changed yet.

    Raises:
        UsageError: not a journal.
    """
    content = read_text(Path(path), REMEDY, UsageError)
    whole, _, _ = content.rpartition("\n")
    found = []
    for number, line in enumerate(whole.splitlines(), 1):
        values = parse_object(line, f"{path}, line {number}", REMEDY, RULE, UsageError)
        if len(values["path"]) > MAX_PATH or not Path(values["path"]).is_absolute():
            raise UsageError(f"{path}, line {number}: not the absolute path of a file; {REMEDY}")
        found.append(Change(values["path"], values["before"], values["after"], values["had_tags"]))
    if not found:
        raise UsageError(f"{path}: it has no changes; {REMEDY}")
    return found


def _drop_cut_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
