"""A local copy of shards in object storage.

Training reads single segments in random order, each about a hundred kilobytes, many times. A request for each would
wait for the network; whole shards, read once one after the other, use its bandwidth. The copy is kept in the cache
folder, and files that have not changed are not copied again.
"""

import hashlib
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

from samplecnn.errors import SampleCNNError, UsageError
from samplecnn.system import storage
from samplecnn.system.cache import VARIABLE, cache_dir
from samplecnn.system.files import written_aside
from samplecnn.system.locks import locked
from samplecnn.system.progress import Progress
from samplecnn.system.read_ahead import map_ahead

THREADS = 8  # files that are copied at a time
PIECE_BYTES = 8 << 20
SPARE_BYTES = 64 << 20
LONGEST_WAIT = 12 * 3600.0  # seconds for another process that copies
MIN_BAR_BYTES = 1 << 28


def local_copy(data_dir: str | Path, name: str) -> Path:
    """A local folder of data sets with the built shards of one that lies in object storage.

    Args:
        data_dir: folder of data sets in object storage: s3://BUCKET/DATA.
        name: of the data set; DATA/<name>/arrow, or else DATA/<name>/tfrecord, is copied.

    Raises:
        UsageError: it is not there.
        SampleCNNError: the storage cannot be reached, or the disk has no space for the copy.
    """
    place = storage.address(data_dir).rstrip("/")
    home = f"{place}/{name}"
    format = next((format for format in ("arrow", "tfrecord") if storage.is_folder(f"{home}/{format}")), None)
    if format is None:
        raise UsageError(f"{home}/arrow: no shards there; build {name} locally and copy the folder there")
    cache = cache_dir()
    if cache is None:
        raise UsageError(f"{home}: needs a local folder for a copy; name one with {VARIABLE}")
    copied = cache / "shards" / hashlib.sha256(place.encode()).hexdigest()[:16]
    folder = copied / name / format
    folder.mkdir(parents=True, exist_ok=True)
    with locked(copied, f"{copied}: another process copies {home} there", wait=LONGEST_WAIT):
        _copy(f"{home}/{format}", folder)
    return copied


def _copy(source: str, folder: Path) -> None:
    """Makes the files in a folder those of `source`."""
    found = {name: storage.status(f"{source}/{name}") for name in storage.names(source)}
    wanted = {name: status for name, status in found.items() if status is not None}
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()
    left = {name: status for name, status in wanted.items() if not _is_same(folder / name, status)}
    needed, free = sum(status.st_size for status in left.values()), shutil.disk_usage(folder).free
    if needed and needed + SPARE_BYTES > free:
        raise SampleCNNError(
            f"{folder}: the copy of {source} takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; choose another "
            f"disk with {VARIABLE}"
        )

    def copy(name: str) -> int:
        status = left[name]
        with storage.RemoteFile(f"{source}/{name}") as file, written_aside(folder / name) as aside:
            with aside.open("wb") as out:
                for offset in range(0, status.st_size, PIECE_BYTES):
                    out.write(file.read_at(offset, PIECE_BYTES))
            os.utime(aside, ns=(status.st_mtime_ns, status.st_mtime_ns))
        return status.st_size

    bar = Progress(needed >> 20, f"copy {source}", "MB") if needed > MIN_BAR_BYTES else nullcontext()
    with bar as shown:
        for size in map_ahead(copy, sorted(left), THREADS):
            if shown:
                shown.advance(size >> 20)


def _is_same(path: Path, status: storage.Status) -> bool:
    try:
        own = path.stat()
    except FileNotFoundError:
        return False
    return (own.st_size, own.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
