"""Images of several files as one."""

from collections.abc import Sequence

import dask.array as da

from napari_vdsr.errors import ImageFileError
from napari_vdsr.image import Image, agreed, same
from napari_vdsr.plugin.layers import straight
from napari_vdsr.plugin.words import say

LABEL = "file"  # of the new axis
LETTERS = "TZQIRPVAHEBDFGJKLMNOUW"


def stacked(images: Sequence[list[Image]]) -> list[Image]:
    """Put images behind one another, along a new first axis.

    Parameters
    ----------
    images : sequence of list of Image
        Each as ``napari_vdsr.io.read_levels`` gives it.

    Returns
    -------
    list of Image
        At every size that all of them have, their colours not multiplied by alpha. What
        only some of them say, or what they contradict each other in, is left out.

    Raises
    ------
    ImageFileError
        If they differ in shape, dtype, axes, or in what the fourth sample of colours is.
    """
    images = [list(map(straight, levels)) for levels in images]
    first = images[0][0]
    for levels in images[1:]:
        for what in ("axes", "shape", "dtype", "labels", "alpha"):
            one, other = getattr(first, what), getattr(levels[0], what)
            if one != other and (what != "alpha" or first.size("S") == 4):
                raise ImageFileError(
                    f"{first.name!r} and {levels[0].name!r} cannot be one stack: their {what} "
                    f"differ, {one} and {other}. Open the files one by one."
                )
    if len(images) == 1:
        return images[0]
    shapes = [[level.shape for level in levels] for levels in images]
    number = len(shapes[0]) if all(shape == shapes[0] for shape in shapes) else 1
    letter = next(letter for letter in LETTERS if letter not in first.axes)
    tops = [levels[0] for levels in images]
    notes = [f"{image.name}: {say(note)}" for image in tops for note in image.notes]
    facts = {"metadata": agreed([image.metadata for image in tops])}
    if any(image.metadata.keys() - facts["metadata"].keys() for image in tops):
        notes.append("other metadata left out, in which the files differ")
    for name, unknown in (
        ("pixel_size", {}), ("spacing", {}), ("origin", {}), ("time_step", None),
        ("channels", ()), ("nodata", None), ("bits", None),
    ):  # fmt: skip
        if not all(same(getattr(image, name), getattr(first, name)) for image in tops):
            facts[name] = unknown
            notes.append(f"{name.replace('_', ' ')} left out, in which the files differ")
    if "pixel_size" in facts or "spacing" in facts:
        facts["origin"] = {}  # which is in their unit
    result = []
    for level in range(number):
        one = images[0][level]
        data = da.stack([da.asarray(levels[level].data) for levels in images])
        result.append(one.with_(data=data, axes=letter + one.axes))
    files = tuple(file for image in tops for file in image.files)
    result[0] = result[0].with_(
        name=f"{first.name} and {len(images) - 1} more", files=files, notes=tuple(notes), **facts
    )
    return result
