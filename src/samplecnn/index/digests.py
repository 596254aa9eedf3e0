"""Contents of files by their hashes, in arrays: about 24 bytes a file."""

import hashlib
from pathlib import Path

import numpy as np

from samplecnn.system.storage import RemoteFile, is_remote

HASH_BYTES = 16  # of a SHA-256 are compared
MIN_RECENT = 4096  # entries that are kept in a dictionary before they are sorted into the arrays


def content_hash(path: str) -> str:
    """SHA-256 of a file; "" where it cannot be read."""
    try:
        with RemoteFile(path) if is_remote(path) else Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def key(sha256: str) -> bytes:
    return bytes.fromhex(sha256[: 2 * HASH_BYTES])


class Digests:
    """A number for each key (`key`). Entries are added to a small dictionary and merged into sorted arrays in bulk.

    Args:
        keys: S16 [entries], in any order.
        values: int64 [entries]; of several entries with a key, the last one counts.

    Example:
        >>> known = Digests(np.array([b"b" * 16, b"a" * 16, b"b" * 16]), np.array([1, 2, 3]))
        >>> known.add(b"c" * 16, 4)
        >>> known.get(b"b" * 16), known.get(b"c" * 16), known.get(b"d" * 16)
        (3, 4, None)
    """

    def __init__(self, keys: np.ndarray | None = None, values: np.ndarray | None = None) -> None:
        self.keys, self.values = np.zeros(0, f"S{HASH_BYTES}"), np.zeros(0, np.int64)
        self.recent: dict[bytes, int] = {}
        if keys is not None and values is not None:
            self._merge(keys, values)

    def get(self, digest: bytes) -> int | None:
        if digest in self.recent:
            return self.recent[digest]
        at = int(np.searchsorted(self.keys, np.bytes_(digest)))
        # NumPy drops zero bytes at the end of S16.
        found = at < len(self.keys) and bytes(self.keys[at]).ljust(HASH_BYTES, b"\0") == digest
        return int(self.values[at]) if found else None

    def add(self, digest: bytes, value: int) -> None:
        self.recent[digest] = value
        if len(self.recent) >= max(MIN_RECENT, len(self.keys) // 8):
            self._merge(np.array(list(self.recent), self.keys.dtype), np.array(list(self.recent.values()), np.int64))
            self.recent = {}

    def _merge(self, keys: np.ndarray, values: np.ndarray) -> None:
        keys, values = np.concatenate([self.keys, keys]), np.concatenate([self.values, values])
        order = np.argsort(keys, kind="stable")
        last = np.append(keys[order][1:] != keys[order][:-1], True)[: len(order)]
        self.keys, self.values = keys[order[last]], values[order[last]]
