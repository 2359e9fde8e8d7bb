"""OME-Zarr folders and archives, versions 0.1 to 0.6, as lazy images.

The layout is that of https://ngff.openmicroscopy.org/0.5/, and of the versions before it.
"""

from __future__ import annotations

import json
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image
from napari_vdsr.io.axes import ordered, override_axes, plane_last
from napari_vdsr.io.choice import SeriesInfo, beside_by_name, chosen, note, with_main
from napari_vdsr.io.failure import damaged, failure, one_line, reading
from napari_vdsr.io.lazy import as_dask
from napari_vdsr.io.provenance import KEY
from napari_vdsr.io.remote import is_remote
from napari_vdsr.io.zarr.checks import (
    check_array,
    check_name,
    checked_multiscales,
    expansion,
    largest_file,
    pieces,
)
from napari_vdsr.io.zarr.metadata import (
    alpha_of,
    axes_of,
    beside,
    bits_of,
    channels_of,
    declared_nodata,
    displays_of,
    texts_of,
)
from napari_vdsr.io.zarr.plate import plate_images
from napari_vdsr.io.zarr.store import WatchedStore
from napari_vdsr.io.zarr.systems import in_plain_terms
from napari_vdsr.io.zarr.zipped import ZippedStore
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    import dask.array as da

    from napari_vdsr.nodata import Nodata

CHUNK_BYTES = 2**22


@dataclass(frozen=True, eq=False)
class ZarrSource:
    """An array on disk; indexing it reads the chunks needed.

    Attributes
    ----------
    path : str
        The OME-Zarr folder.
    array : zarr.Array
        In it.
    store : WatchedStore
        That the array reads from.
    """

    path: str
    array: Any
    store: WatchedStore

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in native byte order."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype.newbyteorder("=")

    def __getitem__(self, key: Any) -> np.ndarray:
        with reading(self.path):
            pixels = np.asarray(self.array[key], self.dtype)
            self.store.check_metadata()
            return pixels

    def __dask_tokenize__(self) -> object:
        return self.store.token(self.array.path)


def read_zarr_levels(
    path: str,
    *,
    axes: str | None,
    series: int | None,
    name: str,
    nodata: Nodata = "auto",
    labels: bool | None = None,
) -> list[Image]:
    """Read one multiscale image of an OME-Zarr folder, lazily.

    Parameters
    ----------
    path : str
        The folder.
    axes : str or None
        Letters for the stored dimensions, instead of the file's own.
    series : int or None
        Which of several images in the folder; None for the main one.
    name : str
        Name of the resulting images.
    nodata : float, "auto" or None
        Value of pixels without a measurement, instead of what the arrays declare.
    labels : bool or None
        Whether pixels are numbers of objects; None for what the folder declares.

    Returns
    -------
    list of Image
        The same image at every size, largest first; only the first has metadata.

    Raises
    ------
    ImageFileError
        If it is no OME-Zarr image, or is damaged or hostile.
    UsageError
        If there is no such series.
    AxesError
        If `axes` does not fit.
    """
    with reading(path), warnings.catch_warnings():
        # What zarr finds unusual in a readable file is nothing a user could change.
        warnings.simplefilter("ignore")
        store = store_of(path)
        group, multiscales, number, told = _multiscales(store, series)
        attributes = _ome(group)
        multiscales, systems = in_plain_terms(multiscales)
        multiscales, notes = checked_multiscales(path, multiscales)
        stored, facts = axes_of(path, multiscales, axes)
        facts.metadata |= texts_of(attributes)
        names = [str(dataset["path"]) for dataset in multiscales["datasets"]]
        facts.leave_out(beside(attributes, _labels(path, group), _others(path, group, names)))
        declared = attributes.get("image-label")
        as_labels = labels if labels is not None else isinstance(declared, dict)
        arrays = [_array(path, group, name, labels=as_labels) for name in names]
        for array in arrays:
            if array.ndim != len(stored):
                raise damaged(path, f"an array of {array.ndim} dimensions, but axes {stored!r}")
        if axes is not None:
            stored = override_axes(path, axes, arrays[0].shape, stored).letters
        rgb = attributes.get(KEY, {}).get("rgb") is True and arrays[0].shape[
            stored.index("C") if "C" in stored else 0
        ] in (3, 4)
        letters = stored.replace("C", "S") if rgb and "S" not in stored else stored
        letters = plane_last(letters)
        own = stored.replace("C", "S") if rgb else stored
        levels = [ordered(_lazy(store, array), own, letters) for array in arrays]
        if as_labels:
            levels = [_numbers(level) for level in levels]
            if isinstance(declared, dict):
                facts.metadata["labels"] = declared
        image = Image(
            data=levels[0],
            axes=letters,
            pixel_size=facts.pixel_size,
            spacing=facts.spacing,
            origin=facts.origin,
            time_step=facts.time_step,
            name=name,
            metadata=facts.metadata | ({} if number is None else {"series": number}),
            notes=(*filter(None, (told,)), *facts.notes, *systems, *notes),
            files=(path,),
            nodata=declared_nodata(attributes, arrays[0]) if nodata == "auto" else nodata,
            labels=as_labels,
            bits=bits_of(attributes, arrays[0].dtype),
            alpha=alpha_of(attributes),
        )
        if not rgb:
            image = _with_channels(image, attributes)
    return [image, *(Image(data=data, axes=letters, name=name) for data in levels[1:])]


def _with_channels(image: Image, attributes: dict[str, Any]) -> Image:
    """Add names, colours and display of channels."""
    number = image.size("C")
    displays = displays_of(attributes, number)
    return image.with_(
        channels=channels_of(attributes, number),
        metadata={**image.metadata, **({"ome": {"displays": displays}} if displays else {})},
    )


def _labels(path: str, group: Any) -> list[str]:
    """Names of the label images of an image."""
    # By a store of its own: who adds labels while the image is read changes nothing of it.
    inner = f"{group.path}/labels".lstrip("/")
    with suppress(KeyError, ValueError, TypeError, OSError, ImageFileError):
        names = _ome(zarr.open_group(store_of(path), mode="r", path=inner)).get("labels")
        return [str(name) for name in names] if isinstance(names, list) else []
    return []


def _others(path: str, group: Any, levels: list[str]) -> list[str]:
    """Names of groups and arrays that are neither levels of an image nor labels, as tables are."""
    known = {"labels", "OME", *(name.strip("/").partition("/")[0] for name in levels)}
    # Servers do not list.
    with suppress(KeyError, ValueError, TypeError, OSError, NotImplementedError, ImageFileError):
        inner = zarr.open_group(store_of(path), mode="r", path=group.path)
        return sorted({*inner.keys()} - known)
    return []


def _numbers(level: da.Array) -> da.Array:
    """Masks of true and false as numbers."""
    return level.astype(np.uint8) if level.dtype.kind == "b" else level


def zarr_provenance(path: str) -> dict[str, Any] | None:
    """Return what `write_image` recorded in an OME-Zarr folder; None if it is not ours."""
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group, *_ = _multiscales(store_of(path), 0)
        own = _ome(group).get(KEY, {}).get("provenance")
        return dict(own) if isinstance(own, dict) else None


def store_of(path: str) -> WatchedStore:
    """Return the store of a folder, of an archive, or at an address."""
    if is_remote(path):
        from napari_vdsr.io.zarr.remote import RemoteStore

        return RemoteStore(path)
    return WatchedStore(path) if os.path.isdir(path) else ZippedStore(path)


def group_attributes(path: str) -> dict[str, Any]:
    """Return the metadata of a Zarr group; none of what is no group."""
    try:
        return _ome(zarr.open_group(store_of(path), mode="r"))
    except (KeyError, ValueError, TypeError, OSError, json.JSONDecodeError):
        return {}


def _multiscales(
    store: WatchedStore, series: int | None
) -> tuple[Any, dict[str, Any], int | None, str | None]:
    """Find the group of an image and the description of its levels."""
    path = store.name
    try:
        group: Any = zarr.open_group(store, mode="r")
    except (KeyError, ValueError, TypeError, OSError, json.JSONDecodeError) as error:
        if (Path(path) / ".zarray").is_file() or _is_plain_array(path):
            raise failure(
                path, "is a Zarr array without OME metadata", "Open it with another reader"
            ) from error
        missing = getattr(store, "missing", "")
        if missing:
            why = f" ({one_line(missing)})" if " " in missing else ""
            raise failure(path, f"no OME-Zarr is there{why}", "Check the address") from error
        raise
    attributes = _ome(group)
    if "plate" in attributes:
        advice = "Give one of its images, such as plate.zarr/A/1/0"
        raise failure(path, "is a plate", advice if os.path.isdir(path) else "Unpack it first")
    places = _image_places(path, group, attributes)
    look = len(places) > 1
    found = with_main([_series_info(path, group, i, place, look) for i, place in enumerate(places)])
    info = chosen(path, found, series)
    inner, index = places[info.index]
    group = group[inner] if inner else group
    described = _ome(group)["multiscales"][index]
    datasets = described.get("datasets") if isinstance(described, dict) else None
    if not isinstance(datasets, list) or not datasets or not isinstance(datasets[0], dict):
        raise damaged(path, "its 'multiscales' lists no arrays")
    return group, described, info.index if look else None, note(found, info)


def list_zarr(path: str) -> list[SeriesInfo]:
    """Return what an OME-Zarr folder says of each of its images."""
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(store_of(path), mode="r")
        places = _image_places(path, group, _ome(group))
        return with_main(
            [_series_info(path, group, i, place, True) for i, place in enumerate(places)]
        )


def _image_places(path: str, group: Any, attributes: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the group and the number within it of each image of a folder."""
    groups = [""]
    if "bioformats2raw.layout" in attributes:
        groups = []
        while str(len(groups)) in group:
            groups.append(str(len(groups)))
    places = []
    for name in groups:
        found = _ome(group[name] if name else group).get("multiscales")
        places += [(name, i) for i in range(len(found))] if isinstance(found, list) else []
    if not places and {"plate", "well"} & attributes.keys():
        first = next(iter(plate_images(path)), "A/1/0")
        raise failure(
            path, "is a plate or a well, and holds its images in folders",
            f"Give one of them, such as {path}/{first}",
        )  # fmt: skip
    if not places:
        raise failure(path, "holds no OME-Zarr image", "Give the folder that has 'multiscales'")
    return places


def _series_info(
    path: str, group: Any, index: int, place: tuple[str, int], look: bool
) -> SeriesInfo:
    """Return what the metadata say of an image, and its array's, if they are looked at."""
    inner, number = place
    group = group[inner] if inner else group
    described = _ome(group)["multiscales"][number]
    described = described if isinstance(described, dict) else {}
    letters, shape, dtype = "", (), ""
    if look:
        # One that is damaged is no reason not to read another one.
        with suppress(KeyError, TypeError, IndexError, AttributeError, ValueError, OSError):
            array = _array(path, group, str(described["datasets"][0]["path"]))
            letters, _ = axes_of(path, in_plain_terms(described)[0], None)
            shape, dtype = tuple(array.shape), str(array.dtype)
    name = str(described.get("name", "") or "")
    return SeriesInfo(
        index=index,
        name=name,
        axes=letters,
        shape=shape,
        dtype=dtype,
        files=(path,),
        beside=beside_by_name(name),
    )


def _is_plain_array(path: str) -> bool:
    try:
        text = (Path(path) / "zarr.json").read_text("utf-8")
        return bool(parse_json(text).get("node_type") == "array")
    except (OSError, ValueError, AttributeError):
        return False


def _ome(group: Any) -> dict[str, Any]:
    """Metadata as version 0.4 has it: at the top, not under "ome"."""
    attributes = dict(group.attrs)
    inner = attributes.get("ome")
    return {**attributes, **inner} if isinstance(inner, dict) else attributes


def _array(path: str, group: Any, name: str, *, labels: bool = True) -> Any:
    check_name(path, name)
    try:
        array = group[name]
    except KeyError as error:
        raise damaged(path, f"its array {name!r} is missing") from error
    check_array(path, name, array, labels=labels)
    return array


def _lazy(store: WatchedStore, array: Any) -> da.Array:
    size = pieces(store.name, array, CHUNK_BYTES)
    store.watch(array.path, largest_file(array), expansion(array))
    return as_dask(ZarrSource(store.name, array, store), size)
