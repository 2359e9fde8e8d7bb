"""Colours of napari's theme, for what is drawn to stand in its window."""

from napari.utils.theme import get_theme
from napari.viewer import Viewer

from napari_vdsr.drawing import SERIES, SERIES_ON_DARK, Colours

# Shares of what is behind in labels, and in lines that guide the eye.
PALE, LINE = 0.35, 0.75
RGB = tuple[int, int, int]


def is_dark(colour: RGB) -> bool:
    """Whether white is read on a colour, and not black."""
    red, green, blue = colour
    return 0.3 * red + 0.6 * green + 0.1 * blue < 128


def ink_on_canvas(viewer: Viewer) -> str:
    """Colour that is read on a viewer's canvas."""
    return "white" if is_dark(get_theme(viewer.theme).canvas.as_rgb_tuple()[:3]) else "black"


def colours_of(viewer: Viewer) -> Colours:
    """Colours of figures in a viewer's docks."""
    theme = get_theme(viewer.theme)
    ground, ink = (colour.as_rgb_tuple()[:3] for colour in (theme.background, theme.text))
    return Colours(
        ground=_hex(ground),
        ink=_hex(ink),
        pale=_hex(_mixed(ink, ground, PALE)),
        line=_hex(_mixed(ink, ground, LINE)),
        series=SERIES_ON_DARK if is_dark(ground) else SERIES,
    )


def _mixed(first: RGB, second: RGB, share: float) -> RGB:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
