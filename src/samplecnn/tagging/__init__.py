"""Tagging of recordings with a trained model, and its output formats."""

from samplecnn.tagging.embedder import Embedder
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.tags import Tags

__all__ = ["Embedder", "Tagger", "Tags"]
