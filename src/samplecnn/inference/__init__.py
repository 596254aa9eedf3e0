"""Engines: a trained network run as fast as this machine can, by PyTorch or by a runtime that is installed."""

from samplecnn.inference.base import Engine
from samplecnn.inference.registry import ENGINES, PRECISIONS, installed, open_engine

__all__ = ["ENGINES", "PRECISIONS", "Engine", "installed", "open_engine"]
