"""Cache of small results that are expensive to compute, per user, in the platform's cache folder.

A result is one JSON file, created once and atomically. On any error with the folder or the file the result is computed
again: the cache never causes a failure.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samplecnn.parsing import anything, fields, find_object, table_of

VARIABLE = "SAMPLECNN_CACHE"


def cache_dir() -> Path | None:
    """SAMPLECNN_CACHE, or the platform's folder for caches; None if the user has no home directory.

    Linux: XDG_CACHE_HOME/samplecnn, by default ~/.cache/samplecnn; macOS: ~/Library/Caches/samplecnn; Windows:
    LOCALAPPDATA/samplecnn/Cache.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen)
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "samplecnn" / "Cache"
    with contextlib.suppress(RuntimeError):
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "samplecnn"
        base = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "samplecnn"
    return None


def recall(name: str, key: Mapping[str, Any], valid: Callable[[Any], bool]) -> Any | None:
    """The result stored under a name and a key; None if there is none, or an invalid one."""
    path = _path(name, key)
    return None if path is None else _read(path, key, valid)


def remember(name: str, key: Mapping[str, Any], value: Any, valid: Callable[[Any], bool]) -> Any:
    """Stores a result and returns the valid one: with concurrent processes, that of the first.

    Args:
        name: first part of the file's name.
        key: everything that the result depends on, JSON-serialisable.
        value: the result, JSON-serialisable.
        valid: whether a stored value is valid; a file with an invalid one is replaced.
    """
    path = _path(name, key)
    if path is None:
        return value
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, created = tempfile.mkstemp(prefix=f".{name}-", dir=path.parent)
        temporary = Path(created)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"key": dict(key), "value": value}, file, indent=2)
        try:
            os.link(temporary, path)  # fails if the file exists
        except OSError:
            stored = _read(path, key, valid)
            if stored is not None:
                return stored
            temporary.replace(path)
    except OSError:  # not writable, or full
        pass
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return value


def is_writable() -> bool:
    """Whether results can be stored."""
    folder = cache_dir()
    while folder is not None and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder is not None and folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _path(name: str, key: Mapping[str, Any]) -> Path | None:
    import hashlib  # late: it loads OpenSSL

    folder = cache_dir()
    digest = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:16]
    return None if folder is None else folder / f"{name}-{digest}.json"


def _read(path: Path, key: Mapping[str, Any], valid: Callable[[Any], bool]) -> Any | None:
    content = find_object(path, _CONTENT)
    if content is not None and content["key"] == dict(key) and valid(content["value"]):
        return content["value"]
    return None


_CONTENT = fields({"key": table_of(anything()), "value": anything()})
