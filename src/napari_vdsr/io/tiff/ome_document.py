"""The OME-XML of a TIFF file: which planes make up which image, and in what files they lie.

What is checked here is what is read. tifffile takes any element whose name merely ends in
``TiffData`` or ``UUID`` for one, so it never sees the file's own document, only a new one
of what was understood and checked.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from napari_vdsr.advice import Remedy
from napari_vdsr.io.failure import damaged, failure
from napari_vdsr.io.tiff.peek import description

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from xml.etree.ElementTree import Element

MOST_PLANES = 10_000_000
LARGEST_COMPANION = 2**28
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MEANT = ("Image", "Pixels", "Channel", "TiffData", "UUID", "BinaryOnly", "StructuredAnnotations")
DTYPES = {
    "int8": "int8", "int16": "int16", "int32": "int32", "uint8": "uint8", "uint16": "uint16",
    "uint32": "uint32", "float": "float32", "double": "float64", "bit": "bool",
    "complex": "complex64", "double-complex": "complex128",
}  # fmt: skip
OWN_UUID = re.compile(r"<(?:\w+:)?OME\s[^>]*?\bUUID\s*=\s*[\"']([^\"']+)")
_ROOT = re.compile(r"<(\w+:)?OME[\s>]")


@dataclass(frozen=True)
class Run:
    """Consecutive planes of an image that are consecutive pages of one file.

    Attributes
    ----------
    first : int
        Number of the first plane among those of the image.
    page : int
        Number of its page.
    count : int
        How many; 0 for all pages of the file.
    file : str
        Name of the file, in the folder of the document.
    """

    first: int
    page: int
    count: int
    file: str


@dataclass(frozen=True)
class OmeImage:
    """One image of a document.

    Attributes
    ----------
    index : int
        Its number among the images that have planes.
    position : int
        Its number among all images of the document.
    name : str
        As the document calls it.
    order : str
        Its axes, slowest first, as ``"TCZYX"``.
    shape : tuple of int
        One length for each; of C, the number of planes.
    samples : int
        Colour samples in one plane.
    dtype : str
        As the document says; empty if it does not.
    runs : tuple of Run
        Where its planes lie.
    annotation : str or None
        ID of what the document says of axes within axes.
    told : bool
        Whether the document says how many samples a channel has.
    """

    index: int
    position: int
    name: str
    order: str
    shape: tuple[int, ...]
    samples: int
    dtype: str
    runs: tuple[Run, ...]
    annotation: str | None = None
    told: bool = True

    @property
    def planes(self) -> int:
        return math.prod(self.shape[:-2])

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that hold its planes, in the order of the planes."""
        ordered = sorted(self.runs, key=lambda run: run.first)
        return tuple(dict.fromkeys(run.file for run in ordered))


@dataclass(frozen=True)
class OmeDocument:
    """What a document says of images, for one file of a set.

    Attributes
    ----------
    path : str
        The TIFF file from whose point of view it is read.
    source : str
        The file that holds the document.
    root : xml.etree.ElementTree.Element
        The document; only for metadata that do not decide what is read.
    images : tuple of OmeImage
        Those with planes.
    uuids : dict
        For each file that the document names, the UUID that it should have.
    annotations : dict
        For each ID of an annotation about axes within axes, its XML, rewritten.
    """

    path: str
    source: str
    root: Element
    images: tuple[OmeImage, ...]
    uuids: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> str:
        """Name of the file itself."""
        return os.path.basename(os.path.realpath(self.path))

    def path_of(self, name: str) -> str:
        """Return the path of a file of the set, as the user would write it."""
        if name == self.own:
            return self.path
        return os.path.join(os.path.dirname(self.path), name)

    def own_images(self, name: str | None = None) -> list[OmeImage]:
        """Return the images with planes in a file, by default in the file itself."""
        name = self.own if name is None else name
        return [image for image in self.images if name in image.files]

    def for_tifffile(self, image: OmeImage, missing: set[str]) -> str:
        """Return a document of one image, without the files that cannot be read."""
        sizes = dict(zip(image.order, image.shape))
        sizes["C"] *= image.samples
        attributes = "".join(f' Size{axis}="{size}"' for axis, size in sizes.items())
        lines = []
        for run in image.runs:
            if run.file in missing:
                continue
            places = unravel(run.first, image.shape[:-2])
            firsts = "".join(f' First{a}="{n}"' for a, n in zip(image.order, places))
            count = f' PlaneCount="{run.count}"' if run.count else ""
            uuid = ""
            if run.file != self.own:
                uuid = f"<UUID FileName={quoteattr(run.file)}>{_escaped(run.file)}</UUID>"
            lines.append(f'<TiffData IFD="{run.page}"{firsts}{count}>{uuid}</TiffData>')
        reference = self.annotations.get(image.annotation or "", "")
        return (
            f"<OME><Image Name={quoteattr(image.name)}>"
            + (f"<AnnotationRef ID={quoteattr(image.annotation or '')}/>" if reference else "")
            + f'<Pixels DimensionOrder="{image.order[::-1]}"{attributes}>'
            + f'<Channel SamplesPerPixel="{image.samples}"/>{"".join(lines)}</Pixels></Image>'
            + (f"<StructuredAnnotations>{reference}</StructuredAnnotations>" if reference else "")
            + "</OME>"
        )


def is_ome(description: str) -> bool:
    """Say whether a description is an OME document, whole or not."""
    text = description.lstrip("\ufeff \t\r\n")
    started = text.startswith("<") and _ROOT.search(text, 0, 4096) is not None
    return started or description[-10:].strip().endswith("OME>")


def parse(path: str, text: str) -> Element:
    """Return the root of an OME document.

    Raises
    ------
    ImageFileError
        If it cannot be parsed, with line and column, or defines entities.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise damaged(path, "its OME-XML defines entities")
    try:
        return ElementTree.fromstring(text.lstrip("\ufeff \t\r\n"))
    except ElementTree.ParseError as error:
        line, column = error.position
        reason = str(error).partition(":")[0]
        raise failure(
            path,
            f"its OME-XML cannot be parsed ({reason} in line {line}, column {column + 1}), so "
            "that nothing says what its pages are",
            Remedy.READ_PAGES,
        ) from error


def read_document(path: str, text: str) -> OmeDocument | None:
    """Read what the OME document of a TIFF file says of images.

    Parameters
    ----------
    path : str
        The file.
    text : str
        Its description. If that only names another file, the document is read from there.

    Returns
    -------
    OmeDocument or None
        None if it describes no planes, or if the file with the metadata is not there.

    Raises
    ------
    ImageFileError
        If the document makes no sense or leads out of the file's folder.
    """
    root = parse(path, text)
    source, own_uuid = path, root.get("UUID")
    elsewhere = _child(root, "BinaryOnly")
    if elsewhere is not None:
        name = elsewhere.get("MetadataFile", "")
        found = _metadata(path, name)
        if found is None:
            return None
        source, root = found
    return _document(path, source, root, own_uuid)


def companion(path: str) -> tuple[str, OmeDocument] | None:
    """Return the first TIFF file of a set that is described by a file of its own.

    Parameters
    ----------
    path : str
        The file that holds OME-XML and nothing else.

    Returns
    -------
    tuple or None
        Path of the TIFF file, and the document; None if none of its files is there.
    """
    root = parse(path, _text(path))
    for element in root.iter():
        if _tag(element) == "UUID":
            name = element.get("FileName", "")
            member = os.path.join(os.path.dirname(path), name)
            if _is_plain(name) and os.path.isfile(member):
                document = _document(member, path, root, (element.text or "").strip())
                return None if document is None else (member, document)
    return None


def _metadata(path: str, name: str) -> tuple[str, Element] | None:
    """Return the file that holds a set's metadata, and its document."""
    if not _is_plain(name):
        raise damaged(path, f"its OME-XML refers to another folder: {name}")
    source = os.path.join(os.path.dirname(path), name)
    if not os.path.isfile(source):
        return None
    if os.path.dirname(os.path.realpath(source)) not in (
        os.path.dirname(os.path.realpath(path)),
        os.path.realpath(os.path.dirname(path) or "."),
    ):
        raise damaged(path, f"its OME-XML leads to another folder: {name}")
    root = parse(source, _text(source))
    return None if _child(root, "BinaryOnly") is not None else (source, root)


def _text(path: str) -> str:
    """Return the OME-XML of a TIFF file or of a file of its own."""
    with open(path, "rb") as file:
        if file.read(4) in TIFF_MAGIC:
            return description(path) or ""
        if os.path.getsize(path) > LARGEST_COMPANION:
            raise damaged(path, f"{os.path.getsize(path) / 2**20:.0f} MiB of OME-XML")
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _document(path: str, source: str, root: Element, own_uuid: str | None) -> OmeDocument | None:
    _refuse_lookalikes(path, root)
    own = os.path.basename(os.path.realpath(path))
    images: list[OmeImage] = []
    elements = [e for e in root if _tag(e) == "Image"]
    named = {n.casefold() for n in _file_names(root)}
    home = os.path.basename(os.path.realpath(source))
    for position, element in enumerate(elements):
        image = _image(path, element, len(images), position)
        pixels = _child(element, "Pixels")
        if image is None or pixels is None:
            continue
        runs = [
            run
            for data in pixels
            if _tag(data) == "TiffData"
            and (run := _run(path, data, image, own, own_uuid, named, home)) is not None
        ]
        if runs:
            images.append(replace(image, runs=tuple(runs)))
    if not images:
        return None
    uuids = {
        e.get("FileName", ""): (e.text or "").strip() for e in root.iter() if _tag(e) == "UUID"
    }
    return OmeDocument(path, source, root, tuple(images), uuids, _annotations(root))


def _refuse_lookalikes(path: str, root: Element) -> None:
    """Refuse elements that a less careful reader would take for others."""
    for element in root.iter():
        tag = _tag(element)
        if tag not in MEANT and tag.endswith(("TiffData", "UUID", "Pixels", "BinaryOnly")):
            raise damaged(path, f"its OME-XML has elements called {tag[:40]!r}")


def _file_names(root: Element) -> Iterator[str]:
    for element in root.iter():
        if _tag(element) == "UUID" and element.get("FileName"):
            yield element.get("FileName", "")


def _image(path: str, element: Element, index: int, position: int) -> OmeImage | None:
    pixels = _child(element, "Pixels")
    if pixels is None:
        return None
    order = pixels.get("DimensionOrder", "")[::-1]
    if sorted(order) != sorted("TCZYX") or order[-2:] != "YX":
        raise damaged(path, f"its OME-XML has the dimension order {order[::-1][:20]!r}")
    sizes = {axis: _whole(path, pixels, f"Size{axis}", None) for axis in order}
    channels = [e for e in pixels if _tag(e) == "Channel"]
    samples = {_whole(path, e, "SamplesPerPixel", 1) for e in channels} or {1}
    if len(samples) > 1:
        raise failure(
            path,
            "its OME-XML has channels of one and of several samples in one image",
            "Export its channels apart",
        )
    number = samples.pop()
    if sizes["C"] % number:
        raise damaged(path, f"its OME-XML has {sizes['C']} channels of {number} samples each")
    sizes["C"] //= number
    planes = math.prod(sizes[a] for a in order[:-2])
    if not 0 < planes <= MOST_PLANES or sizes["Y"] * sizes["X"] == 0:
        raise damaged(path, f"its OME-XML claims {planes} planes of {sizes['Y']} x {sizes['X']}")
    reference = _child(element, "AnnotationRef")
    return OmeImage(
        index=index,
        position=position,
        name=" ".join(element.get("Name", "").split()),
        order=order,
        shape=tuple(sizes[a] for a in order),
        samples=number,
        dtype=DTYPES.get(pixels.get("Type", ""), ""),
        runs=(),
        annotation=None if reference is None else reference.get("ID"),
        told=any("SamplesPerPixel" in e.attrib for e in channels) or len(channels) == sizes["C"],
    )


def _run(
    path: str,
    data: Element,
    image: OmeImage,
    own: str,
    own_uuid: str | None,
    named: set[str],
    home: str,
) -> Run | None:
    """Return what a TiffData element says; None if it lies outside the image."""
    places = [_whole(path, data, f"First{axis}", 0) for axis in image.order[:-2]]
    if any(n >= size for n, size in zip(places, image.shape)):
        return None  # ImageJ leaves such where an image was cropped
    page = _whole(path, data, "IFD", 0)
    count = _whole(path, data, "NumPlanes", 1 if "IFD" in data.attrib else 0)
    count = _whole(path, data, "PlaneCount", count)
    if max(page, count) > MOST_PLANES:
        raise damaged(path, f"its OME-XML tells of {count} planes from page {page} on")
    file = home
    uuid = _child(data, "UUID")
    if uuid is not None:
        name = uuid.get("FileName", "")
        same = bool(own_uuid) and (uuid.text or "").strip() == own_uuid
        if name and not _is_plain(name):
            raise damaged(path, f"its OME-XML refers to another folder: {name[:80]}")
        # A file that was renamed is known by its UUID; if the document names it, by its name.
        if name.casefold() == own.casefold() or (same and own.casefold() not in named):
            file = own
        elif name:
            file = name
    return Run(ravel(places, image.shape), page, count, file)


def _whole(path: str, element: Element, name: str, default: int | None) -> int:
    """Return an attribute that must be a whole number from 0 on."""
    text = element.get(name)
    if text is None and default is not None:
        return default
    try:
        value = int(text or "")
    except ValueError:
        value = -1
    if not 0 <= value <= 2**40:
        raise damaged(path, f"its OME-XML says {name}={(text or '')[:40]!r}")
    return value


def _annotations(root: Element) -> dict[str, str]:
    """Return annotations about axes within axes, written anew for tifffile."""
    found = {}
    for group in root:
        if _tag(group) != "StructuredAnnotations":
            continue
        for note in group:
            if not note.get("Namespace", "").endswith("modulo"):
                continue
            along = "".join(_along(e) for e in note.iter() if _tag(e)[:-1] == "ModuloAlong")
            identity = note.get("ID", "")
            found[identity] = (
                f"<XMLAnnotation ID={quoteattr(identity)} Namespace="
                f'"openmicroscopy.org/omero/dimension/modulo"><Value><Modulo>{along}</Modulo>'
                "</Value></XMLAnnotation>"
            )
    return found


def _along(element: Element) -> str:
    number = sum(_tag(e) == "Label" for e in element)
    if element.get("Start") is not None:
        try:
            start, step, end = (
                float(element.get(name, default))
                for name, default in (("Start", "0"), ("Step", "1"), ("End", "0"))
            )
            number = math.floor((end - start) / step + 1e-6) + 1
        except (ValueError, ArithmeticError):
            return ""
    if not 0 < number <= MOST_PLANES:
        return ""
    meaning = quoteattr(element.get("Type", "other"))
    return f'<{_tag(element)} Type={meaning} Start="0" Step="1" End="{number - 1}"/>'


def _is_plain(name: str) -> bool:
    """Say whether a name stays in its folder."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _child(element: Element, tag: str) -> Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def unravel(number: int, shape: tuple[int, ...]) -> list[int]:
    """Index of an element by its number in C order; shapes may be larger than NumPy's are."""
    places = []
    for size in reversed(shape):
        number, place = divmod(number, size)
        places.append(place)
    return places[::-1]


def ravel(places: Sequence[int], shape: Sequence[int]) -> int:
    """Return the number in C order of an element; see `unravel`."""
    number = 0
    for place, size in zip(places, shape):
        number = number * size + place
    return number
