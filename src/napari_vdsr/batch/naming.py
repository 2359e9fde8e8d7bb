"""What an output is called."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from napari_vdsr.errors import UsageError
from napari_vdsr.goal import Goal
from napari_vdsr.io.vendors.formats import VENDOR_SUFFIXES
from napari_vdsr.io.zarr.folder import is_zarr_folder
from napari_vdsr.options import DEFAULT_MODEL

SUFFIX_OF = {
    "ome-tiff": ".ome.tif",
    "imagej": ".tif",
    "tiff": ".tif",
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "ome-zarr": ".ome.zarr",
}
LONGEST_NAME = 255
FIELDS = ("stem", "ext", "parent", "series", "model", "scale")
# Formats of microscopes and slide scanners, whose axes and sizes OME-TIFF alone holds.
MICROSCOPES = (
    ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".qptiff", ".bif", ".flex", ".hdr", *VENDOR_SUFFIXES
)  # fmt: skip
PICTURES = (".png", ".jpg", ".webp")
KEPT_SUFFIXES = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".png", ".ome.zarr", ".zarr")


@dataclass(frozen=True)
class Naming:
    """How outputs are named.

    Attributes
    ----------
    template : str
        Name without suffix, with {stem}, {ext}, {parent}, {series}, {model} and {scale}.
    format : str or None
        Of the outputs; None keeps each input's own where it can be written.
    model : str
        Name of the model.
    scale : float, tuple of float or Goal
        Along Y and X, or what results shall measure.

    Raises
    ------
    UsageError
        If the template holds an unknown field.
    """

    template: str = "{stem}"
    format: str | None = None
    model: str = DEFAULT_MODEL
    scale: float | tuple[float, float] | Goal = 2

    def __post_init__(self) -> None:
        _check_template(self.template)

    def name_of(self, source: Path, series: int | None = None, *, main: bool = True) -> str:
        """Name of the output of an input.

        Parameters
        ----------
        source : pathlib.Path
            The input.
        series : int, optional
            Number of its image.
        main : bool
            Whether that is its main one; the number of another one is added to the name,
            unless the template has it.

        Raises
        ------
        UsageError
            If the template makes no file name of it.
        """
        stem, suffix = split_suffix(source.name)
        kept = suffix if suffix.lower() in KEPT_SUFFIXES else ".tif"
        if suffix.lower() == ".ozx" or (kept != suffix and is_zarr_folder(source)):
            kept = SUFFIX_OF["ome-zarr"]
        if suffix.lower() in MICROSCOPES:
            kept = SUFFIX_OF["ome-tiff"]
        beside = not main and series is not None and "{series}" not in self.template
        template = self.template + "_series{series}" if beside else self.template
        name = template.format(
            stem=stem,
            ext=suffix.lstrip(".").replace(".", "-"),  # else its end were a suffix of its own
            parent=Path(os.path.abspath(source)).parent.name,
            series=series or 0,
            model=Path(self.model).stem,
            scale=_scale_word(self.scale),
        )
        if not name or Path(name).name != name:
            raise UsageError(
                f"name template {self.template!r} makes {name!r}, which is no file name. "
                "Folders are named apart from it; below the output those of the inputs are "
                "mirrored."
            )
        return name + (SUFFIX_OF[self.format] if self.format else kept)


def beside(target: Path, product: str) -> Path:
    """Name of a product beside its result: that of the result, and the product's.

    It holds floats, which pictures do not.
    """
    stem, suffix = split_suffix(target.name)
    suffix = ".tif" if suffix.lower() in PICTURES else suffix
    return target.with_name(f"{stem}_{product}{suffix}")


def split_suffix(name: str) -> tuple[str, str]:
    """Stem and suffix of a file name, where ``.ome.tif`` and the like are one suffix."""
    for suffix in (".ome.tif", ".ome.tiff", ".ome.zarr", ".nii.gz"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    path = Path(name)
    return path.stem, path.suffix


def longest_name(folder: Path) -> int:
    """Return how many bytes a name in a folder, which need not exist yet, may have."""
    for existing in (folder, *folder.absolute().parents):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.pathconf(existing, "PC_NAME_MAX")
    return LONGEST_NAME


def _scale_word(scale: float | tuple[float, float] | Goal) -> str:
    if isinstance(scale, Goal):
        return str(scale)
    return "x".join(f"{value:g}" for value in (scale if isinstance(scale, tuple) else (scale,)))


def _check_template(template: str) -> None:
    """Raise ``UsageError`` unless a template holds the known fields alone."""
    try:
        fields = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise UsageError(f"name template {template!r} is not understood: {error}.") from error
    for field, form, conversion in fields:
        if field in FIELDS and (form or conversion):
            raise UsageError(
                f"name template {template!r} asks for a form of {field}, by what follows its "
                f"name in the braces; write {{{field}}} alone."
            )
        if field not in FIELDS:
            *most, last = (f"{{{name}}}" for name in FIELDS)
            raise UsageError(
                f"name template {template!r} has the unknown field {field!r}; allowed are "
                f"{', '.join(most)} and {last}."
            )
