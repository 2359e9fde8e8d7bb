"""Which reader a file belongs to."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.io.choice import SeriesInfo
from napari_vdsr.io.failure import failure, reading
from napari_vdsr.io.pictures.netpbm import MAGIC as NETPBM_MAGIC
from napari_vdsr.io.pictures.netpbm import read_netpbm
from napari_vdsr.io.pictures.raster import picture_provenance, read_picture
from napari_vdsr.io.remote import fetched, is_one_file, is_remote
from napari_vdsr.io.tiff.ome_document import companion, is_ome
from napari_vdsr.io.tiff.read import list_tiff, read_tiff_levels, tiff_provenance
from napari_vdsr.io.vendors.formats import HEAD_BYTES, VENDOR_SUFFIXES, vendor_of
from napari_vdsr.io.vendors.held import list_vendor, read_vendor
from napari_vdsr.io.zarr.folder import is_zarr
from napari_vdsr.showing import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_vdsr.image import Image
    from napari_vdsr.nodata import Nodata

TIFF_SUFFIXES = (
    ".tif", ".tiff", ".btf", ".tf2", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".scn", ".qptiff",
    ".bif", ".gel", ".flex", ".dng",
)  # fmt: skip
PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".dib", ".gif", ".pbm", ".pgm", ".ppm", ".pnm",
    ".pam", ".pfm", ".webp", ".jp2",
)  # fmt: skip
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, *PICTURE_SUFFIXES, *VENDOR_SUFFIXES, ".ozx")
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
RASTER_MAGIC = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF", b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)  # fmt: skip
# Files of one image: what they begin with, and what reads them.
PICTURES: tuple[tuple[tuple[bytes, ...], Callable[..., Image]], ...] = (
    (NETPBM_MAGIC, read_netpbm),
    (RASTER_MAGIC, read_picture),
)
PICTURE_MAGIC = tuple(begins for magic, _ in PICTURES for begins in magic)


def is_image_file(path: str | Path) -> bool:
    """Say whether a file's suffix is one that `read_image` knows."""
    return Path(path).suffix.lower() in IMAGE_SUFFIXES or is_packed_nifti(path)


def is_packed_nifti(path: str | Path) -> bool:
    """Say whether a file's suffix is the double one of NIfTI."""
    return Path(path).stem != ".nii" and Path(path).name.lower().endswith(".nii.gz")


def read_image(
    path: str | Path,
    *,
    axes: str | None = None,
    series: int | None = None,
    partial: bool = False,
    nodata: Nodata = "auto",
    labels: bool | None = None,
) -> Image:
    """Read an image file lazily.

    No file stays open: a chunk opens the file when it is computed. The array can be
    pickled, and a file that changed in the meantime is noticed.

    Parameters
    ----------
    path : str or Path
        TIFF of any kind (OME-TIFF, ImageJ, BigTIFF, LSM, STK, SVS...), PNG, JPEG, BMP, GIF,
        PBM, PGM, PPM, PAM, PFM, WebP or JPEG 2000, and by extras CZI, ND2, LIF, DICOM or NIfTI,
        recognised by content; or an OME-Zarr, as
        a folder or in one file (``.ozx``); or an address that fsspec knows (``https://``,
        ``s3://``). Of an OME-Zarr there, what is needed is fetched; another file is copied
        to a temporary folder, where it stays until the process ends.
    axes : str, optional
        Letters for the dimensions as the file stores them, such as ``"ZYX"``; the
        default is what the file says.
    series : int, optional
        Which of several images in a file, by its number in `list_series`; the default is
        the main one: that with most pixels among those that have pixels in this file and
        are no thumbnail, label, macro, map, reduced copy or mask, the first of equals. Of
        a pyramid the full resolution is read.
    partial : bool
        Whether to take what is there of an image that is not whole: a cut-off stack, a
        stopped acquisition, a set of files that are not all there. Along one axis, the
        longest run of frames or slices without gaps is read; if that would leave out more
        than half of the planes that are there, all are, and missing ones filled with 0 (or
        the file's value for "no data"). Notes say which are missing.
    nodata : float, "auto" or None
        Value of the pixels where nothing was measured, possibly NaN; "auto" for what the
        file declares, None if every pixel is a measurement.
    labels : bool, optional
        Whether pixels are the numbers of objects, as in a segmentation; by default what the
        file declares, as OME-Zarr, NIfTI and DICOM can.

    Returns
    -------
    Image
        With a dask array in chunks of about 16 MiB where the file's layout allows, of
        one plane at most. Its ``notes`` say how ambiguous axes were read, which other
        images there are, and what of the metadata was left aside.

    Raises
    ------
    ImageFileError
        If the file cannot be read as an image, or is not whole and `partial` is not
        asked for; computing a chunk can raise it, too.
    AxesError
        If `axes` does not fit the file's dimensions.
    UsageError
        If the file has no such series.
    MissingExtraError
        If the format needs a library that is not installed.

    Notes
    -----
    Y and X come last, before colour samples. Samples that are neither RGB nor RGBA are
    channels. A stack that the file does not name is read as frames (T), a second one as
    depth (Z); in ImageJ files the first is depth, as in ImageJ.

    The pixel size is what OME-XML, ImageJ, tifffile's JSON or a microscope's own metadata
    state. The resolution tags of other TIFF files count only if they are in inches or
    centimetres and no usual print or screen resolution. A PNG or JPEG never has one.

    Indices of a palette are kept as intensities if its luminance rises or falls all
    along, as a display's does; other palettes are replaced by their colours.

    Values are as stored, with one exception: grey and colours of less than 8 bits get the
    whole range of 8, so that white is 255.
    """
    levels = read_levels(
        path, axes=axes, series=series, partial=partial, nodata=nodata, labels=labels
    )
    return levels[0]


def read_levels(
    path: str | Path,
    *,
    axes: str | None = None,
    series: int | None = None,
    partial: bool = False,
    nodata: Nodata = "auto",
    labels: bool | None = None,
) -> list[Image]:
    """Read an image at every size that its file holds, lazily.

    Parameters
    ----------
    path, axes, series, partial, nodata, labels
        See `read_image`.

    Returns
    -------
    list of Image
        The whole image first, as `read_image` gives it; the others of a pyramid are
        smaller and have no metadata.
    """
    file = os.fspath(path)
    if is_remote(file) and is_one_file(file):
        copy = os.fspath(fetched(file, again=True))
        with _naming(file, copy):
            levels = read_levels(
                copy, axes=axes, series=series, partial=partial, nodata=nodata, labels=labels
            )
        return [levels[0].with_(files=(file,)), *levels[1:]]
    name = _stem(Path(os.path.normpath(file)).name)
    if is_zarr(file):
        from napari_vdsr.io.zarr.read import read_zarr_levels  # zarr takes a while to import

        return read_zarr_levels(
            file, axes=axes, series=series, name=name, nodata=nodata, labels=labels
        )
    head = _head(file)
    if (vendor := vendor_of(file, head)) is not None:
        image = read_vendor(
            file, vendor, axes=axes, series=series, name=name, partial=partial,
            nodata=nodata, labels=labels,
        )  # fmt: skip
        return [image]
    for magic, read in PICTURES:
        if head.startswith(magic):
            if series not in (None, 0):
                raise UsageError(f"{file}: holds one image, so series must be 0, not {series}.")
            image = read(file, axes=axes, name=name, labels=bool(labels))
            value = None if nodata == "auto" else nodata
            return [image.with_(nodata=value, labels=bool(labels))]
    described = file if head.startswith(TIFF_MAGIC) else _described(file, head)
    if described is None:
        raise _unknown(file, head)
    with _naming(file, described):
        return read_tiff_levels(
            described, axes=axes, series=series, name=name, partial=partial,
            nodata=nodata, labels=bool(labels),
        )  # fmt: skip


def list_series(path: str | Path) -> list[SeriesInfo]:
    """List the images that a file holds.

    Parameters
    ----------
    path : str or Path
        As for `read_image`; no pixels are read.

    Returns
    -------
    list of SeriesInfo
        One for each number that `read_image` takes as `series`, in order; one is ``main``.
        Of a set, the images that lie in other files are there, too.

    Raises
    ------
    ImageFileError
        If the file cannot be read.
    """
    file = os.fspath(path)
    if is_remote(file) and is_one_file(file):
        copy = os.fspath(fetched(file, again=True))
        with _naming(file, copy):
            return [replace(one, files=(file,)) for one in list_series(copy)]
    if is_zarr(file):
        from napari_vdsr.io.zarr.read import list_zarr

        return list_zarr(file)
    head = _head(file)
    if (vendor := vendor_of(file, head)) is not None:
        return list_vendor(file, vendor)
    if head.startswith(TIFF_MAGIC):
        return list_tiff(file)
    described = _described(file, head)
    if described is not None:
        return list_tiff(described)
    image = read_image(file)
    return [
        SeriesInfo(
            index=0,
            name=image.name,
            axes=image.axes,
            shape=image.shape,
            dtype=str(image.dtype),
            files=image.files,
            main=True,
        )
    ]


@contextmanager
def _naming(path: str, described: str) -> Iterator[None]:
    """Have errors of a set's first file name the file that was given, too."""
    try:
        yield
    except ImageFileError as error:
        if described == path:
            raise
        raise ImageFileError(error.told.of(path)) from error


def _described(path: str, head: bytes) -> str | None:
    """Return the first TIFF file of a set, for the file that describes it."""
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return None
    with reading(path), open(path, "rb") as file:
        if not is_ome(file.read(4096).decode("utf-8", "replace")):
            return None
        found = companion(path)
    if found is None:
        raise failure(path, "none of the TIFF files that it describes is there", "Copy them, too")
    return found[0]


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Return what ``write_image(..., provenance=...)`` recorded in a file.

    Parameters
    ----------
    path : str or Path
        The file; only its metadata is read.

    Returns
    -------
    dict or None
        None if this package did not write the file.

    Raises
    ------
    ImageFileError
        If the file cannot be read.
    """
    file = os.fspath(path)
    if is_remote(file) and is_one_file(file):
        return read_provenance(fetched(file))
    if is_zarr(file):
        from napari_vdsr.io.zarr.read import zarr_provenance

        return zarr_provenance(file)
    head = _head(file)
    if head.startswith(TIFF_MAGIC):
        return tiff_provenance(file)
    if vendor_of(file, head) is not None:
        return None
    if head.startswith(RASTER_MAGIC):
        return picture_provenance(file)
    return None


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file; anything else is refused unopened."""
    with reading(path):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise _folder(path)
        if not stat.S_ISREG(mode):
            # Opening a pipe would wait for ever.
            raise failure(path, "is a pipe or a device, not a file", "Copy it to a file first")
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)


def _folder(path: str) -> ImageFileError:
    if path.rstrip("/\\").lower().endswith(".zarr"):
        return failure(path, "is a folder without Zarr metadata", "Copy it again, hidden files too")
    return failure(path, "is a folder", "Give the files in it")


def _unknown(path: str, head: bytes) -> ImageFileError:
    if not head:
        return failure(path, "is empty", "Export or copy it again")
    begins = shown(head[:8].decode("latin-1"))
    known = is_image_file(path)
    return failure(
        path,
        f'is no image of a known format (it begins with "{begins}")',
        "Export or copy it again" if known else "Convert it to TIFF or PNG",
    )


def _stem(name: str) -> str:
    stem = Path(name).stem
    return stem[:-4] if stem.lower().endswith((".ome", ".nii")) else stem
