"""The network and its parts."""

from samplecnn.models.blocks import BLOCKS, RELATIVES
from samplecnn.models.samplecnn import ModelConfig, SampleCNN, activate, blocks_for_window

__all__ = ["BLOCKS", "RELATIVES", "ModelConfig", "SampleCNN", "activate", "blocks_for_window"]
