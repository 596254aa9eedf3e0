"""Style of all plots: a light and a dark theme, a colour-blind-safe palette, sizes, and saving."""

import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from samplecnn.system.files import write_bytes

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

# For more than two categories: from the palette of Okabe and Ito (2008), distinguishable with any colour vision.
GREEN, PINK, AMBER = "#009e73", "#cc79a7", "#e69f00"
SEQUENTIAL = (
    "cividis"  # colour map from low to high, perceived equally with any colour vision (Nuñez, Anderton, Renslow 2018)
)

WIDTH = 6.4  # inches: as wide as a phone's screen shows without zooming
DPI = 120
FONT, SMALL, TINY = 10.5, 9.0, 7.0  # points
MAX_SIDE = 60_000  # pixels; a side of a PNG holds fewer than 65,536
MAX_PIXELS = 30e6  # per plot: 4 bytes each, several copies while it is encoded


def new_figure(
    height: float, width: float = WIDTH, theme: Theme = LIGHT, layout: str | None = "constrained"
) -> "Figure":
    """An empty figure of `width` x `height` inches; a very large one gets fewer pixels per inch.

    Args:
        layout: matplotlib's layout engine; None if axes are placed manually.
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
    """A name for a picture: at most `max_length` characters, cut with an ellipsis, and `drawable`."""
    return drawable(name if len(name) <= max_length else name[: max_length - 1] + "…")


def drawable(text: str) -> str:
    """Text whose characters some installed font has; others become their code point, such as <9AD8>.

    Without this, matplotlib draws the same box for every character that no font has.
    """
    missing = _missing(text)
    if missing:
        missing -= {character for font in _fallback_fonts(missing) for character in missing & _characters(font)}
    return "".join(f"<{ord(one):04X}>" if one in missing else one for one in text)


def use_available_fonts(figure: "Figure") -> None:
    """Adds installed fonts to a figure's texts where the default font lacks characters; call it before saving."""
    from matplotlib import rcParams
    from matplotlib.font_manager import get_font
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    missing = _missing("".join(text.get_text() for text in texts))  # type: ignore[attr-defined]
    families = [get_font(path).family_name for path in _fallback_fonts(missing)] if missing else []
    if families:
        for text in texts:
            text.set_fontfamily([*rcParams["font.family"], *families])  # type: ignore[attr-defined]


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Writes a figure in the format of the file's suffix (PNG without one); the file appears when it is complete."""
    path = Path(path)
    use_available_fonts(figure)
    memory = io.BytesIO()
    figure.savefig(memory, format=path.suffix.lstrip(".").lower() or "png", facecolor=figure.get_facecolor())
    write_bytes(path, memory.getbuffer())
    return path


def _missing(text: str) -> frozenset[str]:
    """The characters that matplotlib's default font does not have."""
    if text.isascii():
        return frozenset()
    from matplotlib.font_manager import FontProperties, findfont

    return frozenset(one for one in text if not one.isspace()) - _characters(findfont(FontProperties()))


@cache
def _fallback_fonts(missing: frozenset[str]) -> tuple[str, ...]:
    """Paths of installed fonts that together have as many of the missing characters as any; few of them."""
    from matplotlib.font_manager import fontManager

    chosen: list[str] = []
    for entry in sorted(fontManager.ttflist, key=lambda font: (font.style != "normal", str(font.weight) != "400")):
        if "LastResort" in entry.fname:  # matplotlib's own: it has every character, as a box
            continue
        found = missing & _characters(entry.fname)
        if found:
            chosen.append(entry.fname)
            missing -= found
        if not missing:
            break
    return tuple(chosen)


@cache
def _characters(path: str) -> frozenset[str]:
    """The characters that a font has; empty for a file that cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
