"""The Keras `.h5` files of the original code: what can be represented, reading and writing."""

from samplecnn.models.blocks import CONVERTED_BLOCKS
from samplecnn.models.config import ModelConfig


def unsupported(config: ModelConfig) -> str | None:
    """What of an architecture the original's Keras network cannot represent; None where it can represent all of it.

    A training run ends by writing an .h5, so it asks this before it starts.

    Example:
        >>> from samplecnn.interop import keras
        >>> from samplecnn.models.config import ModelConfig
        >>> keras.unsupported(ModelConfig(block="rese2", multi=True)) is None
        True
        >>> keras.unsupported(ModelConfig(block="rese2-wide"))
        'its block rese2-wide'
    """
    if config.logmel is not None:
        return "its log-mel frames"
    if config.block in CONVERTED_BLOCKS:
        return f"its block {config.block}"
    if config.tail:
        return "its layer between the last block and the head"
    return "its first convolution, centred on the samples" if config.first_padding == "centred" else None
