"""What an index holds, for `samplecnn index info`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samplecnn.index.reader import Index
from samplecnn.recordings import counted


@dataclass(frozen=True)
class IndexDescription:
    """An index in numbers.

    Args:
        index: its folder.
        files: that are there; `failed` of them cannot be used.
        deleted: that were gone at the last update.
        hours: of sound.
        windows: of the files that are there.
        bytes: of the folder.
        bytes_per_10_minutes: of sound; None where there is none.
        model, model_sha256, task, classes, sample_rate, precision, hop: hop in seconds.
        embedding, embedding_size: layer, and values of a vector.
        accept_truncated: damaged recordings are tagged as far as they can be decoded.
        roots: files and folders that updates search.
        made_by: provenance of the last update that ran the model.
    """

    index: str
    files: int
    failed: int
    deleted: int
    hours: float
    windows: int
    bytes: int
    bytes_per_10_minutes: float | None
    model: str
    model_sha256: str
    task: str
    classes: list[str]
    sample_rate: int
    precision: str
    hop: float
    embedding: str
    embedding_size: int
    accept_truncated: bool
    roots: list[str]
    made_by: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "index", **asdict(self)}

    def lines(self) -> list[str]:
        """Human-readable lines."""
        failed = f", of which {self.failed:,} cannot be used (`index tags --errors`)" if self.failed else ""
        deleted = f"; {self.deleted:,} more are marked as deleted" if self.deleted else ""
        size = f"{self.bytes / 1e6:,.1f} MB"
        if self.bytes_per_10_minutes is not None:
            size += f", {self.bytes_per_10_minutes / 1e6:.2f} MB for 10 minutes of sound"
        engine = self.made_by.get("engine", "")
        version = self.made_by.get("samplecnn", "")
        lines = [
            f"index      {self.index}",
            f"files      {self.files:,}{failed}{deleted}",
            f"sound      {self.hours:,.2f} h in {counted(self.windows, 'window', 'windows')}, {self.hop:g} s apart",
            f"size       {size}",
            f"model      {self.model} (SHA-256 {self.model_sha256[:12]}), task {self.task}, "
            f"{len(self.classes)} classes, {self.sample_rate:,} Hz, {self.precision}",
            f"embedding  {self.embedding}, {self.embedding_size} values",
            f"updated    from {', '.join(self.roots)}",
        ]
        if version:
            lines.append(f"made by    samplecnn {version}, engine {engine}, {self.made_by.get('decoder', '')}")
        return lines


def describe_index(path: str | Path) -> IndexDescription:
    """Describes an index.

    Raises:
        UsageError: the folder is no index, or is damaged.
    """
    index = Index(path)
    settings, there = index.settings, ~index.deleted
    seconds = float(np.nansum(index.table["seconds"].to_numpy()[there].astype(np.float64)))
    size = sum(file.stat().st_size for file in index.folder.iterdir() if file.is_file())
    return IndexDescription(
        index=str(path),
        files=int(there.sum()),
        failed=int((there & index.failed).sum()),
        deleted=int(index.deleted.sum()),
        hours=seconds / 3600,
        windows=int(index.table["windows"].to_numpy()[there].sum()),
        bytes=size,
        bytes_per_10_minutes=size / seconds * 600 if seconds else None,
        model=settings.model,
        model_sha256=settings.model_sha256,
        task=settings.task.name,
        classes=list(settings.task.classes),
        sample_rate=settings.task.sample_rate,
        precision=settings.precision,
        hop=settings.hop_samples / settings.task.sample_rate,
        embedding=settings.embedding,
        embedding_size=settings.embedding_size,
        accept_truncated=settings.accept_truncated,
        roots=list(settings.roots),
        made_by=settings.made_by,
    )
