"""Random changes of files: of bytes, and of the values of JSON, journals and checkpoints."""

import contextlib
import json
import math
import random
import re
import zlib
from pathlib import Path
from typing import Any

import torch
from good_files import EPOCH, checkpoint_of

from samplecnn.index.journal import FRAME
from samplecnn.training.checkpoint import RunState

JUNK: tuple[Any, ...] = (
    *(0, -1, 1, 2, 8, 255, 1000, 10**7, 10**9, 2**31, 2**63, 10**30, 10**400, -(10**12), 0.5, -0.5, 1e-300, 1e300),
    *(math.nan, math.inf, -math.inf, True, False, None, "", "8", "x", "a\nb", "\x1b[2J", "\ud800", "x" * 5000, "../.."),
    *([], {}, [[]], [None], ["x"], [1, 2, 3], {"x": 1}, {"": None}, [[1, "x"]], "nan", "1e9", "train", "\0"),
)
WORDS = (
    *(
        b"0",
        b"-1",
        b"1e9",
        b"1e400",
        b"9" * 30,
        b"9" * 5000,
        b"NaN",
        b"Infinity",
        b"null",
        b"true",
        b'"8"',
        b"[]",
        b"{}",
    ),
    *(
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b",",
    ),
    *(b"\\ud800", b"x" * 200_000, b";", b"|", b"\t", b"=", b"['a'", b"\x80\x80\x80\x80"),
)


def changed_value(value: Any, rng: random.Random) -> Any:
    """A copy of plain values with one of them, at any depth, replaced, removed or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.92:
        key = rng.choice(list(value))
        action = rng.random()
        if action < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.12:
            return {**value, rng.choice(("x", "", "new", "__class__")): rng.choice(JUNK)}
        return {**value, key: changed_value(value[key], rng)}
    if isinstance(value, list | tuple) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        action = rng.random()
        if action < 0.1:
            return [*value[:at], *value[at + 1 :]]
        if action < 0.2:
            return [*value, value[at]]
        return [*value[:at], changed_value(value[at], rng), *value[at + 1 :]]
    return rng.choice(JUNK)


def changed_bytes(data: bytes, rng: random.Random) -> bytes:
    """One mutation of bytes of any format."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 50, 1000)))
    action = rng.randrange(10)
    if action < 3 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if action == 3:
        return data[:at] + rng.randbytes(end - at) + data[end:]
    if action == 4:
        return data[:at]
    if action == 5:
        return data[:at] + data[end:]
    if action == 6:
        return data[:at] + data[at:end] * rng.choice((2, 3, 50)) + data[end:]
    if action == 7:
        number = rng.choice((0, 1, 127, 255, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
        return data[:at] + number.to_bytes(8, "little")[: rng.choice((1, 2, 4, 8))] + data[end:]
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?|\"[^\"]*\"", data[:100_000]))
    if action == 8 and numbers:
        found = rng.choice(numbers)
        return data[: found.start()] + rng.choice(WORDS) + data[found.end() :]
    return data[:at] + rng.choice(WORDS) + data[end if rng.random() < 0.5 else at :]


def mutate(path: Path, rng: random.Random) -> None:
    """Changes a file: JSON and lines of it also by their values."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl", ".part") and rng.random() < 0.6:
        with contextlib.suppress(ValueError):
            lines = [json.loads(line) for line in data.splitlines() if line]
            if path.suffix == ".json" and len(lines) != 1:
                lines = [json.loads(data)]
            at = rng.randrange(len(lines))
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                lines[at] = changed_value(lines[at], rng)
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            return
    if path.suffix == ".json" and len(data) > 40 and data[:1] == b"{" and b"\n" in data:
        with contextlib.suppress(ValueError):
            value = json.loads(data)
            if rng.random() < 0.5:
                path.write_text(json.dumps(changed_value(value, rng)))
                return
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = changed_bytes(data, rng)
    path.write_bytes(data)


def mutate_checkpoint(path: Path, rng: random.Random) -> None:
    """Other values in a file that is whole: flipped bits alone would only meet the zip's checksums."""
    values = {**vars(checkpoint_of()), "state": vars(RunState(epoch=1, history=[EPOCH])), "format_version": 1}
    for _ in range(rng.choice((1, 1, 2))):
        values = changed_value(values, rng)
    torch.save(values, path)


def mutate_journal(path: Path, rng: random.Random) -> None:
    """Other values under a checksum that is right, in most cases."""
    if rng.random() < 0.3:
        mutate(path, rng)
        return
    data = path.read_bytes()
    mark, head_length, raw_length, _ = FRAME.unpack(data[: FRAME.size])
    first, end = FRAME.size + head_length, FRAME.size + head_length + raw_length
    values, raw = changed_value(json.loads(data[FRAME.size : first]), rng), data[first:end]
    head = json.dumps(values).encode()
    frame = FRAME.pack(mark, len(head), len(raw), zlib.crc32(raw, zlib.crc32(head)))
    path.write_bytes(frame + head + raw + data[end:])
