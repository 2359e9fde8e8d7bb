"""What OME-XML says besides pixels, sizes and names: kept where a larger image has it, too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_vdsr.image import agreed
from napari_vdsr.io.provenance import CONTRAST_NAMESPACE, NAMESPACE
from napari_vdsr.io.units import UNITLESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from napari_vdsr.io.metadata import Facts

# Attributes in the schema of 2016-06 that need no other element.
OF_CHANNELS = (
    "AcquisitionMode", "ContrastMethod", "EmissionWavelength", "EmissionWavelengthUnit",
    "ExcitationWavelength", "ExcitationWavelengthUnit", "Fluor", "IlluminationType", "NDFilter",
    "PinholeSize", "PinholeSizeUnit", "PockelCellSetting",
)  # fmt: skip
OF_PLANES = ("DeltaT", "DeltaTUnit", "ExposureTime", "ExposureTimeUnit")
# Lists of what is said of each channel: by OME-XML, and by omero of OME-Zarr.
OF_EACH_CHANNEL = ("channels", "displays")
# Among these, what a plane's position is beyond what the first one's and the distance of slices
# tell: numbers by axis, in the unit of the distance of pixels.
SHIFT = "shift"
OF_SURROUNDINGS = (
    "Temperature", "TemperatureUnit", "AirPressure", "AirPressureUnit", "Humidity", "CO2Percent",
)  # fmt: skip
# What else there may be, in words for people; None where it says nothing of the image.
WORDS: dict[str, str | None] = {
    "Instrument": "instrument", "InstrumentRef": "instrument", "ObjectiveSettings": "objective",
    "ROI": "regions", "ROIRef": "regions", "Experimenter": "people", "ExperimenterRef": "people",
    "ExperimenterGroup": "people", "ExperimenterGroupRef": "people", "Project": "project",
    "Dataset": "dataset", "Experiment": "experiment", "ExperimentRef": "experiment",
    "MicrobeamManipulationRef": "experiment", "Plate": "plate", "Screen": "plate",
    "Folder": "folders", "Rights": "rights", "StageLabel": "stage label",
    "DetectorSettings": "settings of detectors and lamps",
    "LightSourceSettings": "settings of detectors and lamps",
    "FilterSetRef": "filters", "LightPath": "filters",
    "Image": None, "Pixels": None, "AcquisitionDate": None, "Description": None, "Channel": None,
    "ImagingEnvironment": None, "TiffData": None, "Plane": None, "BinData": None,
    "MetadataOnly": None, "BinaryOnly": None, "StructuredAnnotations": None,
    "AnnotationRef": None,
}  # fmt: skip
OWN = (NAMESPACE, CONTRAST_NAMESPACE)


def tag(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def read_extras(root: Element, image: Element, facts: Facts) -> tuple[dict[str, Any], list[str]]:
    """Return what is kept of an image's further metadata, and what is left out.

    Parameters
    ----------
    root, image : xml.etree.ElementTree.Element
        The document, and the image in it.
    facts : Facts
        The image's sizes and position.

    Returns
    -------
    extras : dict
        Plain values, for ``metadata["ome"]``.
    left_out : list of str
        For people.
    """
    found: dict[str, Any] = {}
    lost = [_words(e) for e in [*root, *image]]
    for pixels in (e for e in image if tag(e) == "Pixels"):
        channels = [e for e in pixels if tag(e) == "Channel"]
        lost += [_words(e) for channel in channels for e in channel]
        found["channels"] = [_attributes(channel, OF_CHANNELS) for channel in channels]
        found["planes"] = {
            _number(e): {**_attributes(e, OF_PLANES), **_shift(e, facts)}
            for e in pixels
            if tag(e) == "Plane"
        }
    for element in image:
        if tag(element) == "ImagingEnvironment":
            found["surroundings"] = _attributes(element, OF_SURROUNDINGS)
            lost += ["further surroundings"] * (len(element) > 0)
    annotations = (a for e in root if tag(e) == "StructuredAnnotations" for a in e)
    lost += ["annotations" for a in annotations if a.get("Namespace") not in OWN]
    kept = {key: value for key, value in found.items() if any(_values(value))}
    return kept, [words for words in dict.fromkeys(lost) if words]


def _words(element: Element) -> str | None:
    """Words for an element, if it says anything."""
    told = len(element) or element.attrib or (element.text or "").strip()
    return WORDS.get(tag(element), "other entries") if told else None


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _attributes(element: Element, names: tuple[str, ...]) -> dict[str, str]:
    return {name: element.get(name, "") for name in names if element.get(name)}


def _number(plane: Element) -> tuple[int, int, int]:
    """Number of a plane in T, C and Z."""
    t, c, z = (int(plane.get(f"The{a}", 0)) for a in "TCZ")
    return t, c, z


def _shift(plane: Element, facts: Facts) -> dict[str, dict[str, float]]:
    """How far a plane lies from where it is expected; empty if it lies there."""
    found = {}
    for axis in "XYZ":
        unit = plane.get(f"Position{axis}Unit", UNITLESS)
        at = facts.coordinate(axis, plane.get(f"Position{axis}"), unit)
        slices = _number(plane)[2] * (facts.step("Z") or 0.0) if axis == "Z" else 0.0
        expected = facts.origin.get(axis, 0.0) + slices
        # What rounding makes of 0.1 + 0.2 is no difference.
        if at is not None and not math.isclose(at, expected, rel_tol=1e-9, abs_tol=1e-12):
            found[axis] = at - expected
    return {SHIFT: found} if found else {}


def channel_extras(
    metadata: Mapping[str, Any], number: int, key: str = "channels"
) -> list[dict[str, Any]]:
    """Return what is kept of each of an image's channels; empty where it does not fit.

    Parameters
    ----------
    metadata : mapping
        Of the image.
    number : int
        Of channels.
    key : str, optional
        One of `OF_EACH_CHANNEL`.
    """
    found: list[dict[str, Any]] = (metadata.get("ome") or {}).get(key, [])
    return found if len(found) == number else [{}] * number


def plane_extras(metadata: Mapping[str, Any]) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Return the attributes of planes, and their `SHIFT`, by their number in T, C and Z."""
    found: dict[tuple[int, int, int], dict[str, Any]] = (metadata.get("ome") or {}).get(
        "planes", {}
    )
    return found


def of_channel(metadata: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return an image's metadata with what is said of one of its channels alone."""
    extras = dict(metadata.get("ome") or {})
    if not extras:
        return dict(metadata)
    for key in OF_EACH_CHANNEL:
        extras[key] = extras.get(key, [])[index : index + 1]
    planes = extras.get("planes", {})
    extras["planes"] = {(t, 0, z): own for (t, c, z), own in planes.items() if c == index}
    return {**metadata, "ome": {key: value for key, value in extras.items() if value}}


def of_channels(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metadata of the image that several of one channel make up: what all say."""
    found = agreed(each)
    if any(metadata.keys() - found.keys() - {"ome"} for metadata in each):
        known = (words for metadata in each for words in metadata.get("left_out", ()))
        found["left_out"] = (*dict.fromkeys(known), "metadata in which the channels differ")
    extras = [metadata.get("ome") or {} for metadata in each]
    channels = {
        key: [own for one in extras for own in (one.get(key) or [{}])[:1]]
        for key in OF_EACH_CHANNEL
    }
    planes = {
        (t, index, z): own
        for index, one in enumerate(extras)
        for (t, _, z), own in one.get("planes", {}).items()
    }
    told = {key: listed if any(listed) else [] for key, listed in channels.items()}
    merged = {**agreed(extras), **told, "planes": planes}
    found["ome"] = {key: value for key, value in merged.items() if value}
    return found
