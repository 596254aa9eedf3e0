"""Sizes of the blocks that the passes process, and the programs they are divided into."""

from dataclasses import dataclass

FRAMES = 16  # frames, or rows, of a tile
MOST_CHANNELS = 128  # of a tile
PROGRAMS = 2048  # about as many as fill a large GPU several times


def power_of_2(n: int) -> int:
    """The smallest power of 2 from n on."""
    return 1 << (n - 1).bit_length()


def channels_of(count: int) -> int:
    """Channels of a tile."""
    return max(min(power_of_2(count), MOST_CHANNELS), 16)


def parts(count: int, size: int) -> int:
    return -(-count // size)


@dataclass(frozen=True)
class Tiles:
    """How [batch, frames, channels] is divided: `blocks` of `loops` tiles of `rows` frames, for each sample.

    Args:
        rows, channels: of a tile.
        loops: tiles of a program.
        blocks: programs along time.
        columns: programs along the channels.
    """

    rows: int
    channels: int
    loops: int
    blocks: int
    columns: int

    @classmethod
    def of(cls, batch: int, frames: int, channels: int) -> "Tiles":
        width = channels_of(channels)
        rows = min(FRAMES * MOST_CHANNELS // width, max(power_of_2(frames), 4))
        columns, tiles = parts(channels, width), parts(frames, rows)
        blocks = min(tiles, max(PROGRAMS // (batch * columns), 1))
        loops = parts(tiles, blocks)
        return cls(rows, width, loops, parts(tiles, loops), columns)
