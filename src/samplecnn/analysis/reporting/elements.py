"""Elements of the page: tables, and matplotlib figures, embedded in a light and a dark version."""

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from samplecnn.system.log import one_line
from samplecnn.system.plotting import DARK, LIGHT, use_available_fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_DPI = 110  # resolution of embedded pictures
GREY = 0.12  # maximum difference between the channels of a grey
DEEP = 0.45  # maximum channel of a colour that is too dark for the dark page
COLOURS = 192  # size of a picture's palette: drawings need few colours


def escape(text: str, quote: bool = True) -> str:
    """A text as HTML: names are plain text, and control characters in them, also those of direction, are shown."""
    return html.escape(one_line(text), quote)


def picture(light: "Figure", alt: str, dark: "Figure | None" = None) -> str:
    """A figure as an element of the page.

    Args:
        light: the figure for a white page; it is recoloured for the dark one if `dark` is not given.
        alt: the text alternative.
        dark: the same figure for a dark page.
    """
    light_uri, width, height = png(light)
    if dark is None:
        darken(light)
    dark_uri = png(dark or light)[0]
    return (
        f'<div class="wide"><picture><source media="(prefers-color-scheme: dark)" srcset="{dark_uri}">'
        f'<img src="{light_uri}" alt="{escape(alt, quote=True)}" width="{width}" height="{height}"></picture></div>'
    )


def png(figure: "Figure", dpi: float = MAX_DPI) -> tuple[str, int, int]:
    """A figure as a data URI, and its width and height in pixels."""
    from PIL import Image

    use_available_fonts(figure)
    memory, small = io.BytesIO(), io.BytesIO()
    figure.savefig(memory, format="png", dpi=min(dpi, figure.dpi), facecolor=figure.get_facecolor())
    image = Image.open(memory).convert("RGB")
    # Median cut keeps the flat colours of a drawing; dithering would only add noise, which does not compress.
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}", *image.size


def darken(figure: "Figure") -> None:
    """Recolours a figure for a dark page: black becomes light and white dark, the theme's blue and orange become those
    of the dark theme, other colours are kept."""
    from matplotlib.collections import Collection
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    def recoloured(colour: Any) -> Any:
        found = _dark_colour(colour)
        return None if found is None else to_hex(found)

    for artist in figure.findobj():
        if isinstance(artist, Text):
            _replace(artist.get_color(), artist.set_color, recoloured)
        elif isinstance(artist, Line2D):
            _replace(artist.get_color(), artist.set_color, recoloured)
            for part in ("markerfacecolor", "markeredgecolor"):
                _replace(getattr(artist, f"get_{part}")(), getattr(artist, f"set_{part}"), recoloured)
        elif isinstance(artist, Patch):
            face: Any = artist.get_facecolor()
            edge: Any = artist.get_edgecolor()
            if face[3]:
                _replace(face, lambda colour, on=artist, alpha=face[3]: on.set_facecolor((colour, alpha)), recoloured)
            if edge[3]:
                _replace(edge, lambda colour, on=artist, alpha=edge[3]: on.set_edgecolor((colour, alpha)), recoloured)
        elif isinstance(artist, Collection) and artist.get_array() is None:
            for part in ("facecolor", "edgecolor"):
                colours = np.atleast_2d(getattr(artist, f"get_{part}")())
                if colours.size:
                    new = [(*(_dark_colour(row) or row[:3]), row[3]) for row in colours]
                    getattr(artist, f"set_{part}")(new)


def _replace(colour: Any, setter: Any, recoloured: Any) -> None:
    if isinstance(colour, str) and colour in ("none", "None", "auto"):
        return
    new = recoloured(colour)
    if new is not None:
        setter(new)


def _dark_colour(colour: Any) -> tuple[float, float, float] | None:
    """The colour on the dark page for one on the light page; None for a colour that is visible on both."""
    from matplotlib.colors import to_hex, to_rgb

    rgb = to_rgb(colour if isinstance(colour, str) else tuple(colour)[:3])
    named = {LIGHT.blue: DARK.blue, LIGHT.orange: DARK.orange}.get(to_hex(rgb))
    if named is not None:
        return to_rgb(named)
    own, paper, ink = np.array(rgb), np.array(to_rgb(DARK.paper)), np.array(to_rgb(DARK.ink))
    if own.max() - own.min() <= GREY:
        mixed = ink + (paper - ink) * own.mean()  # white becomes the dark paper, black the light ink
    elif own.max() < DEEP:
        mixed = (own + ink) / 2
    else:
        return None
    red, green, blue = mixed.tolist()
    return red, green, blue


def table(head: Iterable[str], rows: Iterable[Iterable[str]], caption: str, numbers: bool = True) -> str:
    """A table; the first cell of every row is its heading. Cells are HTML, not escaped again."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if not column else f"<td>{cell}</td>" for column, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    kind = ' class="numbers"' if numbers else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table{kind}>'
        f"<caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )
