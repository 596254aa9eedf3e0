"""The summary of a run of `samplecnn tag`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from samplecnn.errors import AudioError
from samplecnn.tagging.writers import Outcome, reason

MAX_SHOWN_MESSAGES = 3  # decoder messages shown per file
MAX_LISTED_FILES = 10  # files listed in a message


LISTS = ("failed", "silent", "kept", "cancelled")


@dataclass
class TagReport:
    """Summary of a run.

    Args:
        files: their number.
        failed: files that could not be used, each with the reason.
        silent: files with only silence.
        kept: files that were tagged only in part, each with the extent.
        cancelled: files whose channels cancel in their mean.
        messages: of the decoders, by the names of the files that were being read.
        limit: entries that each of the four lists keeps; None: all. `counts` has the number of all of them.
    """

    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)
    limit: int | None = None
    counts: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = Counter({name: len(getattr(self, name)) for name in LISTS})

    def add(self, path: str, outcome: Outcome) -> None:
        self.files += 1
        if isinstance(outcome, AudioError):
            self._list("failed", (path, reason(path, outcome)))
            return
        if outcome.remarks.cancels:
            self._list("cancelled", path)
        elif outcome.silent:
            self._list("silent", path)
        if outcome.remarks.missing:
            self._list("kept", (path, outcome.remarks.kept))

    def _list(self, name: str, entry: Any) -> None:
        self.counts[name] += 1
        entries = getattr(self, name)
        if self.limit is None or len(entries) < self.limit:
            entries.append(entry)

    def lines(self) -> list[str]:
        """Warnings and failures to print."""
        lines, counts = [], self.counts
        if self.silent:
            names = _join_limited(self.silent, ", ", counts["silent"])
            lines.append(
                f"warning: {counted(counts['silent'], 'file')} with only silence, so the tags are meaningless: {names}"
            )
        if self.cancelled:
            names = _join_limited(self.cancelled, ", ", counts["cancelled"])
            count = counted(counts["cancelled"], "file")
            lines.append(f"warning: {count} with channels that cancel in their mean: {names}")
        if self.kept:
            named = _join_limited([f"{path}: {why}" for path, why in self.kept], "\n  ", counts["kept"])
            lines.append(f"warning: {counted(counts['kept'], 'file')} tagged only in part:\n  {named}")
        if self.messages:
            shown = [
                f"{names or 'unknown'}: {'; '.join(found[:MAX_SHOWN_MESSAGES])}"
                for names, found in self.messages.items()
            ]
            lines.append("warning: decoder messages:\n  " + _join_limited(shown, "\n  ", len(shown)))
        if self.failed:
            named = _join_limited([f"{path}: {why}" for path, why in self.failed], "\n  ", counts["failed"])
            lines.append(f"{counts['failed']:,} of {counted(self.files, 'file')} could not be tagged:\n  {named}")
        return lines


def counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _join_limited(items: list[str], separator: str, count: int) -> str:
    """The first items, of `count` in all."""
    shown = items[:MAX_LISTED_FILES]
    more = [f"and {count - len(shown):,} more"] if count > len(shown) else []
    return separator.join([*shown, *more])
