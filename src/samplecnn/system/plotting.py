"""The look of every picture: a light and a dark theme, colours that all eyes tell apart, sizes, and how to save."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samplecnn.system.files import written_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of pictures and of the HTML report.

    `ink`, `muted`, `link`, `blue` and `orange` have a contrast of 4.5:1 or more on `paper` and on `raised`, as text
    needs (WCAG 2.1, 1.4.3). Blue marks what is right or raises a score, orange what is wrong or lowers it; `over` is
    text on a blue or an orange ground. `grays` is matplotlib's colour map from paper to ink.
    """

    paper: str
    raised: str
    ink: str
    muted: str
    grid: str
    rule: str
    blue: str
    orange: str
    over: str
    link: str
    grays: str


LIGHT = Theme(
    paper="#ffffff", raised="#f5f7f9", ink="#1d2430", muted="#566170", grid="#dde2e8", rule="#c3cad3", blue="#1763a6",
    orange="#b5480f", over="#ffffff", link="#12558f", grays="Greys",
)  # fmt: skip
DARK = Theme(
    paper="#14181e", raised="#1c222a", ink="#e6eaf0", muted="#a3afbd", grid="#2c343f", rule="#434e5c", blue="#62b0f5",
    orange="#f08a4b", over="#0d1116", link="#8cc4f7", grays="Greys_r",
)  # fmt: skip

# For more than two categories: from the palette of Okabe and Ito (2008), told apart with any colour vision.
GREEN, PINK, AMBER = "#009e73", "#cc79a7", "#e69f00"
SEQUENTIAL = "cividis"  # colour map from low to high, the same for all eyes (Nuñez, Anderton, Renslow 2018)

WIDTH = 6.4  # inches: as wide as a phone's screen shows without zooming
DPI = 120
FONT, SMALL, TINY = 10.5, 9.0, 7.0  # points
MAX_SIDE = 60_000  # pixels; a side of a PNG holds fewer than 65,536
MAX_PIXELS = 30e6  # of one picture: 4 bytes each, several times over while it is encoded


def new_figure(
    height: float, width: float = WIDTH, theme: Theme = LIGHT, layout: str | None = "constrained"
) -> "Figure":
    """An empty figure of `width` x `height` inches; a very large one gets fewer pixels per inch.

    Args:
        layout: matplotlib's layout engine; None where axes are placed by hand.
    """
    from matplotlib.figure import Figure

    dpi = min(DPI, MAX_SIDE / max(height, width), math.sqrt(MAX_PIXELS / (height * width)))
    return Figure(figsize=(width, height), dpi=dpi, layout=layout, facecolor=theme.paper)  # type: ignore[arg-type]


def tidy(axes: "Axes", grid: str | None = "y", theme: Theme = LIGHT) -> None:
    """Removes the box around the data; draws a faint grid behind it, along "x", "y", "both" or None."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    if grid:
        axes.grid(axis=grid, color=theme.grid, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def diverging(theme: Theme = LIGHT) -> "Colormap":
    """Colour map for signed values: orange below zero, paper at zero, blue above."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("orange-blue", [theme.orange, theme.paper, theme.blue])


def shorten(name: str, max_length: int) -> str:
    """A name of at most `max_length` characters, cut with an ellipsis."""
    return name if len(name) <= max_length else name[: max_length - 1] + "…"


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Writes a figure in the format of the file's suffix (PNG without one); the file appears when it is complete."""
    path = Path(path)
    with written_aside(path) as aside:
        figure.savefig(aside, format=path.suffix.lstrip(".").lower() or "png", facecolor=figure.get_facecolor())
    return path
