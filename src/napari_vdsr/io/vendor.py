"""Pixel sizes in the private metadata of microscopes, where tifffile reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdsr.io.units import to_micrometres

if TYPE_CHECKING:
    from tifffile import TiffFile


MICROSCOPES = (
    "lsm", "stk", "svs", "ndpi", "scn", "qpi", "bif", "fluoview", "metaseries", "micromanager",
    "mmstack", "ndtiff", "fei", "sem", "sis", "andor", "nih", "scanimage", "tvips", "indica",
    "philips", "avs", "eer", "nuvu", "mediacy",
)  # fmt: skip


def content_format(tif: TiffFile, kind: str, ome: bool) -> str:
    """Return the format of ``napari_vdsr.io.write`` that a TIFF file's content calls for.

    What microscopes write has axes, sizes and channels that only OME-TIFF holds for others
    to read.

    Parameters
    ----------
    tif : tifffile.TiffFile
        The file.
    kind : str
        tifffile's name for how its pages make up the image.
    ome : bool
        Whether OME-XML describes it.
    """
    if ome:
        return "ome-tiff"
    if kind == "imagej":
        return "imagej"
    known = any(getattr(tif, f"is_{name}", False) for name in MICROSCOPES)
    return "ome-tiff" if known and kind != "shaped" else "tiff"


def vendor_pixel_size(tif: TiffFile) -> dict[str, float]:
    """Return the pixel size in micrometres that a microscope's own metadata states.

    Knows FEI and Zeiss electron microscopes, Zeiss LSM, Olympus SIS, MetaMorph STK,
    and Aperio slides. Empty where there is none.
    """
    for flag, function in (
        ("is_fei", _fei),
        ("is_sem", _zeiss_sem),
        ("is_lsm", _lsm),
        ("is_sis", _sis),
        ("is_stk", _stk),
        ("is_svs", _svs),
    ):
        if getattr(tif, flag, False):
            try:
                found = function(tif)
            except (AttributeError, KeyError, TypeError, ValueError, IndexError):
                return {}  # unusual metadata: the size is unknown, the pixels are fine
            return {axis: size for axis, size in found.items() if size is not None}
    return {}


def _fei(tif: TiffFile) -> dict[str, Any]:
    scan = tif.fei_metadata["Scan"]
    return {axis: to_micrometres(scan[f"Pixel{side}"], "m") for axis, side in _SIDES}


def _zeiss_sem(tif: TiffFile) -> dict[str, Any]:
    _, value, unit = tif.sem_metadata["ap_image_pixel_size"]
    return dict.fromkeys("YX", to_micrometres(value, unit))


def _lsm(tif: TiffFile) -> dict[str, Any]:
    return {a: to_micrometres(tif.lsm_metadata[f"VoxelSize{a}"], "m") for a in "ZYX"}


def _sis(tif: TiffFile) -> dict[str, Any]:
    metadata = tif.sis_metadata
    return {a: to_micrometres(metadata[f"pixelsize{a.lower()}"], "m") for a in "YX"}


def _stk(tif: TiffFile) -> dict[str, Any]:
    metadata = tif.stk_metadata
    unit = metadata["CalibrationUnits"]
    return {a: to_micrometres(metadata[f"{a}Calibration"], unit) for a in "YX"}


def _svs(tif: TiffFile) -> dict[str, Any]:
    text = tif.pages.first.description
    entries = dict(e.split("=", 1) for e in text.split("|") if "=" in e)
    size = {k.strip(): v for k, v in entries.items()}["MPP"]
    return dict.fromkeys("YX", to_micrometres(size, "um"))


_SIDES = (("X", "Width"), ("Y", "Height"))
