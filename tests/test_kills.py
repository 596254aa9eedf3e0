"""build, train, tag and index killed at random moments: the next start finishes the work, with the same result.

As a program it kills more often, and prints what it found:

    python tests/test_kills.py --kills 200 --seed 7
    python tests/test_kills.py --every        # before every file that is opened for writing, renamed or removed
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import samplecnn
from samplecnn.errors import UsageError
from samplecnn.tagging.tag_files import tag_paths

RATE, WINDOW = 8000, 729
RUN = {
    "recipe": "original", "features": 8, "num_stages": 1, "max_epochs": 3, "patience": 3, "batch_size": 6,
    "num_readers": 1, "warmup": 2,
}  # fmt: skip
CHANGES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
SECONDS = 600.0  # for a run that is not killed; it takes a few, on a busy machine many

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def recordings(folder: Path, count: int = 8) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("high", "low"):
        for number in range(count):
            path = folder / "sounds" / kind / f"{number:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            wave = np.sin(np.arange(WINDOW) * (1.5 if kind == "high" else 0.1)) * 0.3
            soundfile.write(path, wave + 0.05 * rng.standard_normal(WINDOW), RATE)
    return folder


class Verb:
    """One kind of work in a folder of its own: `start` begins or continues it, `result` is a digest of what it made."""

    leftovers = ("*.part", "*.part.json", "*.building", "*.old")

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self) -> None:
        raise NotImplementedError

    def result(self) -> str:
        raise NotImplementedError

    def left(self) -> list[str]:
        found = [path for pattern in self.leftovers for path in self.home.rglob(pattern)]
        return sorted(str(path.relative_to(self.home)) for path in found)

    def clear(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()


class Build(Verb):
    def __init__(self, home: Path, sounds: Path) -> None:
        super().__init__(home)
        self.sounds = sounds

    def start(self) -> None:
        samplecnn.build(self.sounds, self.home, workers=1, sample_rate=RATE, window=WINDOW, progress=False)

    def result(self) -> str:
        return digest(self.home.glob("*/arrow/*"))


class Train(Verb):
    def __init__(self, home: Path, data: Path) -> None:
        super().__init__(home)
        self.data = data

    def start(self) -> None:
        runs = sorted(self.home.iterdir())
        if runs and (runs[-1] / "checkpoint.pt").exists():
            try:
                samplecnn.resume(runs[-1], data_dir=self.data)
            except UsageError as error:
                if "finished" not in str(error):
                    raise
            return
        for run in runs:  # killed before its first checkpoint: nothing to resume
            shutil.rmtree(run)
        samplecnn.train("sounds", data_dir=self.data, log_dir=self.home, **RUN)

    def result(self) -> str:
        return digest(self.home.glob("*/model.safetensors"))


class Tag(Verb):
    def __init__(self, home: Path, sounds: Path, model: Path) -> None:
        super().__init__(home)
        self.sounds, self.model = sounds, model

    def start(self) -> None:
        output = self.home / "tags.csv"
        resume = Path(f"{output}.part").exists()
        tag_paths(self.model, [self.sounds], "csv", output, engine="numpy", batch_size=1, resume=resume)

    def result(self) -> str:
        lines = (self.home / "tags.csv").read_text().splitlines()
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


class Index(Verb):
    """Two updates, the second one with more files; parts are so small that there are several."""

    leftovers = ("*.part", "journal-*", "files-*")

    def __init__(self, home: Path, sounds: Path, model: Path) -> None:
        super().__init__(home)
        self.sounds, self.model = sounds, model

    def start(self) -> None:
        from samplecnn.index import new_files, update_index

        new_files.PART_BYTES = 4000
        options = {"engine": "numpy", "precision": "fp32", "batch_size": 1}
        for paths in ([self.sounds / "high"], [self.sounds / "low", self.sounds / "high"]):
            update_index(self.home / "sounds.index", self.model, paths, **options)

    def result(self) -> str:
        """All that the index holds of every file, without the numbers of its parts."""
        from samplecnn.index import read_index

        index, whole = read_index(self.home / "sounds.index"), hashlib.sha256()
        for row, path in enumerate(index.paths):
            facts = {
                name: value for name, value in index.facts(row).items() if name not in ("recording", "part", "row")
            }
            tags = index.outcome(row)
            whole.update(f"{path}{facts}".encode() + index.scores[row].tobytes())
            whole.update(tags.over_time.tobytes() + index.embedding_records(row).tobytes())  # type: ignore[union-attr]
        return whole.hexdigest()


def digest(paths: "object") -> str:
    whole = hashlib.sha256()
    for path in sorted(paths):  # type: ignore[call-overload]
        whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()


def begin(work: Callable[[], None], log: Path) -> int:
    """Runs in a copy of this process, which has the imports done; returns its id."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        torch.set_num_threads(1)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def finish(process: int, seconds: float) -> int | None:
    """The exit status of a process; None where it is killed because it takes longer."""
    end = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.002)


def complete(verb: Verb, log: Path) -> list[str]:
    """Starts the work, or continues it, and lets it finish. Returns what was wrong."""
    status = finish(begin(verb.start, log), SECONDS)
    return [] if status == 0 else [f"the next start ends with {status}: {log.read_text(errors='replace')[-500:]}"]


def differences(verb: Verb, wanted: str) -> list[str]:
    """What finished work made that it should not have."""
    changed = [] if verb.result() == wanted else ["another result than without a kill"]
    return changed + ([f"leftovers: {verb.left()}"] if verb.left() else [])


def attack(verb: Verb, kills: int, rng: random.Random, log: Path) -> tuple[int, list[str]]:
    """Kills until `kills` have hit; after some of them the work is left to finish. Returns kills and what was wrong."""
    verb.clear()
    started = time.monotonic()
    faults = complete(verb, log)
    usual = time.monotonic() - started
    wanted = verb.result()
    verb.clear()
    done = 0
    while done < kills and len(faults) < 20:
        if finish(begin(verb.start, log), rng.uniform(0, usual)) is None:
            done += 1
            if rng.random() < 0.5:
                continue  # killed again where it continues
            faults += complete(verb, log)
        faults += differences(verb, wanted)
        verb.clear()
    faults += complete(verb, log)
    if verb.left():
        faults.append(f"leftovers: {verb.left()}")
    return done, faults


def killed_before(number: int, work: Callable[[], None], home: Path) -> Callable[[], None]:
    """`work` that kills its process before it changes the file system below `home` for the `number`-th time, from 0."""

    def run() -> None:
        process, seen = os.getpid(), 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event not in CHANGES or os.getpid() != process:
                return
            if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                return
            paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
            # shutil.rmtree gives names that are relative to the handle of a folder.
            if any(path.startswith(str(home)) or not os.path.isabs(path) for path in paths):  # noqa: PTH117
                if seen == number:
                    os.kill(process, signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        work()

    return run


def attack_everywhere(verb: Verb, log: Path, step: int = 1) -> tuple[int, list[str]]:
    """Kills before each, or each step-th, change of the file system. Returns the number of kills and what was wrong."""
    verb.clear()
    faults = complete(verb, log)
    wanted = verb.result()
    verb.clear()
    number = 0
    while len(faults) < 20:
        if finish(begin(killed_before(number, verb.start, verb.home), log), SECONDS) != -signal.SIGKILL:
            break
        faults += [f"{number}: {fault}" for fault in complete(verb, log) or differences(verb, wanted)]
        verb.clear()
        number += step
    return number // step, faults


def verbs_in(folder: Path) -> list[Verb]:
    """The kinds of work, on data and a model that are made here, in processes of their own."""
    import matplotlib.figure  # noqa: F401 - once, and not in each of the processes
    import torch.utils.tensorboard  # noqa: F401

    import samplecnn.training.loop  # noqa: F401

    recordings(folder)
    data, log = folder / "data", folder / "log"
    log.mkdir()
    made = [Build(folder / "build", folder / "sounds"), Train(folder / "train", data)]
    build = Build(data, folder / "sounds")
    for place in (*made, build):
        place.home.mkdir()
    for work in (build.start, Train(log, data).start):
        assert finish(begin(work, folder / "log.txt"), SECONDS) == 0, (folder / "log.txt").read_text()
    [model] = log.iterdir()
    for name in ("tag", "index"):
        (folder / name).mkdir()
    sounds = folder / "sounds"
    return [*made, Tag(folder / "tag", sounds, model), Index(folder / "index", sounds, model)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_work_is_finished_by_the_next_start(tmp_path: Path) -> None:
    rng = random.Random(20190424)
    for verb in verbs_in(tmp_path):
        done, faults = attack(verb, 1, rng, tmp_path / "log.txt")
        assert done == 1 and not faults, (type(verb).__name__, faults)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_build_killed_before_a_change_of_files_is_finished_by_the_next(tmp_path: Path) -> None:
    recordings(tmp_path, 3)
    build = Build(tmp_path / "build", tmp_path / "sounds")
    build.home.mkdir()
    done, faults = attack_everywhere(build, tmp_path / "log.txt", step=4)
    assert done > 5 and not faults, faults


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--kills", type=int, default=200, help="over all verbs")
    options.add_argument("--every", action="store_true", help="kill everywhere, in place of at random")
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--verb", default="", help="only this one: Build, Train, Tag, Index")
    chosen = options.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if chosen.seed is None else chosen.seed
    rng, wrong = random.Random(seed), 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        verbs = [verb for verb in verbs_in(Path(folder)) if chosen.verb in ("", type(verb).__name__)]
        for verb in verbs:
            log = Path(folder) / "log.txt"
            if chosen.every:
                done, faults = attack_everywhere(verb, log)
            else:
                done, faults = attack(verb, -(-chosen.kills // len(verbs)), rng, log)
            wrong += len(faults)
            print(f"{type(verb).__name__}: {done} kills, {len(faults)} faults", *faults[:5], sep="\n    ", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
