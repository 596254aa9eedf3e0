"""Measures contenders in turn, round after round, so that other load on the machine affects all of them equally."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from samplecnn.bench import peers
from samplecnn.system.cpu import cpu_name
from samplecnn.system.progress import Progress

MIN_TURN_SECONDS = 2.0  # on a CPU: short work is then affected by other load as much as long work


@dataclass
class Contender:
    """Something to measure.

    Args:
        name: displayed name.
        run: does the work once and returns the number of completed units.
        ours: whether it is part of samplecnn.
        rates: rates measured so far, units per second.
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


class Comparison(ExitStack):
    """The contenders of one benchmark with their environment; closing it ends the processes of other programs.

    Args:
        bench: the benchmark's name, as on the command line.
        unit: unit of the rates, such as "segments/s".

    Attributes:
        contenders: the contenders to measure.
        machine: hardware and versions, including those of other programs.
        left_out: one line for each contender that cannot run here, with the reason.
    """

    def __init__(self, bench: str, unit: str) -> None:
        super().__init__()
        self.bench, self.unit = bench, unit
        self.contenders: list[Contender] = []
        self.machine = machine()
        self.left_out: list[str] = []

    def __enter__(self) -> Self:
        return self

    def add(self, name: str, run: Callable[[], int], ours: bool = False) -> None:
        self.contenders.append(Contender(name, run, ours))

    def add_peer(self, name: str, python: str | Path, program: str, *arguments: object) -> None:
        """Starts `program` of benchmarks/peers with another interpreter; it is skipped without a source checkout."""
        path = peers.PROGRAMS / program
        if not path.exists():
            self.left_out.append(f"{name}: needs benchmarks/peers/{program} of a source checkout")
            return
        peer = peers.Peer(python, path, *arguments)
        self.callback(peer.close)
        self.machine |= peer.about
        self.add(name, peer)

    def measure(self, rounds: int, limit: Callable[[], float] | None = None, seconds: float = 0.0) -> float:
        """See `measure`."""
        return measure(self.contenders, rounds, f"bench {self.bench}", limit, seconds)

    def result(self, limit: dict[str, Any], settings: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The result for JSON: unit, contenders with all rates, limit, skipped contenders, machine, settings.

        Args:
            limit: the hardware reference: its description (`what`) and its `rate` in the same unit.
            settings: the benchmark's settings.
            more: further keys.
        """
        return {
            "bench": self.bench,
            "unit": self.unit,
            "contenders": [contender.to_dict() for contender in self.contenders],
            "limit": limit,
            "left_out": self.left_out,
            **more,
            "machine": self.machine,
            "settings": settings,
        }


def measure(
    contenders: Sequence[Contender],
    rounds: int,
    title: str,
    limit: Callable[[], float] | None = None,
    seconds: float = 0.0,
) -> float:
    """Adds `rounds` rates to each contender, after one warm-up round; the order rotates from round to round.

    In its turn a contender does its work at least once and for at least `seconds`. Returns the median of `limit`, which
    is measured in every round too, because the speed of the hardware varies as well.
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
    """Bytes per second that one core copies from memory to memory: the median of `times`."""
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    rates = []
    for _ in range(times):
        began = time.perf_counter()
        np.copyto(target, source)
        rates.append(size / (time.perf_counter() - began))
    return statistics.median(rates)


def machine() -> dict[str, Any]:
    """Hardware and versions of a measurement."""
    import torch

    from samplecnn import __version__

    return {
        "cpu": cpu_name(),
        "cores": torch.get_num_threads(),
        "samplecnn": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
