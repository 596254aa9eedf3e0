"""A trained model on recordings: whole files in, tags out, as a table, JSON, JSON lines or CSV."""

from samplecnn.tagging.embedder import Embedder
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.tags import Tags

__all__ = ["Embedder", "Tagger", "Tags"]
