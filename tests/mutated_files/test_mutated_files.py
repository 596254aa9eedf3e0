"""Every parser on mutated files: an error is one line that names the file, nothing hangs, nothing wrong is accepted.

Each line of PARSERS is a parser, with a small file that it takes and what must hold for whatever it accepts. The checks
are independent of the rules in `samplecnn.parsing`. A mutation is given by seed, parser and number, which a failure
prints. As a program it takes many more (`make fuzz`):

    python tests/mutated_files/test_mutated_files.py --count 100000 --minutes 30 --seed 7
    python tests/mutated_files/test_mutated_files.py --parser config --seed 7 --number 4711
"""

import argparse
import contextlib
import math
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checked_reads as reads
import good_files as good
import good_label_files as labels
import numpy as np
import pytest
import torch
from mutations import mutate, mutate_checkpoint, mutate_journal

from samplecnn.errors import SampleCNNError

SUITE_SEED, SUITE_COUNT = 20190424, 12  # mutations of each parser in the normal tests
CPU_SECONDS, SECONDS = 10.0, 120.0  # for one mutation; work of milliseconds on a small file, on a busy machine too
MEMORY = 4 << 30  # bytes that a process may take in `make fuzz`


@dataclass(frozen=True)
class Parser:
    """A parser: `make` writes a good file, `read` reads it and checks what it holds; `file` if another is mutated.

    `share` is the share of mutations in a long run, for parsers that take long.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], None]
    file: str = ""
    share: float = 1.0
    mutate: Callable[[Path, random.Random], None] | None = None


PARSERS = {
    "config": Parser(good.make_model, reads.read_model),
    "weights": Parser(good.make_weights, reads.read_weights, share=0.5),
    "keras": Parser(good.make_h5, reads.read_h5, share=0.01),
    "checkpoint": Parser(good.make_checkpoint, reads.read_checkpoint, share=0.3),
    "checkpoint values": Parser(good.make_checkpoint, reads.read_checkpoint, share=0.2, mutate=mutate_checkpoint),
    "state dict": Parser(good.make_state_dict, reads.read_state_dict, share=0.3),
    "build": Parser(good.make_built, reads.read_build),
    "build task": Parser(good.make_built, reads.read_build, file="task.json"),
    "build report": Parser(good.make_built, reads.read_build, file="report.csv"),
    "shard counts": Parser(good.make_counts, reads.read_counts),
    "metrics": Parser(good.make_metrics, reads.read_history),
    "arrow": Parser(good.make_arrow, reads.read_arrow),
    "tfrecord": Parser(good.make_tfrecord, reads.read_tfrecord),
    "tfrecord task": Parser(good.make_tfrecord, reads.read_tfrecord_task, file="task.json"),
    "manifest": Parser(labels.make_manifest, reads.read_manifest),
    "parquet": Parser(labels.make_parquet, reads.read_manifest),
    "parts": Parser(labels.make_parts, reads.read_manifest),
    "json_lines": Parser(labels.make_json_lines, reads.read_manifest),
    "raven": Parser(labels.make_raven, reads.read_manifest),
    "audacity": Parser(labels.make_audacity, reads.read_audacity),
    "tags as lines": Parser(good.make_lines, reads.read_lines),
    "tags as table": Parser(good.make_table, reads.read_table),
    "run journal": Parser(good.make_run_journal, reads.read_run_journal),
    "index settings": Parser(good.make_index_settings, reads.read_index_settings),
    "index journal": Parser(good.make_index_journal, reads.read_index_journal, mutate=mutate_journal),
    "review": Parser(good.make_answers, reads.read_review),
    "written files": Parser(good.make_written, reads.read_written),
    "file tags": Parser(good.make_changes, reads.read_file_changes),
    "tag settings": Parser(good.make_settings, reads.read_settings),
    "cache": Parser(good.make_cache, reads.read_cache),
    "options": Parser(good.make_toml, reads.read_toml, share=0.1),
    "class names": Parser(good.make_names, reads.read_names),
    "download record": Parser(good.make_record, reads.read_record),
    "run record": Parser(good.make_run_record, reads.read_run_record),
}


class Hang(BaseException):
    """Not an Exception, so that no parser takes it for damage."""


def fault(name: str, whole: Path, folder: Path, seed: int, number: int) -> str:
    """What goes wrong with a mutation; "" where it is read, or refused as it should be."""
    parser = PARSERS[name]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    path = folder / MADE[name]
    (parser.mutate or mutate)(path, random.Random(f"{seed} {name} {number}"))

    def stop(*_: Any) -> None:
        raise Hang

    timers = ((signal.SIGALRM, signal.ITIMER_REAL, SECONDS), (signal.SIGPROF, signal.ITIMER_PROF, CPU_SECONDS))
    usual = [signal.signal(kind, stop) for kind, _, _ in timers]
    for _, timer, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            parser.read(path)
    except SampleCNNError as error:
        if isinstance(error.__cause__, AssertionError):
            return f"an assertion inside: {error}"
        text = str(error)
        named = str(folder) in text
        return (
            "" if named and "\n" not in text and len(text) < 3000 else f"a message that is not one line: {text!r:.900}"
        )
    except Hang:
        return f"takes more than {CPU_SECONDS:g} s of computation or {SECONDS:g} s in all"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = [one for one in traceback.extract_tb(error.__traceback__) if "samplecnn" in one.filename] or [frame]
        kind = "wrong accept" if isinstance(error, AssertionError) else "traceback"
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {Path(frame.filename).name}:{frame.lineno}"
        return f"{kind}: {type(error).__name__}: {str(error)[:200]!r} at {where}"
    finally:
        for (kind, timer, _), handler in zip(timers, usual, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(kind, handler)
    return ""


MADE: dict[str, Path] = {}  # of each parser: the mutated file, relative to its folder


def make_whole(name: str, folder: Path) -> Path:
    """A folder with the good files of a parser, which it reads."""
    parser = PARSERS[name]
    whole = folder / f"whole {name}"
    whole.mkdir()
    path = parser.make(whole)
    path = path.with_name(parser.file) if parser.file else path
    MADE[name] = path.relative_to(whole)
    parser.read(path)
    return whole


def reproduced_by(name: str, seed: int, number: int) -> str:
    return f"python tests/test_mutated_files.py --parser {name!r} --seed {seed} --number {number}"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("name", PARSERS)
def test_mutated_files_are_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    whole = make_whole(name, tmp_path)
    for number in range(max(2, round(SUITE_COUNT * PARSERS[name].share))):
        found = fault(name, whole, tmp_path / "mutated", SUITE_SEED, number)
        assert not found, f"{found}\n{reproduced_by(name, SUITE_SEED, number)}"


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--count", type=int, default=100_000, help="mutations, over all parsers")
    options.add_argument("--minutes", type=float, default=math.inf, help="stop after that time")
    options.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    options.add_argument("--parser", choices=list(PARSERS))
    options.add_argument("--number", type=int, help="only this mutation, with its traceback")
    chosen = options.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if chosen.seed is None else chosen.seed
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY + (8 << 30), resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    names = [chosen.parser] if chosen.parser else list(PARSERS)
    with tempfile.TemporaryDirectory() as made:
        whole = {name: make_whole(name, Path(made)) for name in names}
        folder = Path(made) / "mutated"
        if chosen.number is not None:
            print(fault(names[0], whole[names[0]], folder, seed, chosen.number) or "no fault")
            PARSERS[names[0]].read(folder / MADE[names[0]])
            return 0
        print(f"seed {seed}", flush=True)
        begun, done, found = time.monotonic(), 0, Counter[str]()
        taken, slowest = Counter[str](), dict.fromkeys(names, 0.0)
        total = sum(PARSERS[name].share for name in names)
        wanted = {name: math.ceil(chosen.count * PARSERS[name].share / total) for name in names}
        for number in range(max(wanted.values())):
            for name in names:
                if number >= wanted[name] or time.monotonic() - begun > 60 * chosen.minutes:
                    continue
                started = time.monotonic()
                problem = fault(name, whole[name], folder, seed, number)
                slowest[name] = max(slowest[name], time.monotonic() - started)
                done, taken[name] = done + 1, taken[name] + 1
                if problem:
                    kind = f"{name}: {re.sub(r'[0-9]{6,}', 'N', problem)}"
                    found[kind] += 1
                    if found[kind] == 1:
                        print(f"{name}: {problem}\n    {reproduced_by(name, seed, number)}", flush=True)
    for name in names:
        print(f"{name:18} {taken[name]:7,} mutations, the slowest {slowest[name]:.2f} s")
    print(
        f"{done:,} mutations in {time.monotonic() - begun:.0f} s, seed {seed}: {sum(found.values())} faults", flush=True
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
