"""An image at several sizes, each half of the one before, filled block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# Levels stop where a plane fits onto any screen.
SMALLEST = 512


class Level(Protocol):
    """An array to be filled: NumPy's or Zarr's."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __setitem__(self, place: Any, block: Any, /) -> None: ...


def level_shapes(shape: Sequence[int], axes: str) -> list[tuple[int, ...]]:
    """Shapes of the levels of a pyramid, the whole image first.

    Parameters
    ----------
    shape : sequence of int
        Of the image.
    axes : str
        One letter for each of its dimensions; Y and X are halved, odd lengths upwards.
    """
    shapes = [tuple(shape)]
    plane = [axes.index(a) for a in "YX"]
    while max(shapes[-1][i] for i in plane) > SMALLEST:
        shapes.append(
            tuple(-(-n // 2) if i in plane else n for i, n in enumerate(shapes[-1])),
        )
    return shapes


def fill(levels: Sequence[Level], axes: str, start: Sequence[int], block: np.ndarray) -> None:
    """Write a block into all levels of a pyramid.

    Parameters
    ----------
    levels : sequence of arrays
        The whole image first; see `level_shapes`.
    axes : str
        Of the levels and of `block`.
    start : sequence of int
        Index of the first pixel of `block` in the image. Along Y and X a power of two
        divides it that is at least as large as the smallest level's reduction.
    block : numpy.ndarray
        Pixels, which reach the end of the image where their number is odd.
    """
    for number, level in enumerate(levels):
        if number:
            start = [s // 2 if a in "YX" else s for s, a in zip(start, axes)]
            block = halve(block, axes)
        level[tuple(slice(s, s + n) for s, n in zip(start, block.shape))] = block


def halve(block: np.ndarray, axes: str) -> np.ndarray:
    """Means of 2 x 2 pixels of each Y, X plane; at the end of an odd length, of 1 x 2.

    Parameters
    ----------
    block : numpy.ndarray
        Any integer or float dtype, which is kept; integers are rounded, halves up.
    axes : str
        One letter for each of its dimensions.
    """
    y, x = axes.index("Y"), axes.index("X")
    padding = [(0, n % 2 if i in (y, x) else 0) for i, n in enumerate(block.shape)]
    if any(after for _, after in padding):
        block = np.pad(block, padding, mode="edge")
    quarters = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = [slice(None)] * block.ndim
        index[y], index[x] = slice(row, None, 2), slice(column, None, 2)
        quarters.append(block[tuple(index)])
    if block.dtype.kind == "f":
        wide = np.result_type(block.dtype, np.float32)
        return (sum(q.astype(wide) / 4 for q in quarters)).astype(block.dtype)  # type: ignore[union-attr]
    if block.dtype.itemsize < 8:
        # A sum of four fits into 64 bits, and shifting it rounds halves up, below 0 too.
        total = quarters[0].astype(np.int64)
        for quarter in quarters[1:]:
            total += quarter
        return ((total + 2) >> 2).astype(block.dtype)
    # Of 64 bits, sum the quotients and the remainders apart.
    whole, rest = quarters[0] >> 2, quarters[0] & 3
    for quarter in quarters[1:]:
        whole, rest = whole + (quarter >> 2), rest + (quarter & 3)
    return np.asarray(whole + ((rest + 2) >> 2))
