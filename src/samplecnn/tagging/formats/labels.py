"""Events in the formats of annotation programs: Audacity, Raven, Praat."""

import os

from samplecnn.system.log import one_line
from samplecnn.tagging.events import Event
from samplecnn.tagging.formats.documents import Document
from samplecnn.tagging.tags import Tags


class Audacity(Document):
    """An Audacity label track: start, end, label and score, tab-separated; seconds with 6 decimals."""

    suffix = ".labels.txt"

    def text(self, path: str, tags: Tags) -> str:
        return "".join(
            f"{event.start:.6f}\t{event.end:.6f}\t{one_line(event.label)} {event.score:.2f}\n"
            for event in self.selection.events_of(tags)
        )


class Raven(Document):
    """A Raven selection table: tab-separated, times in seconds from the start of the recording.

    Raven requires a frequency range: it is that of the model's input, up to half its sample rate.
    """

    suffix = ".selections.txt"
    HEADER = (
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
        "Begin Path", "File Offset (s)", "Tag", "Score",
    )  # fmt: skip

    def text(self, path: str, tags: Tags) -> str:
        high = tags.task.sample_rate / 2
        rows = ["\t".join(self.HEADER)]
        for number, event in enumerate(self.selection.events_of(tags), 1):
            times = f"{event.start:.6f}\t{event.end:.6f}"
            name = f"{one_line(os.fspath(path))}\t{event.start:.6f}\t{one_line(event.label)}"
            rows.append(f"{number}\tSpectrogram 1\t1\t{times}\t0.0\t{high:.1f}\t{name}\t{event.score:.6f}")
        return "\n".join(rows) + "\n"


class TextGrid(Document):
    """A Praat TextGrid in its long text format: one tier for each class with events.

    The intervals of a tier cover the recording without gaps; intervals without an event have an empty text.
    """

    suffix = ".TextGrid"

    def text(self, path: str, tags: Tags) -> str:
        tiers: dict[str, list[Event]] = {}
        for event in self.selection.events_of(tags):
            tiers.setdefault(event.label, []).append(event)
        named = tiers or {tags.task.name: []}  # Praat rejects a grid without tiers
        end = repr(tags.seconds)
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
        lines += ["xmin = 0", f"xmax = {end}", "tiers? <exists>", f"size = {len(named)}", "item []:"]
        for number, (label, events) in enumerate(named.items(), 1):
            intervals = _intervals(events, tags.seconds)
            lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(label)}"]
            lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(intervals)}"]
            for count, (first, last, text) in enumerate(intervals, 1):
                lines += [f"        intervals [{count}]:", f"            xmin = {first!r}"]
                lines += [f"            xmax = {last!r}", f"            text = {_quoted(text)}"]
        return "\n".join(lines) + "\n"


def _intervals(events: list[Event], seconds: float) -> list[tuple[float, float, str]]:
    """Consecutive intervals from 0 to the end."""
    intervals: list[tuple[float, float, str]] = []
    position = 0.0
    for event in events:
        if event.start > position:
            intervals.append((position, event.start, ""))
        intervals.append((event.start, event.end, f"{event.label} {event.score:.2f}"))
        position = event.end
    if position < seconds:
        intervals.append((position, seconds, ""))
    return intervals


def _quoted(text: str) -> str:
    doubled = one_line(text).replace('"', '""')
    return f'"{doubled}"'
