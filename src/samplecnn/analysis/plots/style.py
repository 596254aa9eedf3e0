"""One look for all pictures: light, made for a phone's width, and told apart by people who see few colours."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samplecnn.system.files import written_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any colour vision; yellow left out, which is faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
BLUE, ORANGE, GREEN, GREY, FAINT = COLOURS[0], COLOURS[1], COLOURS[2], "#8a949e", "#e3e6ea"
HEAT, TWO_SIDED = "cividis", "PuOr_r"  # made for all eyes
WIDTH = 6.4  # inches, 120 pixels each
DPI = 120
FONT, SMALL = 10.5, 9.0
TALLEST = 60000  # pixels: a side of a PNG holds fewer than 65,536


def new_figure(height: float, width: float = WIDTH) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=min(DPI, TALLEST / max(height, width)), layout="constrained")


def tidy(axes: "Axes", grid: str | None = "y") -> None:
    """Few lines: no box, a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def kilohertz_ticks(top: float, scale: str) -> tuple[list[float], list[str]]:
    """Ticks of a frequency axis up to `top` Hz, with labels in kHz."""
    if scale == "mel":
        ticks = [f for f in (100, 300, 1000, 2000, 3000, 5000, 8000, 12000, 16000, 24000) if f <= top]
    else:
        step = next(s for s in (100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000) if top / s <= 6)
        ticks = list(np.arange(0, top + 1, step))
    return [float(f) for f in ticks], [f"{f / 1000:g}" for f in ticks]


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Writes a picture in the format of its name's ending; it appears when it is whole."""
    path = Path(path)
    with written_aside(path) as aside:
        figure.savefig(aside, format=path.suffix.lstrip(".") or "png", facecolor="white")
    return path
