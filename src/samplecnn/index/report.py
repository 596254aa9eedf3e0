"""The outcome of an update of an index, for people and programs."""

from dataclasses import dataclass, field

from samplecnn.recordings import counted
from samplecnn.tagging.report import MAX_LISTED_FILES, TagReport

COUNTS = ("new", "changed", "moved", "copies", "touched", "restored", "deleted", "unchanged")


@dataclass
class UpdateReport:
    """What an update found, as numbers of files, and the outcome of those that were run through the model.

    Args:
        new, changed: run through the model.
        moved: under another path than before, with the same content.
        copies: with the content of another file, whose scores they share.
        touched: only the time of modification has changed.
        restored: had been deleted, and are there again.
        deleted: not there any more.
        unchanged: as they were; `failed` of them cannot be used.
        tagged: failures and warnings of those that were run: their numbers, and the first of each kind. The index has
            the error of every file.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    copies: int = 0
    touched: int = 0
    restored: int = 0
    deleted: int = 0
    unchanged: int = 0
    failed: int = 0
    tagged: TagReport = field(default_factory=lambda: TagReport(limit=MAX_LISTED_FILES))

    def summary(self) -> str:
        """The counts in a line, without those that are 0."""
        return ", ".join(f"{getattr(self, name):,} {name}" for name in COUNTS if getattr(self, name)) or "no files"

    def lines(self) -> list[str]:
        """Warnings and failures to print, a line each."""
        lines = self.tagged.lines()
        if self.failed:
            files = counted(self.failed, "unchanged file", "unchanged files")
            lines.append(f"{files} could not be tagged before: `index tags --errors` lists them, --retry tries again")
        return lines
