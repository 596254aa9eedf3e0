"""The network and its parts."""

from samplecnn.models.blocks import BLOCKS
from samplecnn.models.samplecnn import ModelConfig, SampleCNN, activate, blocks_for_window

__all__ = ["BLOCKS", "ModelConfig", "SampleCNN", "activate", "blocks_for_window"]
