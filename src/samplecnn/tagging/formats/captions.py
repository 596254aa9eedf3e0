"""Events as subtitles, shown by video players during playback."""

from samplecnn.system.log import one_line
from samplecnn.tagging.events import Event
from samplecnn.tagging.formats.documents import Document
from samplecnn.tagging.provenance import provenance_lines
from samplecnn.tagging.tags import Tags


class WebVtt(Document):
    """WebVTT (W3C, 2019): one cue per event. In a cue, & and < are markup and "-->" separates times."""

    suffix = ".vtt"
    describes_itself = True

    def text(self, path: str, tags: Tags) -> str:
        notes = [_escaped(line) for line in provenance_lines(self.about)]
        head = "WEBVTT\n\n" + ("NOTE\n" + "\n".join(notes) + "\n\n" if notes else "")
        return head + "".join(
            f"{_time(event.start, '.')} --> {_time(event.end, '.')}\n{_escaped(_caption(event))}\n\n"
            for event in self.selection.events_of(tags)
        )


class Srt(Document):
    """SubRip: numbered cues, with a comma before the milliseconds."""

    suffix = ".srt"

    def text(self, path: str, tags: Tags) -> str:
        return "".join(
            f"{number}\n{_time(event.start, ',')} --> {_time(event.end, ',')}\n{_caption(event)}\n\n"
            for number, event in enumerate(self.selection.events_of(tags), 1)
        )


def _caption(event: Event) -> str:
    return f"{one_line(event.label)} {event.score:.2f}".replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(seconds: float, mark: str) -> str:
    """HH:MM:SS.mmm, with `mark` before the milliseconds."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{mark}{milliseconds:03}"
