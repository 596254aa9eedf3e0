"""Contenders measured in turn, round after round, so that whatever else the machine does hits all of them alike."""

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.errors import SampleCNNError
from samplecnn.system.progress import Progress

TURN = 2.0  # seconds a turn on a CPU lasts at least: so what else the machine does hits short work as it hits long


@dataclass
class Contender:
    """Something to measure.

    Args:
        name: for people.
        run: does the work once and returns how many units it did.
        ours: whether it is samplecnn's own.
        rates: measured so far, units a second.
    """

    name: str
    run: Callable[[], int]
    ours: bool = False
    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "ours": self.ours, "median": self.median, "rates": self.rates}


class Peer:
    """A contender in a process of its own, with another interpreter if need be.

    The program prints a line when it is ready; for every line on its stdin it does the work once and prints a JSON
    object with `units`. It is timed from here, as everything is.
    """

    def __init__(self, python: str | Path, program: Path, *arguments: object) -> None:
        command = [str(python), str(program), *map(str, arguments)]
        self.name = program.stem
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.about = self._answer()

    def __call__(self) -> int:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return int(self._answer()["units"])

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout and self.process.stderr
        line = self.process.stdout.readline()
        if not line:
            last = self.process.stderr.read().strip().splitlines()[-1:] or ["no message"]
            raise SampleCNNError(f"{self.name}: its process ended ({last[0]})")
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def measure(
    contenders: Sequence[Contender],
    rounds: int,
    title: str,
    limit: Callable[[], float] | None = None,
    seconds: float = 0.0,
) -> float:
    """Adds `rounds` rates to every contender, after one round that warms up; each round begins with another one.

    A contender's turn is its work once, or as often as it takes until `seconds` are over. Returns the median of
    `limit`, which is measured in every round too: what the hardware does changes as all else.
    """
    limits = [0.0] if limit is None else []
    with Progress(total=(rounds + 1) * len(contenders), description=title, unit="runs") as bar:
        for number in range(rounds + 1):
            shift = number % len(contenders)
            for contender in [*contenders[shift:], *contenders[:shift]]:
                began, units = time.perf_counter(), 0
                while True:
                    units += contender.run()
                    taken = time.perf_counter() - began
                    if taken >= seconds:
                        break
                if number > 0:
                    contender.rates.append(units / taken)
                bar.advance(note=f"{contender.name} {units / taken:,.0f}/s")
            if limit is not None:
                limits.append(limit())
    return statistics.median(limits)


def copy_rate(size: int = 64 << 20, times: int = 9) -> float:
    """Bytes a second that one core copies from memory to memory: the median of `times`."""
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    rates = []
    for _ in range(times):
        began = time.perf_counter()
        np.copyto(target, source)
        rates.append(size / (time.perf_counter() - began))
    return statistics.median(rates)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    from samplecnn import __version__

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "cpu": name,
        "cores": torch.get_num_threads(),
        "samplecnn": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
