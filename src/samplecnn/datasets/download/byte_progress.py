"""A progress line that counts bytes and shows whole megabytes."""

from samplecnn.system.progress import Progress

MEGABYTE = 1_000_000  # bytes, as disks and servers count


class ByteProgress(Progress):
    """`Progress` over a known number of bytes.

    Args:
        description: what is shown in front of the bar.
        total: bytes; 0 where unknown.
        done: bytes that an earlier run has finished; they do not count towards the rate.
    """

    def __init__(self, description: str, total: int, done: int = 0) -> None:
        super().__init__(total // MEGABYTE, description, "MB", done=done // MEGABYTE)

    def __enter__(self) -> "ByteProgress":
        super().__enter__()
        return self

    def set_total(self, total: int) -> None:
        """Corrects the total, in bytes."""
        self.total = total // MEGABYTE

    def move_to(self, count: int, note: str | None = None) -> None:
        """Shows `count` bytes as done; fewer than before where a download restarted."""
        whole = count // MEGABYTE
        if whole < self.done:
            self.done = self.start_at = whole
        elif whole > self.done:
            self.advance(whole - self.done, note)


def in_units(count: int) -> str:
    """Bytes for messages: "12 MB", and below 10 MB the exact number."""
    return f"{count / MEGABYTE:,.0f} MB" if count >= 10 * MEGABYTE else f"{count:,} bytes"
