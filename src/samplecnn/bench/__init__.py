"""Benchmarks of samplecnn and other implementations in one run: medians, ratios, and a hardware reference.

A benchmark is a module with two functions and an entry in BENCHMARKS; the module is imported on use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from samplecnn.errors import UsageError

NETWORK = ("block", "multi", "window", "batch_size", "device")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and its options.

    Args:
        about: a short description for the list of benchmarks.
        module: module of this package with the functions `bench_<module>` and `scale_<module>`.
        options: options of `samplecnn bench`, in addition to `rounds`, for both functions.
        peers: options with the interpreter of another implementation; for the comparison only.
        sources: options with existing data; for the comparison only.
        rounds: it is repeated, and can be scaled.
        needs_pytorch: it needs what training needs.
        required: options that must be given.
    """

    about: str
    module: str
    options: tuple[str, ...]
    peers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    rounds: bool = True
    needs_pytorch: bool = True
    required: tuple[str, ...] = ()

    def run(self, given: dict[str, Any], scale: bool = False) -> dict[str, Any]:
        """Runs the benchmark with the given options; all others have the defaults of its functions.

        Args:
            given: options by name.
            scale: measures how time and memory grow with the amount of work, instead of comparing implementations.

        Raises:
            UsageError: an option that the benchmark does not have, or one for the comparison together with `scale`.
        """
        if scale:
            for name in ("tensorflow", "librosa"):
                if name in given:
                    raise UsageError(f"--{name} is for comparisons; --scale measures samplecnn only")
            for name in self.sources:
                if name in given:
                    raise UsageError(f"{self.module} --scale generates data of several sizes; leave out the data set")
        if scale and not self.rounds:
            raise UsageError(f"--scale is for speed; {self.module} measures something else")
        names = (*(("rounds",) if self.rounds else ()), *self.options, *(() if scale else (*self.peers, *self.sources)))
        measure = getattr(
            import_module(f"samplecnn.bench.{self.module}"), f"{'scale' if scale else 'bench'}_{self.module}"
        )
        foreign = [name for name in given if name not in names]
        if foreign:
            raise UsageError(f"samplecnn bench {self.module} has no {' and no '.join(map(_option, foreign))}")
        missing = [name for name in self.required if name not in given]
        if missing:
            raise UsageError(f"samplecnn bench {self.module} needs {' and '.join(map(_option, missing))}")
        measured: dict[str, Any] = measure(**{name: given[name] for name in names if name in given})
        return measured

    def presentation(self, scale: bool) -> tuple[Callable[..., None], Callable[..., None]]:
        """Functions that print what was measured, and draw it into a file."""
        module = "scale" if scale else self.module if not self.rounds else "results"
        place = import_module(f"samplecnn.bench.{module}")
        return (place.print_scale, place.draw_scale) if scale else (place.print_table, place.draw)


def _option(name: str) -> str:
    return name.upper() if name == "dataset" else f"--{name.replace('_', '-')}"


BENCHMARKS = {
    "train": Benchmark("training steps", "train", NETWORK, ("tensorflow",)),
    "infer": Benchmark("probabilities of segments", "infer", NETWORK, ("tensorflow",)),
    "build": Benchmark("recordings into shards, on one core", "build", ("dataset", "data_dir", "clips"), ("librosa",)),
    "load": Benchmark(
        "segments from disk, shuffled",
        "load",
        ("data_dir", "segments", "batch_size", "num_readers"),
        ("tensorflow",),
        ("dataset",),
    ),
    "listen": Benchmark(
        "false alarms and misses of a model that listens",
        "listen",
        (
            "dataset",
            "data_dir",
            "model",
            "without",
            "noise",
            "snr",
            "utterances",
            "target",
            "split",
            "hop",
            "seed",
            "smooth",
            "background_odds",
            "settle",
        ),
        rounds=False,
        required=("dataset", "model", "without"),
        needs_pytorch=False,
    ),
}
