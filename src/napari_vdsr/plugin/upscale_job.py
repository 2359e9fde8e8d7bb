"""What a run and a preview compute, away from the GUI's thread.

No Qt and no viewer: a job reports what it has filled, and arrays come back.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from napari_vdsr.chunks import Chunks
from napari_vdsr.errors import DeviceError
from napari_vdsr.image import Image
from napari_vdsr.io import read_levels
from napari_vdsr.io.pyramid import fill, level_shapes
from napari_vdsr.normalize import Normalization
from napari_vdsr.plugin.smooth import importing_torch
from napari_vdsr.plugin.task import Report
from napari_vdsr.resize import apply_windows, axis_window, output_length

# Output rows and columns of a task: what a user waits for after Cancel, and a whole
# number of Zarr chunks. On a GPU a larger tile takes no longer.
TILE = {"cpu": (512, 1024), "gpu": (2048, 2048)}
# Wider planes are shown as pyramids: napari would send them to the screen whole.
WIDEST_PLAIN = 4096
# Rows of the source of which the consistency is found at a time.
BAND = 256
MEMORY, ZARR, LAZY = "in memory", "OME-Zarr on disk", "lazy layer"
OUTPUTS = (MEMORY, ZARR, LAZY)
LAZY_TILE = (256, 256)
RESULT, RESIDUAL, CONSISTENCY = "result", "residual", "consistency"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What shall be computed.

    Attributes
    ----------
    image : Image
        The source.
    model : str
        Bundled name or path.
    scale : (float, float)
        Along Y and X.
    device, precision, normalize, fill
        See ``napari_vdsr.upscale``.
    output : str
        One of ``OUTPUTS``.
    path : pathlib.Path or None
        The OME-Zarr folder, if that is the output.
    residual, consistency : bool
        Whether these are computed, too.
    first_plane : tuple of int
        Index on the leading axes of the plane to begin with, which the user sees.
    """

    image: Image
    model: str = "vdsr"
    scale: tuple[float, float] = (2.0, 2.0)
    device: str = "auto"
    precision: str = "auto"
    normalize: str | tuple[float, float] | Normalization = "auto"
    fill: float | None = None
    output: str = MEMORY
    path: Path | None = None
    residual: bool = False
    consistency: bool = False
    first_plane: tuple[int, ...] = ()

    def factors(self) -> tuple[float, ...]:
        """New pixels per source pixel along each axis, colour samples not counted."""
        sizes = dict(zip("YX", self.scale))
        return tuple(sizes.get(axis, 1.0) for axis in self.image.axes if axis != "S")

    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        sizes = dict(zip("YX", self.scale))
        return tuple(
            output_length(n, sizes[axis]) if axis in sizes else n
            for axis, n in zip(self.image.axes, self.image.shape)
        )

    def result_bytes(self) -> int:
        """Memory that the layers of the result take."""
        pixels = math.prod(self.shape())
        pyramid = 4 / 3 if is_wide(self.image.axes, self.shape()) else 1
        extra = 4 * (self.residual + self.consistency / math.prod(self.scale))
        return round(pixels * pyramid * (self.image.dtype.itemsize + extra))


@dataclass(frozen=True)
class Opened:
    """The layers are there, still empty.

    Attributes
    ----------
    levels : mapping of str to list of arrays
        By kind of layer; more than one array where it is a pyramid.
    provenance : mapping
        Record of the run.
    tiles : int
        Reports to come.
    """

    levels: Mapping[str, list[Any]]
    provenance: Mapping[str, Any]
    tiles: int


@dataclass(frozen=True)
class Filled:
    """A tile of every layer is done."""

    done: int
    tiles: int


@dataclass(frozen=True)
class Finished:
    """All is done.

    Attributes
    ----------
    levels : mapping of str to list of arrays
        Those layers whose arrays have changed: a saved one is now where it shall stay.
    limits : mapping of str to (float, float)
        Contrast limits of the layers whose values were not known before.
    seconds : float
        Of all tiles.
    speed : float
        Result pixels per second.
    device : str
        What computed.
    """

    levels: Mapping[str, list[Any]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    seconds: float = 0.0
    speed: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class Preview:
    """A window of the result.

    Attributes
    ----------
    pixels : numpy.ndarray
        (Y, X) or (Y, X, S).
    window : (slice, slice)
        Its place in the result.
    normalization : Normalization
        Of the whole image.
    speed : float
        Result pixels per second.
    device : str
        What computed.
    """

    pixels: np.ndarray
    window: tuple[slice, slice]
    normalization: Normalization
    speed: float
    device: str


def engine() -> Any:
    """Import the engine, and torch with it, when something is to be computed.

    Raises
    ------
    DeviceError
        If torch cannot be loaded.
    """
    # Read when torch is loaded. Spinning threads would take the cores from the GUI.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with importing_torch():
            import napari_vdsr.engine
            import napari_vdsr.modelfile
    except OSError as error:  # Windows, where other libraries came first
        raise DeviceError(
            f"PyTorch cannot be loaded ({error}). Update the Microsoft Visual C++ "
            "Redistributable, or reinstall PyTorch, then start napari anew."
        ) from error
    return napari_vdsr


def is_wide(axes: str, shape: Sequence[int]) -> bool:
    """Whether a plane is too wide to be shown whole."""
    return max(n for a, n in zip(axes, shape) if a in "YX") > WIDEST_PLAIN


def preview(request: Request, window: tuple[slice, slice], report: Report) -> Preview:
    """Compute one window of one plane of the result.

    Parameters
    ----------
    request : Request
        Its `first_plane` is taken.
    window : (slice, slice)
        Rows and columns of the result.
    report : callable
        Called before each long step.
    """
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    normalization = _measured(vdsr, image, request, report)
    result = vdsr.engine.upscale(
        image,
        model,
        request.scale,
        device=request.device,
        precision=request.precision,
        normalize=normalization,
        window=window,
    )
    report("computing the view")
    plane = result.data[_plane_index(image.axes, request.first_plane)]
    started = time.perf_counter()
    pixels = plane.compute(scheduler="synchronous")
    seconds = time.perf_counter() - started
    area = pixels.shape[0] * pixels.shape[1]
    device = result.metadata["provenance"]["device"]
    return Preview(pixels, window, normalization, area / max(seconds, 1e-9), device)


def run(request: Request, report: Report) -> Finished:
    """Compute all layers that are asked for, tile by tile.

    Parameters
    ----------
    request : Request
        With an output other than "lazy layer".
    report : callable
        Called with text, then once with `Opened`, then with `Filled` after every tile.
        What it raises ends the run; then nothing is left on disk.
    """
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    options = {"device": request.device, "precision": request.precision}
    on_gpu = vdsr.device.choose_device(request.device).type != "cpu"
    tile = TILE["gpu" if on_gpu else "cpu"]
    normalization = _measured(vdsr, image, request, report)
    result = vdsr.engine.upscale(
        image, model, request.scale, normalize=normalization, tile=tile, **options
    )
    tiles = {RESULT: Chunks(result.data)}
    if request.residual:
        tiles[RESIDUAL] = Chunks(_bicubic(vdsr, image, request, tile))
    numbers = _ordered(result, request.first_plane)
    provenance = result.metadata["provenance"]
    with _storage(request, result) as storage:
        report(Opened(storage.levels, provenance, len(numbers)), wait=True)
        seconds, extremes = 0.0, 0.0
        for done, number in enumerate(numbers, 1):
            started = time.perf_counter()
            start = tuple(s[i].start for s, i in zip(tiles[RESULT].spans, number))
            (pixels,) = tiles[RESULT].compute([number], scheduler="synchronous")
            storage.put(RESULT, start, pixels)
            if request.residual:
                (bicubic,) = tiles[RESIDUAL].compute([number], scheduler="synchronous")
                extreme = storage.put_difference(RESIDUAL, start, pixels - bicubic)
                extremes = max(extremes, extreme)
            seconds += time.perf_counter() - started
            report(Filled(done, len(numbers)))
        limits = {RESIDUAL: _symmetric(extremes)} if request.residual else {}
        if request.consistency:
            report("shrinking the result")
            limits[CONSISTENCY] = _symmetric(_fill_consistency(image, request, storage, report))
    speed = math.prod(request.shape()) / image.size("S") / max(seconds, 1e-9)
    return Finished(storage.published(), limits, seconds, speed, provenance["device"])


def lazy(request: Request, report: Report) -> Opened:
    """Layer that computes what is looked at, whenever it is looked at.

    Parameters
    ----------
    request : Request
        Its output is "lazy layer".
    report : callable
        Called before each long step.

    Returns
    -------
    Opened
        The result as a pyramid whose smaller level is the source itself: only what is
        seen at full size goes through the network.
    """
    vdsr = engine()
    report("loading the model")
    model = vdsr.modelfile.load_model(request.model)
    image = _filled(vdsr, request)
    result = vdsr.engine.upscale(
        image,
        model,
        request.scale,
        normalize=_measured(vdsr, image, request, report),
        device=request.device,
        precision=request.precision,
        tile=LAZY_TILE,
    )
    levels = [result.data, image.data]
    return Opened({RESULT: levels}, result.metadata["provenance"], 0)


def _filled(vdsr: Any, request: Request) -> Image:
    if request.fill is None:
        return request.image
    return vdsr.engine.filled(request.image, request.fill)


def _measured(vdsr: Any, image: Image, request: Request, report: Report) -> Normalization:
    text = "measuring the intensities"
    report(text)
    return vdsr.normalize.measure(image, request.normalize, on_block=lambda: report(text))


def _bicubic(vdsr: Any, image: Image, request: Request, tile: tuple[int, int]) -> da.Array:
    """Bicubic image in float64, in the same tiles as the result."""
    data = image.data if isinstance(image.data, da.Array) else da.from_array(image.data)
    exact = image.with_(data=data.astype(np.float64))
    bicubic = vdsr.modelfile.load_model("bicubic")
    return vdsr.engine.upscale(
        exact, bicubic, request.scale, tile=tile, device="cpu", normalize=(0, 1)
    ).data


def _plane_index(axes: str, plane: Sequence[int]) -> tuple[Any, ...]:
    leading = iter(plane)
    return tuple(slice(None) if a in "YXS" else next(leading, 0) for a in axes)


def _ordered(result: Image, first: Sequence[int]) -> list[tuple[int, ...]]:
    """Numbers of all tiles, those of the plane that is seen first."""
    numbers = list(product(*(range(n) for n in result.data.numblocks)))
    leading = [i for i, a in enumerate(result.axes) if a not in "YXS"]
    wanted = dict(zip(leading, first))
    return sorted(numbers, key=lambda number: any(number[i] != n for i, n in wanted.items()))


def _symmetric(extreme: float) -> tuple[float, float]:
    extreme = extreme or 1.0
    return -extreme, extreme


class Storage:
    """Where the layers of a run are kept while they are filled.

    Attributes
    ----------
    levels : dict of str to list of arrays
        What the viewer shows, by kind of layer.
    """

    def __init__(self, request: Request, result: Image) -> None:
        self.axes = result.axes
        self.levels: dict[str, list[Any]] = {}
        if request.output == MEMORY:
            self.levels[RESULT] = _empty(self.axes, request.shape(), result.dtype)
        # Differences of colours are shown as one: the network changes their luma alone.
        self.grey_axes = self.axes.removesuffix("S")
        ndim, real = len(self.grey_axes), np.dtype(np.float32)
        if request.residual:
            self.levels[RESIDUAL] = _empty(self.grey_axes, request.shape()[:ndim], real)
        if request.consistency:
            self.levels[CONSISTENCY] = _empty(self.grey_axes, request.image.shape[:ndim], real)

    def put(self, kind: str, start: Sequence[int], block: np.ndarray) -> None:
        """Write a block of the result into all levels of its layer."""
        fill(self.levels[kind], self.axes, start, block)

    def put_difference(self, kind: str, start: Sequence[int], block: np.ndarray) -> float:
        """Write a block of differences, those of colours as their mean; return the extreme."""
        if self.axes.endswith("S"):
            block = block[..., :3].mean(axis=-1)
            start = start[:-1]
        block = block.astype(np.float32)
        fill(self.levels[kind], self.grey_axes, start, block)
        return float(np.abs(block).max())

    def rows(self, place: tuple[Any, ...]) -> np.ndarray:
        """Return pixels of the result."""
        return np.asarray(self.levels[RESULT][0][place])

    def published(self) -> dict[str, list[Any]]:
        """Arrays that have changed when all was done."""
        return {}


class ZarrStorage(Storage):
    """The result in an OME-Zarr folder that is being written; other layers in memory."""

    def __init__(self, request: Request, result: Image, folder: Path) -> None:
        from napari_vdsr.io.provenance import software_tag
        from napari_vdsr.io.zarr_write import create_zarr

        super().__init__(request, result)
        provenance = result.metadata["provenance"]
        self._target = request.path
        self._zarr = create_zarr(folder, result, provenance, software_tag(provenance))
        back = [self._zarr.order.index(i) for i in range(len(self.axes))]
        self.levels[RESULT] = [
            da.from_array(array, chunks=array.chunks, name=False).transpose(back)
            for array in self._zarr.arrays
        ]

    def put(self, kind: str, start: Sequence[int], block: np.ndarray) -> None:
        self._zarr.put(tuple(start), block)

    def published(self) -> dict[str, list[Any]]:
        levels = read_levels(self._target)
        stored = levels[0].axes
        order = [stored.index(a) for a in self.axes]
        return {RESULT: [level.data.transpose(order) for level in levels]}


@contextlib.contextmanager
def _storage(request: Request, result: Image) -> Iterator[Storage]:
    if request.output == MEMORY:
        yield Storage(request, result)
        return
    from napari_vdsr.io.atomic import whole_folder

    ready = _for_zarr(result)
    with whole_folder(request.path, overwrite=True) as folder:
        yield ZarrStorage(request, ready, folder)


def _for_zarr(result: Image) -> Image:
    """The image, its axes renamed to those that OME-Zarr knows."""
    from napari_vdsr.io.write import arranged

    return arranged(Path(result.name), result, "ome-zarr")


def _empty(axes: str, shape: Sequence[int], dtype: np.dtype[Any]) -> list[np.ndarray]:
    shapes = level_shapes(shape, axes) if is_wide(axes, shape) else [tuple(shape)]
    return [np.zeros(level, dtype) for level in shapes]


def _fill_consistency(image: Image, request: Request, storage: Storage, report: Report) -> float:
    """Shrink the result by the same bicubic, take the source away; return the extreme."""
    at = {a: image.axes.index(a) for a in "YX"}
    rows, columns = image.size("Y"), image.size("X")
    length = dict(zip(image.axes, request.shape()))
    across = axis_window(length["X"], 1 / request.scale[1], 0, columns)
    source = image.data
    extreme = 0.0
    leading = [range(n) if a not in "YXS" else (0,) for a, n in zip(image.axes, image.shape)]
    for plane in product(*leading):
        index: list[Any] = [slice(i, i + 1) for i in plane]
        if "S" in image.axes:
            index[-1] = slice(None)
        for first in range(0, rows, BAND):
            last = min(first + BAND, rows)
            down = axis_window(length["Y"], 1 / request.scale[0], first, last)
            index[at["Y"]] = slice(down.start, down.stop)
            index[at["X"]] = slice(across.start, across.stop)
            block = storage.rows(tuple(index))
            flat = block.reshape([n for n, a in zip(block.shape, image.axes) if a in "YXS"])
            shrunk = apply_windows(flat, down, across)
            index[at["Y"]], index[at["X"]] = slice(first, last), slice(None)
            before = np.asarray(source[tuple(index)])
            change = shrunk.reshape(before.shape) - before
            start = [0 if a == "S" else i for a, i in zip(image.axes, plane)]
            start[at["Y"]] = first
            extreme = max(extreme, storage.put_difference(CONSISTENCY, start, change))
            report("shrinking the result")
    return extreme


Job = Callable[[Report], Any]
