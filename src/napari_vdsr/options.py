"""What a user decides about upscaling, held in one place and checked once.

Light to import: the command line and the widget know by it what there is to choose.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import ImageDataError, UsageError
from napari_vdsr.showing import got

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_vdsr.image import Image
    from napari_vdsr.nodata import Nodata
    from napari_vdsr.normalize import Normalization

# By name: the model that doors take where none is named.
DEFAULT_MODEL = "lite"

RESULT, RESIDUAL, CONSISTENCY, SPREAD = "result", "residual", "consistency", "spread"
# What there is beside the result.
PRODUCTS = (RESIDUAL, CONSISTENCY, SPREAD)

# What is free where models are measured: the protocol fixes intensities, and whole images.
MEASURING = ("device", "precision", "self_ensemble")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an image is upscaled.

    Attributes
    ----------
    device : str
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    precision : str
        "auto", "float32", "bf16" or "fp16".
    tile : int or (int, int), optional
        Output rows and columns of one task. By default as large as is fast, or as
        `max_memory` allows. It never changes the result.
    max_memory : int, optional
        Bytes that the tasks of one tile may take.
    normalize : str or (float, float)
        See ``napari_vdsr.normalize.measure``.
    fill : float, optional
        Replaces NaN and infinity before upscaling; without it they are an error.
    nodata : float, "auto" or None
        Value of pixels where nothing was measured, possibly NaN; "auto" for ``image.nodata``,
        None if every pixel is a measurement. They count in no range, nothing is interpolated
        from them, and the result has them where the nearest source pixel is one.
    self_ensemble : bool
        Mean of the network's results on all 8 flips and rotations: 0.05 to 0.2 dB
        better, 8 times the work.
    products : tuple of str
        What is made beside the result, of `PRODUCTS`; see ``napari_vdsr.products``.

    Raises
    ------
    UsageError
        If one of them is wrong for any image.
    """

    device: str = "auto"
    precision: str = "auto"
    tile: int | tuple[int, int] | None = None
    max_memory: int | None = None
    normalize: str | tuple[float, float] | Normalization = "auto"
    fill: float | None = None
    nodata: Nodata = "auto"
    self_ensemble: bool = False
    products: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        # What checks these imports SciPy and dask, which takes a while: only where it must.
        if isinstance(self.normalize, str | tuple) and self.normalize != "auto":
            from napari_vdsr.normalize import check_mode

            check_mode(self.normalize)
        if self.tile is not None and not _is_tile(self.tile):
            raise UsageError(
                f"tile is {got(self.tile)}; it must be a whole number of pixels, at least 1, or "
                "two for rows and columns."
            )
        if self.fill is not None and not _is_finite(self.fill):
            raise UsageError(f"NaN would be filled with {got(self.fill)}; pass a number.")
        if self.nodata != "auto":
            from napari_vdsr.nodata import check_nodata

            check_nodata(self.nodata, self.fill)
        object.__setattr__(self, "products", checked_products(self.products))

    @property
    def turns(self) -> int:
        """How many times the network runs on each pixel."""
        return 8 if self.self_ensemble or SPREAD in self.products else 1

    def decisive(self) -> dict[str, Any]:
        """Those of them that decide the result's pixels, but for the precision that is found.

        Numbers and text, as JSON has them.
        """
        found: dict[str, Any] = {"normalize": self.normalize, "fill": self.fill}
        if self.self_ensemble:
            found["self_ensemble"] = True
        if self.nodata != "auto":
            from napari_vdsr.nodata import written

            found["nodata"] = "none" if self.nodata is None else written(self.nodata)
        return found

    def check_measuring(self) -> None:
        """Raise ``UsageError`` if options are set that are fixed where models are measured."""
        for field in fields(self):
            if field.name not in MEASURING and getattr(self, field.name) != field.default:
                raise UsageError(
                    f"{field.name} is fixed for figures of the protocol; what can be set is "
                    f"{', '.join(MEASURING)}."
                )

    def check_image(self, image: Image) -> None:
        """Raise ``ImageDataError`` if products are asked for of labels."""
        if image.labels and self.products:
            raise ImageDataError(
                f"image {image.name!r} holds labels, which are enlarged without the network: "
                f"there is no {' or '.join(self.products)} of them. Ask for the result alone."
            )


def checked_products(names: Sequence[str]) -> tuple[str, ...]:
    """Products, each once.

    Raises
    ------
    UsageError
        If there is no such product.
    """
    unknown = [name for name in names if name not in PRODUCTS]
    if unknown or isinstance(names, str):
        wrong = names if isinstance(names, str) else unknown[0]
        raise UsageError(f"there is no product {wrong!r}; allowed are {', '.join(PRODUCTS)}.")
    return tuple(name for name in PRODUCTS if name in names)


def _plain(value: Any) -> Any:
    """Value as JSON could have it, where it is NumPy's; what holds several is a tuple."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _is_tile(value: object) -> bool:
    sides = value if isinstance(value, tuple) else (value, value)
    return len(sides) == 2 and all(isinstance(side, int) and side >= 1 for side in sides)


def _is_finite(value: object) -> bool:
    # Compared rather than asked, which overflows for huge integers.
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


DEFAULTS = Options()
