"""The network that fits a window: as many blocks as shorten it to a few frames. Nothing here needs PyTorch."""

from typing import Any, Literal, get_args

from samplecnn.errors import UsageError
from samplecnn.models.config import ModelConfig
from samplecnn.models.logmel import BANDS, LogMel

Frontend = Literal["waveform", "logmel"]


def blocks_for_window(
    window: int,
    block: str = "se",
    pool_size: int | None = None,
    first_size: int | None = None,
    logmel: LogMel | None = None,
) -> int:
    """Blocks that shorten `window` samples to less frames than one more block would pool.

    Args:
        window: samples.
        block, pool_size, first_size, logmel: as in `ModelConfig`.

    Example:
        >>> blocks_for_window(59049), blocks_for_window(22050), blocks_for_window(2**14, pool_size=2)
        (9, 8, 13)
    """
    config = ModelConfig(block, num_blocks=1, pool_size=pool_size, first_size=first_size, logmel=logmel)
    pool = config.kind.pool
    frames, blocks = -(-window // (config.first_samples if logmel is None else logmel.hop)), 0
    while frames >= pool:
        frames, blocks = frames // pool, blocks + 1
    return max(blocks, 1)


def config_for_window(
    window: int, sample_rate: int, *, frontend: Frontend = "waveform", mels: int | None = None, **settings: Any
) -> ModelConfig:
    """A network with as many blocks as a window needs (`blocks_for_window`).

    Args:
        window: samples.
        sample_rate: Hz.
        frontend: "waveform", or "logmel" for log-mel frames at the rate of one of the blocks (`LogMel.near`).
        mels: bands of the log-mel frames; None: 64.
        settings: fields of `ModelConfig` other than `num_blocks` and `logmel`.

    Raises:
        UsageError: a setting outside its range, or a window that is too short.

    Example:
        >>> config = config_for_window(59049, 22050, frontend="logmel", block="basic", num_classes=50)
        >>> config.num_blocks, config.widths, config.logmel.hop
        (5, [256, 256, 256, 256, 512], 243)
    """
    if frontend not in get_args(Frontend):
        raise UsageError(f"front end {frontend!r}: expected {', '.join(get_args(Frontend))}")
    if mels is not None and frontend != "logmel":
        raise UsageError(f"{mels} mels without log-mel frames: add --frontend logmel, or leave them out")
    sizes = {name: settings[name] for name in ("block", "pool_size", "first_size") if name in settings}
    logmel = None
    if frontend == "logmel":
        shape = ModelConfig(num_blocks=1, **sizes)
        logmel = LogMel.near(sample_rate, shape.first_samples, shape.kind.pool, BANDS if mels is None else mels)
    config = ModelConfig(**settings, logmel=logmel, num_blocks=blocks_for_window(window, **sizes, logmel=logmel))
    fewest = config.kind.pool**config.num_blocks
    frames = -(-window // (config.first_samples if logmel is None else logmel.hop))
    if frames < fewest:
        raise UsageError(
            f"a window of {window} samples gives {frames} frames; the network needs {fewest}: use a longer one"
        )
    return config
