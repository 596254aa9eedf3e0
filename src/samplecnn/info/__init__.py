"""Descriptions of models, data sets, recordings and this machine, as data and as lines of text."""

from samplecnn.info.target import Info, describe

__all__ = ["Info", "describe"]
