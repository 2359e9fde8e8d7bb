"""The private metadata of microscopes, where tifffile reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_vdsr.image import Channel
from napari_vdsr.io.metadata import Facts
from napari_vdsr.io.units import to_micrometres, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tifffile import TiffFile


MICROSCOPES = (
    "lsm", "stk", "svs", "ndpi", "scn", "qpi", "bif", "fluoview", "metaseries", "micromanager",
    "mmstack", "ndtiff", "fei", "sem", "sis", "andor", "nih", "scanimage", "tvips", "indica",
    "philips", "avs", "eer", "nuvu", "mediacy",
)  # fmt: skip

LSM_BITS = {2: 12}  # by Zeiss's number of a type of data


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


def vendor_facts(tif: TiffFile) -> Facts:
    """Return what a microscope's own metadata state; empty where there are none.

    Knows the pixel sizes of FEI and Zeiss electron microscopes, Zeiss LSM, Olympus SIS and
    FluoView, MetaMorph STK and MetaSeries, Micro-Manager and Aperio slides, and the channels,
    times and bits of some.
    """
    facts = Facts()
    for name, function in READERS.items():
        if not getattr(tif, f"is_{name}", False):
            continue
        try:
            found = function(tif)
        except Exception:  # unusual metadata end in any: size unknown, pixels fine
            continue
        facts.pixel_size = {a: size for a, size in found.items() if a in "ZYX" and size}
        facts.time_step = found.get("T")
        facts.channels = found.get("channels", ())
        facts.bits = found.get("bits")
        break
    return facts


def _fei(tif: TiffFile) -> dict[str, Any]:
    scan = tif.fei_metadata["Scan"]
    return {axis: to_micrometres(scan[f"Pixel{side}"], "m") for axis, side in _SIDES}


def _zeiss_sem(tif: TiffFile) -> dict[str, Any]:
    _, value, unit = tif.sem_metadata["ap_image_pixel_size"]
    return dict.fromkeys("YX", to_micrometres(value, unit))


def _lsm(tif: TiffFile) -> dict[str, Any]:
    metadata = tif.lsm_metadata
    found: dict[str, Any] = {a: to_micrometres(metadata.get(f"VoxelSize{a}"), "m") for a in "ZYX"}
    found["T"] = to_seconds(metadata.get("TimeIntervall"))
    found["bits"] = _lsm_bits(metadata, tif)
    shown = metadata.get("ChannelColors")
    if isinstance(shown, dict):
        pairs = zip(shown.get("ColorNames", ()), shown.get("Colors", ()), strict=False)
        found["channels"] = tuple(
            Channel(name=str(name).strip() or None, color=_rgb(color)) for name, color in pairs
        )
    return found


def _lsm_bits(metadata: Mapping[str, Any], tif: TiffFile) -> int | None:
    """Return the bits of a count, which lie in 16: those of the channels, else of the file."""
    if metadata.get("DataType") is None or tif.pages.first.dtype != "uint16":
        return None
    scan = metadata.get("ScanInformation")
    tracks = scan.get("Tracks", ()) if isinstance(scan, dict) else ()
    channels = [one for track in tracks for one in track.get("DataChannels", ())]
    stated = {one["BitsPerSample"] for one in channels if one.get("BitsPerSample")}
    if not stated:
        return LSM_BITS.get(metadata["DataType"])
    bits = max(stated)
    return bits if isinstance(bits, int) and 0 < bits < 16 else None


def _rgb(color: Sequence[int]) -> int:
    red, green, blue = (int(value) & 255 for value in color[:3])
    return red << 16 | green << 8 | blue


def _fluoview(tif: TiffFile) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, length, _, step, unit in tif.fluoview_metadata["Dimensions"]:
        if name.upper() in ("X", "Y", "Z") and length > 1:
            found[name.upper()] = to_micrometres(step, unit)
        elif name.upper() in ("T", "TIME") and length > 1:
            found["T"] = to_seconds(step, unit)
    return found


def _metaseries(tif: TiffFile) -> dict[str, Any]:
    plane = tif.metaseries_metadata["PlaneInfo"]
    if not plane.get("spatial-calibration-state", True):
        return {}
    unit = str(plane["spatial-calibration-units"])
    return {a: to_micrometres(plane[f"spatial-calibration-{a.lower()}"], unit) for a in "YX"}


def _micromanager(tif: TiffFile) -> dict[str, Any]:
    summary = tif.micromanager_metadata["Summary"]
    size = summary.get("PixelSize_um", summary.get("PixelSizeUm"))
    found: dict[str, Any] = dict.fromkeys("YX", to_micrometres(size, "um"))
    found["Z"] = to_micrometres(summary.get("z-step_um"), "um")
    found["T"] = to_seconds(summary.get("Interval_ms"), "ms")
    names = summary.get("ChNames")
    if isinstance(names, list):
        found["channels"] = tuple(Channel(name=str(name)) for name in names)
    return found


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
READERS: dict[str, Callable[[TiffFile], dict[str, Any]]] = {
    "fei": _fei, "sem": _zeiss_sem, "lsm": _lsm, "sis": _sis, "stk": _stk, "svs": _svs,
    "fluoview": _fluoview, "metaseries": _metaseries, "micromanager": _micromanager,
}  # fmt: skip
