"""Benchmarks of samplecnn and other implementations in one run: medians, ratios, and a hardware reference.

A benchmark is a module with two functions and an entry in BENCHMARKS; the module is imported on use.
"""

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
    """

    about: str
    module: str
    options: tuple[str, ...]
    peers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def run(self, given: dict[str, Any], scale: bool = False) -> dict[str, Any]:
        """Runs the benchmark with those of the given options that it has.

        Args:
            given: options by name.
            scale: measures how time and memory grow with the amount of work, instead of comparing implementations.

        Raises:
            UsageError: an option for the comparison together with `scale`.
        """
        if scale:
            for name in ("tensorflow", "librosa"):
                if name in given:
                    raise UsageError(f"--{name} is for comparisons; --scale measures samplecnn only")
            for name in self.sources:
                if name in given:
                    raise UsageError(f"{self.module} --scale generates data of several sizes; leave out the data set")
        names = ("rounds", *self.options, *(() if scale else (*self.peers, *self.sources)))
        measure = getattr(
            import_module(f"samplecnn.bench.{self.module}"), f"{'scale' if scale else 'bench'}_{self.module}"
        )
        measured: dict[str, Any] = measure(**{name: given[name] for name in names if name in given})
        return measured


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
}
