"""Receptive field and hop of a layer, in samples of the waveform."""

from dataclasses import dataclass


def same_padding(width: int) -> tuple[int, int]:
    """Zero padding (before, after) with which a convolution of `width` frames keeps the length: TensorFlow's "same".

    Example:
        >>> same_padding(3), same_padding(4)
        ((1, 1), (1, 2))
    """
    return (width - 1) // 2, width // 2


@dataclass(frozen=True)
class ReceptiveField:
    """Frame n depends on the samples from `first` + n * `hop` to `first` + n * `hop` + `size`.

    Args:
        size: samples that one frame depends on.
        hop: samples from one frame to the next.
        first: sample at which the receptive field of frame 0 begins; a negative value lies in the padding.
    """

    size: int
    hop: int
    first: int

    def conv(self, width: int) -> "ReceptiveField":
        """The receptive field after a convolution of `width` frames that keeps the length."""
        first = self.first - same_padding(width)[0] * self.hop
        return ReceptiveField(self.size + (width - 1) * self.hop, self.hop, first)

    def pool(self, size: int) -> "ReceptiveField":
        """The receptive field after a pooling of `size` frames."""
        return ReceptiveField(self.size + (size - 1) * self.hop, size * self.hop, self.first)
