"""Receptive field and hop of a layer, in samples of the waveform."""

from dataclasses import dataclass


def same_padding(width: int, stride: int = 1) -> tuple[int, int]:
    """Zero padding (before, after) with which a convolution of `width` frames gives a frame for every `stride` frames.

    Without a stride it keeps the length: TensorFlow's "same". With one, frame n lies about the frames that max-pooling
    would look at, n * stride to (n + 1) * stride, and frames left over at the end get none, as in max-pooling.

    Args:
        width: at least `stride`.
        stride: frames from one frame of the result to the next.

    Example:
        >>> same_padding(3), same_padding(4), same_padding(3, 3), same_padding(5, 2)
        ((1, 1), (1, 2), (0, 0), (1, 2))
    """
    total = width - stride
    return total // 2, total - total // 2


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

    def conv(self, width: int, stride: int = 1) -> "ReceptiveField":
        """The receptive field after a convolution of `width` frames, padded as `same_padding` says."""
        first = self.first - same_padding(width, stride)[0] * self.hop
        return ReceptiveField(self.size + (width - 1) * self.hop, stride * self.hop, first)

    def pool(self, size: int) -> "ReceptiveField":
        """The receptive field after a pooling of `size` frames."""
        return ReceptiveField(self.size + (size - 1) * self.hop, size * self.hop, self.first)
