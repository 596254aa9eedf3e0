"""The network and its parts. Those that need PyTorch, whose import takes seconds, are imported when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from samplecnn.models.blocks import BLOCKS, CONVERTED_BLOCKS, BlockSpec, without_excitation
from samplecnn.models.config import ModelConfig
from samplecnn.models.fitting import blocks_for_window, config_for_window
from samplecnn.models.spec import NetworkSpec, network_spec

if TYPE_CHECKING:
    from samplecnn.models.samplecnn import SampleCNN, activate

__all__ = [
    "BLOCKS",
    "CONVERTED_BLOCKS",
    "BlockSpec",
    "ModelConfig",
    "NetworkSpec",
    "SampleCNN",
    "activate",
    "blocks_for_window",
    "config_for_window",
    "network_spec",
    "without_excitation",
]


def __getattr__(name: str) -> Any:
    if name in ("SampleCNN", "activate"):
        return getattr(import_module("samplecnn.models.samplecnn"), name)
    raise AttributeError(f"module 'samplecnn.models' has no attribute {name!r}")
