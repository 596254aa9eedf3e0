"""Builds one shard in a worker process. Does not import torch."""

import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.audio import Remarks, cut, is_silent, stream, to_int16
from samplecnn.errors import AudioError
from samplecnn.shards.formats import FORMATS, Format
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.files import write_early, write_text, written_aside
from samplecnn.system.workers import enter
from samplecnn.task import Task

SILENT = "silent: every sample is zero"
END_SECONDS = 0.1  # that may be missing at the end of a part: people and programs round
PIECE_BYTES = 8 << 20  # of a shard that is sent
SUMMED_AT_ONCE = 1 << 16  # samples: fits the processor's cache


def build_shard(order: dict[str, Any], data: bytes, answer: Callable[[int], None]) -> None:
    """Handles an order of `worker_pool`: builds a shard, and answers with 1 for each skipped clip, else 0."""
    keep_freed_memory()  # every recording needs blocks of the same sizes
    make_shard(Path(order["folder"]), Task.from_dict(order["task"]), FORMATS[order["format"]], order, answer)


def send_shard(order: dict[str, Any], data: bytes, answer: Callable[..., None]) -> None:
    """The same without access to the order's folder: after the clips' answers, sends the files as (name, bytes)."""
    keep_freed_memory()
    enter(order["started_in"])
    with tempfile.TemporaryDirectory(prefix="samplecnn-") as folder:
        make_shard(Path(folder), Task.from_dict(order["task"]), FORMATS[order["format"]], order, answer)
        for name in (order["name"], f"{order['name']}.json"):
            with (Path(folder) / name).open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    answer(name, piece)


def make_shard(folder: Path, task: Task, format: Format, order: dict[str, Any], on_clip: Callable[[int], None]) -> None:
    """Writes a shard and then NAME.json with its counts, which marks the shard as complete."""
    name, split = order["name"], order["split"]
    issues: list[list[str]] = []
    per_class = np.zeros(task.num_classes, np.int64)
    clips = segments = short = total = squares = 0
    with (
        written_aside(folder / name) as aside,
        aside.open("rb") as written,
        format.writer(aside, task, split, order["columns"]) as writer,
    ):
        for index, (id, path, span, labels, columns) in enumerate(order["clips"]):
            audio, remarks, filled = _audio_of(
                path, span, task, index in order["crashers"], order["accept_truncated"], folder
            )
            issues += [[path, split, status, reason] for status, reason in remarks]
            if audio is not None:
                writer.add(id, labels, audio, **columns)
                clips += 1
                segments += len(audio)
                short += filled
                per_class[labels] += 1
                if order["measured"]:
                    one, two = sums(audio)
                    total, squares = total + one, squares + two
                write_early(written.fileno())
            on_clip(int(audio is None))
    counts = {
        "split": split,
        "clips": clips,
        "segments": segments,
        "short": short,
        "per_class": per_class.tolist(),
        "samples": segments * task.window,
        "sum": total,
        "squares": squares,
        "issues": issues,
        "bytes": (folder / name).stat().st_size,
    }
    write_text(folder / f"{name}.json", json.dumps(counts))  # ASCII, since file names need not be UTF-8


def _audio_of(
    path: str, span: list[float | None], task: Task, crasher: bool, accept_truncated: bool, folder: Path
) -> tuple[np.ndarray | None, list[tuple[str, str]], bool]:
    """A clip's segments, int16 [n, window], or None; (status, reason) pairs for the report; whether it was padded.

    Any error in decoding only skips this recording.
    """
    if crasher:
        return _skipped("its decoding process died twice; convert it, remove it, or build with fewer --workers")
    heard = Remarks()
    start, end = span[0] or 0.0, span[1]
    try:
        pieces = stream(path, task.sample_rate, _seconds(start, end, task), accept_truncated, heard, start)
        samples, silent = _samples(pieces, folder)
        missing = "" if end is None or task.clip_seconds else _missing(start, len(samples) / task.sample_rate, end)
        notes = [("kept", heard.kept), ("warning", heard.cancelled or (SILENT if silent else "") or missing)]
        short = len(samples) < (task.clip_samples or task.window)
        return cut(samples, task), [(status, reason) for status, reason in notes if reason], short
    except AudioError as error:
        return _skipped(str(error).removeprefix(f"{path}: "))
    except OSError:
        raise  # an error of the shards' folder: those of the recording are AudioErrors
    except Exception as error:
        return _skipped(f"cannot be decoded ({type(error).__name__}: {error}); convert or remove it")


def _seconds(start: float, end: float | None, task: Task) -> float | None:
    """Seconds to decode; None: to the recording's end."""
    if end is None:
        return task.clip_seconds
    # Half a sample more than wanted is cut off; of 1.3 - 0.3 s, which is less than a second, a sample would be missing.
    seconds = (round((end - start) * task.sample_rate) + 0.5) / task.sample_rate
    return seconds if task.clip_seconds is None else min(seconds, task.clip_seconds)


def _missing(start: float, seconds: float, end: float) -> str:
    if start + seconds > end - END_SECONDS:
        return ""
    return f"ends after {start + seconds:.2f} s, before the end of the clip at {end:g} s"


def _skipped(reason: str) -> tuple[None, list[tuple[str, str]], bool]:
    return None, [("skipped", reason)], False


def _samples(pieces: Iterator[np.ndarray], folder: Path) -> tuple[np.ndarray, bool]:
    """A recording as int16 [samples], and whether it is silent. A long one is stored in a temporary file: a day of
    sound at 22,050 Hz takes 3.8 GB.
    """
    first = next(pieces)
    silent, samples = is_silent(first), to_int16(first)
    second = next(pieces, None)
    if second is None:
        return samples, silent
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(samples.data)
        for piece in chain((second,), pieces):
            silent = silent and is_silent(piece)
            file.write(to_int16(piece).data)
        file.flush()
        return np.memmap(file, np.int16, "r"), silent  # the unnamed file exists as long as the map


def sums(audio: np.ndarray) -> tuple[int, int]:
    """Exact sums of the samples and of their squares: partial sums stay below 2^53, so float64 represents them
    exactly.
    """
    flat = audio.reshape(-1)
    total = squares = 0
    for at in range(0, len(flat), SUMMED_AT_ONCE):
        part = flat[at : at + SUMMED_AT_ONCE].astype(np.float64)
        total += int(part.sum())
        squares += int(np.dot(part, part))
    return total, squares
