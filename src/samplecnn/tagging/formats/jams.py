"""Events as JAMS (Humphrey et al., ISMIR 2014; version 0.3): JSON for music annotations."""

from pathlib import PurePath

from samplecnn import __version__
from samplecnn.system.log import json_text
from samplecnn.tagging.formats.documents import Document
from samplecnn.tagging.tags import Tags
from samplecnn.tagging.writers import DIGITS

JAMS_VERSION = "0.3.5"


class Jams(Document):
    """An annotation in the namespace tag_open: one observation per event, with its score as confidence."""

    suffix = ".jams"
    describes_itself = True

    def text(self, path: str, tags: Tags) -> str:
        observations = [
            {
                "time": round(event.start, DIGITS),
                "duration": round(event.end - event.start, DIGITS),
                "value": event.label,
                "confidence": round(event.score, DIGITS),
            }
            for event in self.selection.events_of(tags)
        ]
        seconds = round(tags.seconds, DIGITS)
        tools = f"samplecnn {__version__}"
        annotation = {
            "annotation_metadata": {
                "curator": {"name": "", "email": ""},
                "annotator": {},
                "version": "",
                "corpus": "",
                "annotation_tools": tools,
                "annotation_rules": "",
                "validation": "",
                "data_source": "program",
            },
            "namespace": "tag_open",
            "data": observations,
            "sandbox": self.about,
            "time": 0,
            "duration": seconds,
        }
        title = PurePath(path).name.encode("utf-8", "backslashreplace").decode()
        metadata = {
            "title": title, "artist": "", "release": "", "duration": seconds, "identifiers": {},
            "jams_version": JAMS_VERSION,
        }  # fmt: skip
        document = {"annotations": [annotation], "file_metadata": metadata, "sandbox": {}}
        return json_text(document, indent=1) + "\n"
