"""matplotlib's pictures inside the page: a light and a dark one each, and the browser shows what suits the reader."""

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.analysis.plots.explanation import DARK, LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
GREY, DEEP = 0.12, 0.45  # a colour's parts lie closer together than this; all are below this
COLOURS = 192  # of a picture's palette: drawings need few


def picture(light: "Figure", alt: str, dark: "Figure | None" = None, dpi: float = DPI) -> str:
    """A figure as an element of the page.

    Args:
        light: drawn for a white page; it is recoloured for the dark one where there is no `dark`.
        alt: what it shows, for those who do not see it.
    """
    of_light, width, height = png(light, dpi)
    if dark is None:
        darken(light)
    of_dark = png(dark or light, dpi)[0]
    return (
        f'<div class="wide"><picture><source media="(prefers-color-scheme: dark)" srcset="{of_dark}">'
        f'<img src="{of_light}" alt="{escape(alt, quote=True)}" width="{width}" height="{height}"></picture></div>'
    )


def png(figure: "Figure", dpi: float = DPI) -> tuple[str, int, int]:
    """A figure as a data URI, and its width and height in pixels."""
    from PIL import Image

    memory, small = io.BytesIO(), io.BytesIO()
    figure.savefig(memory, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    image = Image.open(memory).convert("RGB")
    # median cut over a drawing keeps its flat colours; a dither would only add noise for the packer
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}", *image.size


def darken(figure: "Figure") -> None:
    """Turns a figure drawn for white paper into one for dark: ink becomes light, paper dark, colours stay."""
    from matplotlib.collections import Collection
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    def turned(colour: Any) -> Any:
        found = _turned(colour)
        return None if found is None else to_hex(found)

    for artist in figure.findobj():
        if isinstance(artist, Text):
            _replace(artist.get_color(), artist.set_color, turned)
        elif isinstance(artist, Line2D):
            _replace(artist.get_color(), artist.set_color, turned)
            for part in ("markerfacecolor", "markeredgecolor"):
                _replace(getattr(artist, f"get_{part}")(), getattr(artist, f"set_{part}"), turned)
        elif isinstance(artist, Patch):
            face: Any = artist.get_facecolor()
            edge: Any = artist.get_edgecolor()
            if face[3]:
                _replace(face, lambda colour, on=artist, alpha=face[3]: on.set_facecolor((colour, alpha)), turned)
            if edge[3]:
                _replace(edge, lambda colour, on=artist, alpha=edge[3]: on.set_edgecolor((colour, alpha)), turned)
        elif isinstance(artist, Collection) and artist.get_array() is None:
            for part in ("facecolor", "edgecolor"):
                colours = np.atleast_2d(getattr(artist, f"get_{part}")())
                if colours.size:
                    new = [(*(_turned(row) or row[:3]), row[3]) for row in colours]
                    getattr(artist, f"set_{part}")(new)


def _replace(colour: Any, put: Any, turned: Any) -> None:
    if isinstance(colour, str) and colour in ("none", "None", "auto"):
        return
    new = turned(colour)
    if new is not None:
        put(new)


def _turned(colour: Any) -> tuple[float, float, float] | None:
    """The dark page's colour for a grey or a deep colour; None for one that stands out from either page."""
    from matplotlib.colors import to_rgb

    own = np.array(to_rgb(colour if isinstance(colour, str) else tuple(colour)[:3]))
    dark, light = np.array(to_rgb(DARK.paper)), np.array(to_rgb(DARK.ink))
    if own.max() - own.min() <= GREY:
        mixed = light + (dark - light) * own.mean()  # white becomes the dark paper, black the light ink
    elif own.max() < DEEP:
        mixed = (own + light) / 2
    else:
        return None
    red, green, blue = mixed.tolist()
    return red, green, blue


def table(head: Iterable[str], rows: Iterable[Iterable[str]], caption: str, numbers: bool = True) -> str:
    """A table with a head; the first cell of a row names it. Cells are HTML already."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(f'<th scope="row">{cell}</th>' if not place else f"<td>{cell}</td>" for place, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    kind = ' class="numbers"' if numbers else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table{kind}>'
        f"<caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


PAPER = {"light": LIGHT.paper, "dark": DARK.paper}
