"""What a run of `prepare` did, and what the data set then holds."""

from dataclasses import dataclass, field
from pathlib import Path

from samplecnn.datasets.info import describe_source
from samplecnn.datasets.registry import REGISTRY, Source
from samplecnn.errors import SampleCNNError


@dataclass
class PrepareReport:
    """What a run of `prepare` did and what the data set then holds.

    Args:
        name: of the data set.
        raw: the data set's folder.
        licence: of the data set, and the paper to cite.
        downloaded: files that this run downloaded.
        unpacked: files that this run took out of each archive.
        sizes: clips per split by the label files; empty where not counted.
        expected: clips per split that the original has.
        missing: clips whose recording is absent, with some of their paths in `examples`.
        problem: why the labels could not be read.
        notes: what else a user should know.
    """

    name: str
    raw: Path
    licence: str = ""
    downloaded: list[str] = field(default_factory=list)
    unpacked: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    examples: list[str] = field(default_factory=list)
    problem: str = ""
    notes: list[str] = field(default_factory=list)

    def count(self) -> None:
        """Fills in what the label files say: the sizes of the splits, and the recordings that are absent."""
        if self.name not in REGISTRY:
            return
        self.problem = ""
        try:
            info = describe_source(Source(self.name, self.raw, REGISTRY[self.name]))
        except SampleCNNError as error:
            self.problem = str(error)
            return
        self.sizes, self.missing, self.examples = dict(info.clips), info.missing, list(info.missing_examples)

    @property
    def nothing_to_do(self) -> bool:
        return not self.downloaded and not self.unpacked

    @property
    def complete(self) -> bool:
        """Whether every clip is there and the splits have the sizes of the original."""
        return (
            not self.problem
            and not self.missing
            and (not self.sizes or not self.expected or self.sizes == self.expected)
        )

    def text(self) -> str:
        """The report for a terminal, several lines."""
        lines = [f"downloaded {len(self.downloaded)} files"] if self.downloaded else []
        lines += [f"unpacked {archive}: {count:,} files" for archive, count in self.unpacked.items()]
        lines += self.notes
        for split, expected in (self.expected or self.sizes).items():
            if self.sizes:
                count = self.sizes.get(split, 0)
                of = "" if count == expected else f", but the original has {expected:,}"
                lines.append(f"{split}: {count:,} clips{of}")
        if self.missing:
            lines.append(f"{self.missing:,} recordings are missing, for example {', '.join(self.examples)}")
        if self.problem:
            lines.append(self.problem)
        if not self.complete:
            lines.append("run the same command with --again to download the archives of what is missing")
        state = "is ready" if self.complete else "is not complete"
        done = " (there was nothing to do)" if self.nothing_to_do and self.complete else ""
        lines.append(f"{self.raw} {state}{done}")
        return "\n".join(lines)
