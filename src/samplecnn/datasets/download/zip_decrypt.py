"""Decrypts the members of an encrypted zip: many at once in one process, large archives in several processes.

The processes are workers of `system.workers`, which exit when their parent is killed.
"""

import contextlib
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from samplecnn.datasets.download import zip_cipher
from samplecnn.datasets.download.archive_parts import DAMAGE, ArchiveError, open_parts, temporary_path
from samplecnn.system.read_ahead import merged
from samplecnn.system.workers import Worker, WorkerDied

TARGET = "samplecnn.datasets.download.zip_decrypt:run_worker"
LANES = 2048  # members decrypted at once: numpy's overhead per step is then small
MIN_LANES = 48  # with fewer members it is faster to decrypt one after the other
BLOCK_BYTES = 1 << 14  # of each member per round; LANES * BLOCK_BYTES is 32 MB
MIN_BYTES_FOR_WORKERS = 64_000_000  # encrypted bytes from which starting several processes is faster


@dataclass(frozen=True)
class Entry:
    """A member as the cipher needs it: offset of its header and sizes in bytes, CRC-32, method, password check byte."""

    path: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    check_byte: int


def decrypt_members(
    parts: Sequence[Path],
    folder: Path,
    infos: Mapping[str, zipfile.ZipInfo],
    passwords: Sequence[str],
    workers: int | None,
    label: str,
    on_read: Callable[[int], None],
) -> None:
    """Decrypts the members `infos` (by path relative to `folder`) and writes them there.

    Args:
        parts: the archive's file, or the parts of a split one.
        passwords: tried in order.
        workers: processes; None: one per processor, up to 8, and only one for a small archive.
        label: the archive's name in messages.
        on_read: called with the number of bytes read from the archive since the last call.

    Raises:
        ArchiveError: no password fits, or a worker process died.
    """
    entries = [_entry(path, info) for path, info in infos.items()]
    with open_parts(parts) as file:
        keys = _matching_keys(file, entries, passwords, label)
    count = workers or min(os.cpu_count() or 1, 8)
    if not workers and sum(entry.packed for entry in entries) < MIN_BYTES_FOR_WORKERS:
        count = 1
    if count == 1:
        with open_parts(parts) as file:
            decrypt_share(file, folder, entries, keys, on_read)
        return
    shares: list[list[Entry]] = [[] for _ in range(count)]
    for index, entry in enumerate(sorted(entries, key=lambda entry: entry.packed)):
        shares[index % count].append(entry)
    _in_processes(parts, folder, [share for share in shares if share], keys, on_read)


def decrypt_share(
    file: IO[bytes], folder: Path, entries: Sequence[Entry], keys: tuple[int, int, int], on_read: Callable[[int], None]
) -> None:
    """Decrypts, decompresses and verifies each entry and moves its file into place; all in this process."""
    lanes: list[_Lane] = []
    try:
        _run_lanes(file, folder, entries, keys, on_read, lanes)
    finally:
        for lane in lanes:
            lane.part.unlink(missing_ok=True)


def _run_lanes(
    file: IO[bytes],
    folder: Path,
    entries: Sequence[Entry],
    keys: tuple[int, int, int],
    on_read: Callable[[int], None],
    lanes: list["_Lane"],
) -> None:
    waiting = deque(sorted(entries, key=lambda entry: -entry.packed))
    state = np.empty((3, LANES), np.uint32)
    while lanes or waiting:
        while waiting and len(lanes) < LANES:
            state[:, len(lanes)] = keys
            lanes.append(_Lane(file, folder, waiting.popleft()))
        if len(lanes) < MIN_LANES:
            for index, lane in enumerate(lanes):
                own = (int(state[0, index]), int(state[1, index]), int(state[2, index]))
                while lane.left:
                    plain, own = zip_cipher.decrypt_one(lane.take(BLOCK_BYTES), own)
                    lane.put(plain)
                    on_read(len(plain))
            lanes.clear()
            continue
        length = min(BLOCK_BYTES, max(lane.left for lane in lanes))
        rows = np.zeros((len(lanes), length), np.uint8)
        lengths = []
        for row, lane in zip(rows, lanes, strict=True):
            encrypted = lane.take(length)
            row[: len(encrypted)] = np.frombuffer(encrypted, np.uint8)
            lengths.append(len(encrypted))
        plain_rows = np.ascontiguousarray(
            zip_cipher.decrypt_lanes(np.ascontiguousarray(rows.T), state[:, : len(lanes)]).T
        )
        for row, lane, count in zip(plain_rows, lanes, lengths, strict=True):
            lane.put(row[:count].tobytes())
        on_read(sum(lengths))
        alive = [index for index, lane in enumerate(lanes) if lane.left]
        state[:, : len(alive)] = state[:, alive]
        lanes[:] = [lanes[index] for index in alive]


class _Lane:
    """One member while it is decrypted: its position in the archive, its decompressor and its temporary file."""

    def __init__(self, file: IO[bytes], folder: Path, entry: Entry) -> None:
        self.file, self.entry = file, entry
        self.next, self.left = _data_offset(file, entry), entry.packed
        self.target = folder / entry.path
        self.inflate = zlib.decompressobj(-15) if entry.method == zipfile.ZIP_DEFLATED else None
        self.header = zip_cipher.HEADER
        self.crc = self.written = 0
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.part = temporary_path(self.target)
        self.part.write_bytes(b"")

    def take(self, count: int) -> bytes:
        """The next encrypted bytes, at most `count`."""
        self.file.seek(self.next)
        data = self.file.read(min(count, self.left))
        if len(data) < min(count, self.left):
            raise EOFError(f"the archive ends within {self.entry.path}")
        self.next += len(data)
        self.left -= len(data)
        return data

    def put(self, plain: bytes) -> None:
        """Takes the same bytes decrypted; after the last ones the file is verified and renamed into place."""
        skipped = min(self.header, len(plain))
        self.header -= skipped
        data = plain[skipped:]
        if self.inflate:
            data = self.inflate.decompress(data, self.entry.size - self.written + 1)
        self.crc = zlib.crc32(data, self.crc)
        self.written += len(data)
        if self.written > self.entry.size:
            raise zipfile.BadZipFile(f"{self.entry.path} is longer than the archive states")
        with self.part.open("ab") as out:  # reopened each time: thousands of lanes, few file handles
            out.write(data)
        if not self.left:
            if self.written != self.entry.size or self.crc != self.entry.crc:
                raise zipfile.BadZipFile(f"wrong checksum for {self.entry.path}")
            self.part.replace(self.target)


def _entry(path: str, info: zipfile.ZipInfo) -> Entry:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"compression method {info.compress_type} of {path}")
    if info.compress_size < zip_cipher.HEADER:
        raise zipfile.BadZipFile(f"{path} is too short to be encrypted")
    clock = info.date_time[3] << 11 | info.date_time[4] << 5 | info.date_time[5] // 2
    check_byte = clock >> 8 if info.flag_bits & 8 else info.CRC >> 24
    return Entry(
        path, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type, check_byte & 255
    )


def _data_offset(file: IO[bytes], entry: Entry) -> int:
    file.seek(entry.offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no header for {entry.path}")
    return entry.offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _matching_keys(
    file: IO[bytes], entries: Sequence[Entry], passwords: Sequence[str], label: str
) -> tuple[int, int, int]:
    """The keys of the password that fits. A member's check is a single byte, so up to 16 members are checked."""
    checks = []
    for entry in entries[:16]:
        file.seek(_data_offset(file, entry))
        checks.append((file.read(zip_cipher.HEADER), entry.check_byte))
    for password in passwords:
        keys = zip_cipher.keys_of(password.encode())
        if all(zip_cipher.decrypt_one(header, keys)[0][-1:] == bytes([byte]) for header, byte in checks):
            return keys
    why = "none of the known passwords fits" if passwords else "it is encrypted and no password is known"
    raise ArchiveError(f"{label}: {why}; unpack it by hand")


def _in_processes(
    parts: Sequence[Path],
    folder: Path,
    shares: list[list[Entry]],
    keys: tuple[int, int, int],
    on_read: Callable[[int], None],
) -> None:
    workers = [Worker(TARGET, inherit=True) for _ in shares]  # they inherit the lock on the folder

    def stop() -> None:
        for worker in workers:
            worker.kill()

    def order(share: list[Entry]) -> dict[str, Any]:
        entries = [asdict(entry) for entry in share]
        return {"parts": [str(part) for part in parts], "folder": str(folder), "keys": keys, "entries": entries}

    try:
        streams = [worker.ask(order(share)) for worker, share in zip(workers, shares, strict=True)]
        with contextlib.closing(merged(streams, stop)) as answers:
            for answer, _ in answers:
                if isinstance(answer, str):
                    raise zipfile.BadZipFile(answer)
                on_read(answer)
    except WorkerDied as death:
        raise ArchiveError(f"{parts[0]}: a worker process {death.how}; run the same command again") from death
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    finally:
        for worker in workers:
            worker.close()


def run_worker(order: dict[str, Any], data: bytes, answer: Callable[[int | str], None]) -> None:
    """A worker's task: decrypts its members; answers with bytes read, or with what is wrong with the archive."""
    try:
        with open_parts([Path(part) for part in order["parts"]]) as file:
            entries = [Entry(**entry) for entry in order["entries"]]
            decrypt_share(file, Path(order["folder"]), entries, tuple(order["keys"]), answer)
    except DAMAGE as error:
        answer(str(error))
