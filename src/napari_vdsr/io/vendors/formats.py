"""Which of these formats a file is in, and what has to be installed to read it."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

HEAD_BYTES = 4096  # hold every mark, that of a packed NIfTI file, too
GZIP = b"\x1f\x8b"
JPEG2000 = b"\0\0\0\x0cjP"
DICOM_GROUPS = (b"\x02\0", b"\x08\0", b"\0\x08")


@dataclass(frozen=True)
class Vendor:
    """A format, and the module here that reads it.

    Attributes
    ----------
    name : str
        For people; in lower case that of the module, and of the extra.
    suffixes : tuple of str
        Of file names, in lower case.
    before : (int, int) or None
        The first Python that there is no release of its library for.
    """

    name: str
    suffixes: tuple[str, ...]
    before: tuple[int, int] | None = None

    @property
    def extra(self) -> str:
        return self.name.lower()

    def adapter(self, path: str) -> ModuleType:
        """Return the module, whose ``images(path)`` says what a file holds.

        Raises
        ------
        MissingExtraError
            If the library that it needs is not installed.
        """
        try:
            return import_module(f"napari_vdsr.io.vendors.{self.extra}")
        except ImportError as error:
            needed = error.name or self.extra
            if self.before is not None and sys.version_info[:2] >= self.before:
                version = ".".join(map(str, sys.version_info[:2]))
                raise MissingExtraError(
                    f"{path}: {self.name} files need {needed}, of which there is no release for "
                    f"Python {version} yet. Take an older Python, or convert it to OME-TIFF."
                ) from error
            raise MissingExtraError(
                f"{path}: {self.name} files need {needed}, which is not installed.",
                Remedy.INSTALL,
                extra=self.extra,
            ) from error


CZI = Vendor("CZI", (".czi",), before=(3, 14))
ND2 = Vendor("ND2", (".nd2",))
LIF = Vendor("LIF", (".lif",))
DICOM = Vendor("DICOM", (".dcm", ".dicom"))
# A header of its own, .hdr, is known by its content only: ENVI's and others have that suffix, too.
NIFTI = Vendor("NIfTI", (".nii", ".nii.gz"))
VENDORS = (CZI, ND2, LIF, DICOM, NIFTI)
VENDOR_SUFFIXES = tuple(suffix for vendor in VENDORS for suffix in vendor.suffixes)


def vendor_of(path: str, head: bytes) -> Vendor | None:
    """Recognise a format by its content.

    Parameters
    ----------
    path : str
        Its suffix counts only where the content could be something else, too.
    head : bytes
        The first `HEAD_BYTES`, or the whole of a shorter file.
    """
    suffix = Path(path).suffix.lower()
    if head.startswith(b"ZISRAWFILE"):
        return CZI
    if head.startswith(b"\xda\xce\xbe\x0a") or (suffix == ".nd2" and head.startswith(JPEG2000)):
        return ND2
    if head.startswith(b"p\0\0\0") and head[8:9] == b"*" and b"<\0L\0M\0S\0" in head[13:64]:
        return LIF
    if head[128:132] == b"DICM" or (
        suffix in DICOM.suffixes and head.startswith(DICOM_GROUPS) and b"\0" in head[2:4]
    ):
        return DICOM
    return NIFTI if is_nifti(head) else None


def is_nifti(head: bytes) -> bool:
    """Say whether a file begins with a header of NIfTI-1 or 2, packed or not."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return False
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")
