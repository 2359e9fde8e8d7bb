"""Figures in files: matplotlib without pyplot, which would keep them and pick a GUI."""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_vdsr.atomic import write_whole
from napari_vdsr.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INK, PALE, LINE = "#1a1a1a", "#6b6b6b", "#d9d9d9"
ACCENT = "#e8590c"
FORMATS = (".png", ".pdf", ".svg")
# Colours that readers with any colour vision can tell apart (Okabe and Ito), and those of them
# that are seen on black.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9")
SERIES_ON_DARK = ("#56b4e9", "#e69f00", "#1fbf92", "#cc79a7", "#f0e442")


@dataclass(frozen=True)
class Colours:
    """What a figure is drawn in; by default as on paper.

    Attributes
    ----------
    ground, ink, pale, line : str
        Of what is behind all, of titles, of labels, and of what guides the eye.
    series : tuple of str
        Of curves, one after another.
    """

    ground: str = "white"
    ink: str = INK
    pale: str = PALE
    line: str = LINE
    series: tuple[str, ...] = SERIES


PAPER = Colours()
# matplotlib's settings are those of the whole process.
_styling = threading.RLock()


@contextmanager
def styled(colours: Colours = PAPER) -> Iterator[None]:
    """Have figures drawn in the style of all of ours, by one thread at a time."""
    import matplotlib

    style = {
        "font.size": 9,
        "text.color": colours.ink,
        "axes.facecolor": colours.ground,
        "axes.edgecolor": colours.line,
        "axes.labelcolor": colours.pale,
        "axes.labelsize": 8.5,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "xtick.color": colours.pale,
        "ytick.color": colours.pale,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "svg.hashsalt": "napari-vdsr",
    }
    with _styling, matplotlib.rc_context(style), warnings.catch_warnings():
        # A name may be in a script of which no font is installed: boxes say so once.
        warnings.filterwarnings("ignore", r"Glyph \d+")
        yield


def check_matplotlib() -> None:
    """Raise ``MissingExtraError`` unless matplotlib, and what places names in it, is installed."""
    try:
        import matplotlib.figure  # noqa: F401
        import textalloc  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"figures need {error.name}, which is not installed. "
            'Run: pip install "napari-vdsr[train]"'
        ) from error


def new_figure(width: float, height: float, *, colours: Colours = PAPER, **options: Any) -> Any:
    """Make an empty ``matplotlib.figure.Figure``, `width` by `height` inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor=colours.ground, **options)
    FigureCanvasAgg(figure)
    return figure


def check_format(path: Path) -> None:
    """Raise ``UsageError`` unless figures can be written under this suffix."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a figure's name must end in one of {', '.join(FORMATS)}.")


def save_figure(figure: Any, path: Path, *, title: str, dpi: int) -> None:
    """Write a figure, whole or not at all; what is there is replaced.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        From `new_figure`.
    path : pathlib.Path
        PNG, PDF or SVG by its suffix.
    title : str
        Kept in the file's metadata.
    dpi : int
        Dots per inch.
    """
    content = io.BytesIO()
    form = path.suffix[1:].lower()
    figure.savefig(content, format=form, dpi=dpi, metadata={"Title": title})
    write_whole(path, content.getvalue())
