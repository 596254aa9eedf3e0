"""Tags in sound files: fields are written by mutagen, the sound stays as it is, and every change can be undone."""

from samplecnn.file_tags.fields import FIELDS, read_fields
from samplecnn.file_tags.journal import Change, read_changes
from samplecnn.file_tags.payload import sound_digest
from samplecnn.file_tags.write import undo_changes, write_fields

__all__ = ["FIELDS", "Change", "read_changes", "read_fields", "sound_digest", "undo_changes", "write_fields"]
