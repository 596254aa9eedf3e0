"""Engines: fast inference with PyTorch, NumPy or an installed runtime."""

from samplecnn.inference.base import Engine
from samplecnn.inference.registry import ENGINES, PRECISIONS, installed, open_engine

__all__ = ["ENGINES", "PRECISIONS", "Engine", "installed", "open_engine"]
