"""The samples of the waveform that a layer's frames see."""

from dataclasses import dataclass


def same_padding(width: int) -> tuple[int, int]:
    """Zeros before and after that let a convolution of `width` frames keep the length, TensorFlow's "same".

    Example:
        >>> same_padding(3), same_padding(4)
        ((1, 1), (1, 2))
    """
    return (width - 1) // 2, width // 2


@dataclass(frozen=True)
class Reach:
    """The samples that frames see: frame n sees samples `first` + n * `hop` to `first` + n * `hop` + `field`.

    Args:
        field: samples that one frame sees (the receptive field).
        hop: samples from one frame to the next.
        first: sample at which the field of frame 0 begins; below zero it begins in the padding.
    """

    field: int
    hop: int
    first: int

    def conv(self, width: int) -> "Reach":
        """After a convolution of `width` frames that keeps the length."""
        return Reach(self.field + (width - 1) * self.hop, self.hop, self.first - same_padding(width)[0] * self.hop)

    def pool(self, size: int) -> "Reach":
        """After a pooling of `size` frames."""
        return Reach(self.field + (size - 1) * self.hop, size * self.hop, self.first)
