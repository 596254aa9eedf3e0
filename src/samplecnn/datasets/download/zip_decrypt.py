"""Opens the members of an encrypted zip: many at once in one process, and in several processes where there is much.

The processes are workers (`system.workers`): one that has lost its parent ends.
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
from samplecnn.datasets.download.archives import DAMAGE, ArchiveError, aside, opened
from samplecnn.system.read_ahead import merged
from samplecnn.system.workers import Worker, WorkerDied

TARGET = "samplecnn.datasets.download.zip_decrypt:open_share"
LANES = 2048  # members open at once: numpy's cost per step is then small against the work in it
FEW = 48  # below this number one after the other is faster
STRETCH = 1 << 14  # bytes of each member per round; LANES * STRETCH is 32 MB
ENOUGH = 64_000_000  # bytes of an archive that are worth a second process


@dataclass(frozen=True)
class Entry:
    """A member as the cipher needs it: offset of its header, sizes in bytes, checksum, and the password's proof."""

    path: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    proof: int


def unlock(
    parts: Sequence[Path],
    folder: Path,
    infos: Mapping[str, zipfile.ZipInfo],
    passwords: Sequence[str],
    workers: int | None,
    label: str,
    report: Callable[[int], None],
) -> None:
    """Writes the encrypted members `infos` (by path under `folder`); `report` hears of bytes read from the archive.

    Raises ArchiveError where no password fits.
    """
    entries = [_entry(path, info) for path, info in infos.items()]
    with opened(parts) as file:
        keys = _fitting_keys(file, entries, passwords, label)
    count = workers or min(os.cpu_count() or 1, 8)
    if not workers and sum(entry.packed for entry in entries) < ENOUGH:
        count = 1
    if count == 1:
        with opened(parts) as file:
            open_members(file, folder, entries, keys, report)
        return
    shares: list[list[Entry]] = [[] for _ in range(count)]
    for index, entry in enumerate(sorted(entries, key=lambda entry: entry.packed)):
        shares[index % count].append(entry)
    _in_processes(parts, folder, [share for share in shares if share], keys, report)


def open_members(
    file: IO[bytes], folder: Path, entries: Sequence[Entry], keys: tuple[int, int, int], report: Callable[[int], None]
) -> None:
    """Decrypts, unpacks and checks each entry and puts its file in place; `report` hears of bytes as they are read."""
    lanes: list[_Lane] = []
    try:
        _run_lanes(file, folder, entries, keys, report, lanes)
    finally:
        for lane in lanes:
            lane.part.unlink(missing_ok=True)


def _run_lanes(
    file: IO[bytes],
    folder: Path,
    entries: Sequence[Entry],
    keys: tuple[int, int, int],
    report: Callable[[int], None],
    lanes: list["_Lane"],
) -> None:
    waiting = deque(sorted(entries, key=lambda entry: -entry.packed))
    state = np.empty((3, LANES), np.uint32)
    while lanes or waiting:
        while waiting and len(lanes) < LANES:
            state[:, len(lanes)] = keys
            lanes.append(_Lane(file, folder, waiting.popleft()))
        if len(lanes) < FEW:
            for index, lane in enumerate(lanes):
                own = (int(state[0, index]), int(state[1, index]), int(state[2, index]))
                while lane.left:
                    plain, own = zip_cipher.decrypt_one(lane.take(STRETCH), own)
                    lane.put(plain)
                    report(len(plain))
            lanes.clear()
            continue
        stretch = min(STRETCH, max(lane.left for lane in lanes))
        rows = np.zeros((len(lanes), stretch), np.uint8)
        lengths = []
        for row, lane in zip(rows, lanes, strict=True):
            secret = lane.take(stretch)
            row[: len(secret)] = np.frombuffer(secret, np.uint8)
            lengths.append(len(secret))
        plain_rows = np.ascontiguousarray(
            zip_cipher.decrypt_lanes(np.ascontiguousarray(rows.T), state[:, : len(lanes)]).T
        )
        for row, lane, length in zip(plain_rows, lanes, lengths, strict=True):
            lane.put(row[:length].tobytes())
        report(sum(lengths))
        alive = [index for index, lane in enumerate(lanes) if lane.left]
        state[:, : len(alive)] = state[:, alive]
        lanes[:] = [lanes[index] for index in alive]


class _Lane:
    """One member on its way from the archive to its file."""

    def __init__(self, file: IO[bytes], folder: Path, entry: Entry) -> None:
        self.file, self.entry = file, entry
        self.next, self.left = _data_offset(file, entry), entry.packed
        self.target = folder / entry.path
        self.inflate = zlib.decompressobj(-15) if entry.method == zipfile.ZIP_DEFLATED else None
        self.header = zip_cipher.HEADER
        self.crc = self.written = 0
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.part = aside(self.target)
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
        """The same bytes, decrypted; with the last ones the file is checked and gets its name."""
        skipped = min(self.header, len(plain))
        self.header -= skipped
        data = plain[skipped:]
        if self.inflate:
            data = self.inflate.decompress(data, self.entry.size - self.written + 1)
        self.crc = zlib.crc32(data, self.crc)
        self.written += len(data)
        if self.written > self.entry.size:
            raise zipfile.BadZipFile(f"{self.entry.path} is longer than the archive says")
        with self.part.open("ab") as out:  # opened anew each time: thousands of lanes, few file handles
            out.write(data)
        if not self.left:
            if self.written != self.entry.size or self.crc != self.entry.crc:
                raise zipfile.BadZipFile(f"wrong checksum for {self.entry.path}")
            self.part.replace(self.target)


def _entry(path: str, info: zipfile.ZipInfo) -> Entry:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(f"method {info.compress_type} for {path}")
    if info.compress_size < zip_cipher.HEADER:
        raise zipfile.BadZipFile(f"{path} is too short to be encrypted")
    clock = info.date_time[3] << 11 | info.date_time[4] << 5 | info.date_time[5] // 2
    proof = clock >> 8 if info.flag_bits & 8 else info.CRC >> 24
    return Entry(
        path, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type, proof & 255
    )


def _data_offset(file: IO[bytes], entry: Entry) -> int:
    file.seek(entry.offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"there is no header for {entry.path}")
    return entry.offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _fitting_keys(
    file: IO[bytes], entries: Sequence[Entry], passwords: Sequence[str], label: str
) -> tuple[int, int, int]:
    """The keys of the password that fits. One member's proof is a single byte, so several are asked."""
    proofs = []
    for entry in entries[:16]:
        file.seek(_data_offset(file, entry))
        proofs.append((file.read(zip_cipher.HEADER), entry.proof))
    for password in passwords:
        keys = zip_cipher.keys_of(password.encode())
        if all(zip_cipher.decrypt_one(header, keys)[0][-1:] == bytes([proof]) for header, proof in proofs):
            return keys
    why = "none of the known passwords opens it" if passwords else "it is encrypted and no password is known"
    raise ArchiveError(f"{label}: {why}; unpack it by hand")


def _in_processes(
    parts: Sequence[Path],
    folder: Path,
    shares: list[list[Entry]],
    keys: tuple[int, int, int],
    report: Callable[[int], None],
) -> None:
    workers = [Worker(TARGET, inherit=True) for _ in shares]  # they share the lock on the folder

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
                report(answer)
    except WorkerDied as death:
        raise ArchiveError(f"{parts[0]}: a worker process {death.how}; run the same command again") from death
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    finally:
        for worker in workers:
            worker.close()


def open_share(order: dict[str, Any], data: bytes, answer: Callable[[int | str], None]) -> None:
    """A worker's work: one share of the members. Answers with bytes read, or with what is wrong with the archive."""
    try:
        with opened([Path(part) for part in order["parts"]]) as file:
            entries = [Entry(**entry) for entry in order["entries"]]
            open_members(file, Path(order["folder"]), entries, tuple(order["keys"]), answer)
    except DAMAGE as error:
        answer(str(error))
