"""An index of a collection: every recording is run through a model once, and whatever is asked later needs no sound."""

from samplecnn.index.reader import Index, read_index
from samplecnn.index.update import update_index

__all__ = ["Index", "read_index", "update_index"]
