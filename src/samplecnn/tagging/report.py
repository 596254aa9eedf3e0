"""The summary of a run of `samplecnn tag`."""

from dataclasses import dataclass, field

from samplecnn.errors import AudioError
from samplecnn.tagging.writers import Outcome, reason

MAX_SHOWN_MESSAGES = 3  # decoder messages shown per file
MAX_LISTED_FILES = 10  # files listed in a message


@dataclass
class TagReport:
    """Summary of a run: the number of files; those that failed, with the reason; those that are silent, tagged only in
    part (`kept`, with the extent), or whose channels cancel in their mean (`cancelled`); and the decoders' messages, by
    the names of the files that were being read.
    """

    files: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    messages: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, outcome: Outcome) -> None:
        self.files += 1
        if isinstance(outcome, AudioError):
            self.failed.append((path, reason(path, outcome)))
            return
        if outcome.remarks.cancels:
            self.cancelled.append(path)
        elif outcome.silent:
            self.silent.append(path)
        if outcome.remarks.missing:
            self.kept.append((path, outcome.remarks.kept))

    def lines(self) -> list[str]:
        """Warnings and failures to print."""
        lines = []
        if self.silent:
            names = _join_limited(self.silent, ", ")
            lines.append(
                f"warning: {counted(len(self.silent), 'file')} with only silence, so the tags are meaningless: {names}"
            )
        if self.cancelled:
            names = _join_limited(self.cancelled, ", ")
            count = counted(len(self.cancelled), "file")
            lines.append(f"warning: {count} with channels that cancel in their mean: {names}")
        if self.kept:
            named = _join_limited([f"{path}: {why}" for path, why in self.kept], "\n  ")
            lines.append(f"warning: {counted(len(self.kept), 'file')} tagged only in part:\n  {named}")
        if self.messages:
            shown = [
                f"{names or 'unknown'}: {'; '.join(found[:MAX_SHOWN_MESSAGES])}"
                for names, found in self.messages.items()
            ]
            lines.append("warning: decoder messages:\n  " + _join_limited(shown, "\n  "))
        if self.failed:
            named = _join_limited([f"{path}: {why}" for path, why in self.failed], "\n  ")
            lines.append(f"{len(self.failed):,} of {counted(self.files, 'file')} could not be tagged:\n  {named}")
        return lines


def counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def _join_limited(items: list[str], separator: str) -> str:
    more = [f"and {len(items) - MAX_LISTED_FILES:,} more"] if len(items) > MAX_LISTED_FILES else []
    return separator.join([*items[:MAX_LISTED_FILES], *more])
