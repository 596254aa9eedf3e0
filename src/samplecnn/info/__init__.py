"""What is known of a model, a data set, a recording or this machine, as data and as lines of text."""

from samplecnn.info.target import Info, describe

__all__ = ["Info", "describe"]
