"""raw/.prepared: what earlier runs of `prepare` have finished, and the lock that keeps a second run out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samplecnn.parsing import fields, file_name, find_object, flag, list_of, row_of, whole
from samplecnn.system.files import write_json
from samplecnn.system.locks import locked

_COUNT = whole(0, 1 << 63)
_RECORD = {
    **dict.fromkeys(("fetched", "keep"), flag()),
    **dict.fromkeys(("bytes", "changed"), _COUNT),
    "into": file_name(),
    "files": list_of(row_of(file_name(), _COUNT)),
}
RECORD = fields(_RECORD, optional=_RECORD)  # a download has some of these keys, an unpacked archive the others
LOCK_TIMEOUT = 3.0  # seconds to wait for the last worker processes of a killed run


class Records:
    """One small JSON file per finished download and per unpacked archive.

    Args:
        folder: raw/.prepared.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, value: dict[str, Any]) -> None:
        write_json(self.folder / f"{name}.json", value)

    def read(self, name: str) -> dict[str, Any]:
        """The record of that name; {} where there is none or it is damaged."""
        return find_object(self.folder / f"{name}.json", RECORD) or {}


def file_stamp(path: Path) -> dict[str, int]:
    """Size in bytes and time of the last change in ns: whether a file is still the one that was checked."""
    status = path.stat()
    return {"bytes": status.st_size, "changed": status.st_mtime_ns}


@contextmanager
def exclusive(raw: Path) -> Iterator[None]:
    """Keeps a second `prepare` of the same folder out; the system releases the lock when the process ends.

    The processes that decrypt zips inherit the lock: if their parent is killed, they hold it until they exit a moment
    later, so that no two processes write the same file.

    Raises:
        UsageError: another run holds the lock.
    """
    folder = raw / ".prepared"
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{raw}: another `samplecnn prepare` is running here; wait for it or stop it"
    with locked(folder / "lock", busy, wait=LOCK_TIMEOUT, inheritable=True):
        yield
